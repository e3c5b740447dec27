"""An index is read as it was written, and refused where it is damaged or points out of its shards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit.data.shards.index import Shard, ShardIndex, bytes_array, joined, read_index, write_index
from hvit.errors import UserError
from hvit.labels import LabelSpec

pytest.importorskip("pyarrow")


def made(labels: np.ndarray | None = None, spec: LabelSpec | None = None) -> ShardIndex:
    return ShardIndex(
        (Shard("x/0.tar", 5000, "aa"), Shard("x/1.tar", 9000, "bb"), Shard("x/2.tar", 10240, "cc")),
        np.array([0, 2, 3, 3]),
        np.array([512, 2048, 512], np.int64),
        np.array([100, 2952, 8000], np.int64),
        bytes_array([b"000", b"001", b"002"]),
        bytes_array(["kätzchen/a.jpg".encode(), b"", b"b"]),
        np.array([1, 0, 1]) if labels is None else labels,
        spec or LabelSpec("single", ("cat", "kätzchen")),
    )


@pytest.mark.parametrize(
    ("labels", "spec"),
    [
        (None, None),
        (np.array([[1, 0], [0, 0], [1, 1]], np.float32), LabelSpec("multi", ("a", "b"))),
        (np.array([[1.5], [-2], [3e9]], np.float32), LabelSpec("regression", ("age",))),
        (np.array([0, 2, 1]), LabelSpec("ordinal", ("low", "mid", "high"))),
    ],
)
def test_an_index_is_read_as_it_was_written(tmp_path: Path, labels: np.ndarray | None, spec: LabelSpec | None) -> None:
    index = made(labels, spec)
    write_index(index, tmp_path / "index.parquet", {"job": "j"})
    found, head = read_index(tmp_path / "index.parquet", "https://host/folder/")
    assert head["job"] == "j"
    assert found.spec == index.spec
    assert [shard.place for shard in found.shards] == [f"https://host/folder/{number}.tar" for number in range(3)]
    for name in ("first", "offsets", "sizes", "keys", "names", "labels"):
        assert np.array_equal(getattr(found, name), getattr(index, name)), name
    assert found.pieces.tolist() == [0, 0, 1]
    assert [found.name(number) for number in range(3)] == ["kätzchen/a.jpg", "0.tar/001", "b"]


def test_the_same_index_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_index(made(), tmp_path / name, {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_some_shards_and_some_samples_of_an_index() -> None:
    index = made()
    some = index.of_shards([1, 0], ["y/1.tar", "y/0.tar"])
    assert some.first.tolist() == [0, 1, 3]
    assert some.keys.tolist() == [b"002", b"000", b"001"]
    assert [shard.place for shard in some.shards] == ["y/1.tar", "y/0.tar"]
    kept = index.only(np.array([False, True, True]))
    assert kept.first.tolist() == [0, 1, 2, 2]
    assert kept.keys.tolist() == [b"001", b"002"]
    whole = joined([some, kept])
    assert whole.first.tolist() == [0, 1, 3, 4, 5, 5]
    assert len(whole) == 5


def broken(tmp_path: Path, head: dict[str, Any] | None = None, column: str = "", values: Any = None) -> Path:
    """An index with another head, or other values in a column."""
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "index.parquet"
    write_index(made(), path, {})
    table = parquet.read_table(path)
    found = json.loads(table.schema.metadata[b"hvit shards"]) | (head or {})
    if column:
        table = table.set_column(table.column_names.index(column), column, pa.array(values))
    parquet.write_table(table.replace_schema_metadata({b"hvit shards": json.dumps(found).encode()}), path)
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head": {"format": 2}}, "it is of format 2"),
        ({"head": {"labels": "colours"}}, "does not say what its labels are"),
        ({"head": {"shards": [{"name": "../0.tar", "bytes": 5000, "samples": 3, "sha256": ""}]}}, "no name of a file"),
        ({"head": {"shards": [{"name": "/0.tar", "bytes": 5000, "samples": 3, "sha256": ""}]}}, "no name of a file"),
        ({"head": {"shards": [{"name": "..", "bytes": 5000, "samples": 3, "sha256": ""}]}}, "no name of a file"),
        ({"head": {"shards": [{"name": "0.tar", "bytes": -5, "samples": 3, "sha256": ""}]}}, "how large"),
        ({"head": {"shards": [{"name": "0.tar"}]}}, "is no index of shards, or damaged"),
        ({"head": {"shards": 5}}, "is no index of shards, or damaged"),
        ({"column": "offset", "values": [512, 2049, 512]}, "outside their shards"),
        ({"column": "offset", "values": [-512, 2048, 512]}, "outside their shards"),
        ({"column": "size", "values": [2**62, 1, 1]}, "outside their shards"),
        ({"column": "offset", "values": [2**63 - 1, 2048, 512]}, "outside their shards"),
        ({"column": "offset", "values": ["a", "b", "c"]}, "no whole numbers"),
        ({"column": "shard", "values": [0, 1, 1]}, "not in the order of its shards"),
        ({"column": "key", "values": [1, 2, 3]}, "is no index of shards, or damaged"),
        ({"column": "label", "values": ["cat", "dog", "cat"]}, "is no index of shards, or damaged"),
    ],
)
def test_a_damaged_index_is_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_index(broken(tmp_path, **change), "x")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no index" * 100])
def test_what_is_no_parquet_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.parquet").write_bytes(content)
    with pytest.raises(UserError, match="is no index of shards, or damaged"):
        read_index(tmp_path / "index.parquet", "x")


def test_labels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    labels = np.array([[1], [np.nan], [2]], np.float32)
    write_index(replace(made(), labels=labels, spec=LabelSpec("regression", ("age",))), tmp_path / "index", {})
    with pytest.raises(UserError, match="a label is not a finite number"):
        read_index(tmp_path / "index", "x")
