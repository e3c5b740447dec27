"""Tables of features come back as they were written, and nothing else is read as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hvit.data.feature_table import COLUMNS, Portion, each_portion, read_features, write_features
from hvit.errors import UserError

FACTS = {"weights": "runs/x", "model": "nest_micro_32", "level": None, "fingerprint": "ab"}
FEATURES = np.arange(14, dtype=np.float32).reshape(7, 2)
ROWS = [[f'a, "b"\n{row}', f"{row:064x}", f"{row:0288x}", "train", "kücük"] for row in range(7)]


def portions() -> Iterator[Portion]:
    yield FEATURES[:4], ROWS[:4]
    yield FEATURES[4:], ROWS[4:]


@pytest.fixture(params=[".npy", ".parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"features{request.param}"
    assert write_features(path, FACTS, 2, portions()) == 7
    return path


def test_a_table_comes_back_as_it_was_written(table: Path) -> None:
    found = read_features(table)
    np.testing.assert_array_equal(found.features, FEATURES)
    assert found.facts == FACTS
    assert [list(row) for row in zip(*(found.rows[name] for name in COLUMNS), strict=True)] == ROWS
    again = list(each_portion(found, 4))
    assert [len(rows) for _, rows in again] == [4, 3]
    assert again[0][1] == ROWS[:4]


def test_a_damaged_table_is_one_sentence(table: Path) -> None:
    content = bytearray(table.read_bytes())
    content[-3] ^= 255
    table.write_bytes(content)
    with pytest.raises(UserError, match=r"belong together|damaged"):
        read_features(table)


def test_the_features_of_an_npy_file_are_a_plain_array_and_need_their_list(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    write_features(path, FACTS, 2, portions())
    np.testing.assert_array_equal(np.load(path), FEATURES)
    other = tmp_path / "other.npy"
    write_features(other, FACTS, 2, iter([(FEATURES[:4], ROWS[:4])]))
    other.with_suffix(".csv").write_bytes(path.with_suffix(".csv").read_bytes())
    with pytest.raises(UserError, match="do not belong together"):
        read_features(other)
    path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"has no features\.json"):
        read_features(path)


def test_a_writer_that_fails_leaves_no_table(tmp_path: Path) -> None:
    def failing() -> Iterator[Portion]:
        yield FEATURES, ROWS
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        write_features(tmp_path / "features.npy", FACTS, 2, failing())
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused_by_their_names_and_their_content(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.parquet or \.npy"):
        write_features(tmp_path / "features.txt", FACTS, 2, portions())
    pytest.importorskip("pyarrow")
    path = tmp_path / "features.parquet"
    path.write_bytes(b"PAR1 and nothing")
    with pytest.raises(UserError, match="no table that `hvit embed` has written"):
        read_features(path)


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    write_features(path, FACTS, 2, iter([(np.full((7, 2), np.nan, np.float32), ROWS)]))
    assert json.loads(path.with_suffix(".json").read_text())["images"] == 7
    with pytest.raises(UserError, match="not finite"):
        read_features(path)
