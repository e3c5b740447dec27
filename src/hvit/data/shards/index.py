"""The index of shards: where every sample lies, so that any of them can be read alone, and what its label is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np

from hvit.data.images.listing import show
from hvit.errors import UserError
from hvit.files import read_whole, replacing
from hvit.labels import LabelKind, LabelSpec

INDEX = "index.parquet"
"""The name of the index, next to the shards that it describes."""
MOST_IMAGE_BYTES = 2**29
"""Bytes that one image in a shard may have."""
_FORMAT = 1
_LARGEST = 16 * 2**30  # bytes of an index: some hundred million samples
_MARK = b"hvit shards"


@dataclass(frozen=True)
class Shard:
    """One shard.

    place: its path or URL. size: bytes. digest: SHA-256 in hexadecimal digits of all of it, where that is known;
    otherwise what identifies it, such as a hash of its headers.
    """

    place: str
    size: int
    digest: str
    is_hash: bool = True

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.place.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class ShardIndex:
    """Where the samples of some shards lie.

    first: (shards + 1,) int64, the number of the first sample of each shard, and of all samples. offsets, sizes:
    (samples,) int64, where the bytes of an image begin in its shard, and how many they are. keys: (samples,) bytes, as
    WebDataset calls them. names: (samples,) bytes, the file that a sample was, or "" where nobody knows. labels and
    spec: as of any set; None where they are still to be found in `cells`. cells: of samples of other writers, what
    their label is.
    """

    shards: tuple[Shard, ...]
    first: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    keys: np.ndarray
    names: np.ndarray
    labels: np.ndarray | None = None
    spec: LabelSpec | None = None
    cells: tuple[object, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def pieces(self) -> np.ndarray:
        """(samples,) int64, the shard of each sample."""
        return np.repeat(np.arange(len(self.shards)), np.diff(self.first))

    def name(self, number: int) -> str:
        """What to call a sample: the file that it was, or its shard and its key."""
        known = self.names[number].decode("utf-8", "replace")
        return known or self.key_name(number)

    def key_name(self, number: int) -> str:
        """The shard and the key of a sample."""
        shard = int(np.searchsorted(self.first, number, side="right")) - 1
        return f"{self.shards[shard].name}/{self.keys[number].decode('utf-8', 'replace')}"

    def only(self, kept: np.ndarray) -> ShardIndex:
        """The index of some samples. kept: (samples,) bool."""
        counts = np.bincount(self.pieces[kept], minlength=len(self.shards))
        return replace(
            self,
            first=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            offsets=self.offsets[kept],
            sizes=self.sizes[kept],
            keys=self.keys[kept],
            names=self.names[kept],
            labels=None if self.labels is None else self.labels[kept],
            cells=tuple(self.cells[row] for row in np.flatnonzero(kept).tolist()) if self.cells else (),
        )

    def of_shards(self, chosen: Sequence[int], places: Sequence[str]) -> ShardIndex:
        """The index of some of the shards, in their order, which lie at these places."""
        rows = np.concatenate([np.arange(self.first[one], self.first[one + 1]) for one in chosen])
        counts = [int(self.first[one + 1] - self.first[one]) for one in chosen]
        return replace(
            self,
            shards=tuple(replace(self.shards[one], place=place) for one, place in zip(chosen, places, strict=True)),
            first=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            offsets=self.offsets[rows],
            sizes=self.sizes[rows],
            keys=self.keys[rows],
            names=self.names[rows],
            labels=None if self.labels is None else self.labels[rows],
            cells=tuple(self.cells[row] for row in rows.tolist()) if self.cells else (),
        )


def joined(parts: Sequence[ShardIndex]) -> ShardIndex:
    """Several indexes as one, without labels, which the caller joins."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    first = [part.first[:-1] + start for part, start in zip(parts, starts, strict=False)]
    return ShardIndex(
        shards=tuple(shard for part in parts for shard in part.shards),
        first=np.concatenate([*first, starts[-1:]]),
        offsets=np.concatenate([part.offsets for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        keys=np.concatenate([part.keys for part in parts]),
        names=np.concatenate([part.names for part in parts]),
    )


def write_index(index: ShardIndex, path: Path, facts: dict[str, object]) -> None:
    """Writes an index of labelled samples. facts: more that is known, as JSON. Raises UserError as `replacing`."""
    import pyarrow as pa
    from pyarrow import parquet

    assert index.labels is not None
    assert index.spec is not None
    labels: Any = pa.array(index.labels.astype(np.int32)) if index.labels.ndim == 1 else _lists(index.labels)
    counts = np.diff(index.first)
    head = {
        "format": _FORMAT,
        "labels": index.spec.kind,
        "classes": list(index.spec.names),
        "shards": [
            {"name": shard.name, "samples": int(count), "bytes": shard.size, "sha256": shard.digest}
            for shard, count in zip(index.shards, counts, strict=True)
        ],
        **facts,
    }
    table = pa.table(
        {
            "shard": pa.array(index.pieces.astype(np.int32)),
            "key": pa.array(index.keys.tolist(), pa.binary()).cast(pa.string()),
            "name": pa.array(index.names.tolist(), pa.binary()).cast(pa.string()),
            "offset": pa.array(index.offsets),
            "size": pa.array(index.sizes),
            "label": labels,
        }
    ).replace_schema_metadata({_MARK: json.dumps(head).encode()})
    with replacing(path) as file:
        parquet.write_table(table, file)


def _lists(labels: np.ndarray) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(labels, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, labels.shape[1])


def read_index(path: Path, place: str) -> tuple[ShardIndex, dict[str, Any]]:
    """An index, and all that it says of itself. place: of the folder of the shards, a path or URL.

    Raises UserError where pyarrow is missing, and for anything that is no index, or one that points out of its shards.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError("shards with an index need pyarrow: pip install 'hvit[shards]'") from error
    content = read_whole(path, _LARGEST)
    try:
        table = parquet.read_table(BytesIO(content))
        head = json.loads((table.schema.metadata or {})[_MARK])
        return _checked(table, head, place), head
    except UserError as error:
        raise UserError(f"{show(path)} is damaged: {error}") from error
    except Exception as error:  # pyarrow raises many kinds for a damaged file, and a head may hold anything
        raise UserError(
            f"{show(path)} is no index of shards, or damaged ({' '.join(str(error).split())[:200]}): remove it, and "
            "the shards are read without it, or write them again with `hvit shards`"
        ) from error


def _checked(table: Any, head: dict[str, Any], place: str) -> ShardIndex:
    if head["format"] != _FORMAT:
        raise UserError(f"it is of format {head['format']!r}, and this version reads {_FORMAT}")
    kind, names = head["labels"], head["classes"]
    if kind not in get_args(LabelKind) or not all(isinstance(name, str) for name in names):
        raise UserError("it does not say what its labels are")
    shards, samples = [], []
    for one in head["shards"]:
        name, size, count = one["name"], one["bytes"], one["samples"]
        if not (isinstance(name, str) and name == Path(name).name and "\\" not in name and name not in ("", "..")):
            raise UserError(f"a shard is called {show(str(name))[:100]!r}, which is no name of a file next to it")
        if type(size) is not int or type(count) is not int or min(size, count) < 0:
            raise UserError(f"it does not say how large {show(name)} is")
        shards.append(Shard(f"{place.rstrip('/')}/{name}", size, str(one["sha256"])))
        samples.append(count)
    first = np.concatenate([[0], np.cumsum(samples, dtype=np.int64)])
    piece, offsets, sizes = (_whole_numbers(table, column) for column in ("shard", "offset", "size"))
    if len(piece) != first[-1] or not np.array_equal(piece, np.repeat(np.arange(len(shards)), samples)):
        raise UserError("its samples are not in the order of its shards")
    ends = np.array([shard.size for shard in shards], np.int64)[piece]
    if len(piece) and not (
        (offsets >= 0).all() and (sizes >= 0).all() and (sizes <= MOST_IMAGE_BYTES).all() and (offsets <= ends).all()
        and (sizes <= ends - offsets).all()
    ):  # fmt: skip
        raise UserError("it places samples outside their shards")
    column = table.column("label").combine_chunks()
    if kind in ("single", "ordinal"):
        labels = column.to_numpy().astype(np.int64)
    else:
        labels = column.flatten().to_numpy().astype(np.float32).reshape(len(piece), len(names))
        if not np.isfinite(labels).all():
            raise UserError("a label is not a finite number")
    return ShardIndex(
        tuple(shards), first, offsets, sizes, _texts(table, "key"), _texts(table, "name"), labels,
        LabelSpec(kind, tuple(names)),
    )  # fmt: skip


def _whole_numbers(table: Any, name: str) -> np.ndarray:
    values = table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iu":
        raise UserError(f"its column {name} holds no whole numbers")
    return values.astype(np.int64)


def _texts(table: Any, name: str) -> np.ndarray:
    import pyarrow as pa

    return bytes_array(table.column(name).cast(pa.binary()).to_pylist())


def bytes_array(values: Sequence[bytes]) -> np.ndarray:
    """Texts as one array, which worker processes share."""
    return np.array(values, dtype=bytes) if values else np.zeros(0, "S1")
