"""Tables of features: for each image its name, the hash of its content, its part of the data, its class, its features.

As one Parquet file, or as an `.npy` file of the features with a `.csv` file of the rest and a `.json` file that says
what belongs together.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hvit.data.images.listing import show
from hvit.data.images.perceptual_hash import DIGITS
from hvit.errors import UserError
from hvit.files import opened, read_object, read_whole, replacing, write_text

COLUMNS = ("file", "sha256", "perceptual_hash", "part", "class")
ENDINGS = (".parquet", ".npy")
_MOST = 64 * 2**30
"""Bytes that a file of features may have."""
_MOST_ROWS = 8 * 2**30
_HEADER = 128
"""Bytes before the numbers in an `.npy` file, as NumPy pads them."""


@dataclass(frozen=True)
class FeatureTable:
    """The features of some images, and which images they are of.

    features: (images, dim) float32. rows: the columns `COLUMNS` as lists of text; a part or a class that is not known
    is empty. facts: what the features were computed with ("weights", "model", "level", "fingerprint").
    """

    features: np.ndarray
    rows: dict[str, list[str]]
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)


Portion = tuple[np.ndarray, list[list[str]]]
"""Features (images, dim) of some images, and their rows, with the values of `COLUMNS` in each."""


def check_name(path: Path) -> None:
    """Raises UserError for a file that is no table by its name, and for Parquet where pyarrow is not installed."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"features are written to a file that ends in {' or '.join(ENDINGS)}; got {show(path)}")
    if path.suffix.lower() == ".parquet":
        _pyarrow()


def write_features(path: Path, facts: dict[str, Any], dim: int, portions: Iterable[Portion]) -> int:
    """Writes a table a portion at a time, so that memory holds one of them; returns the number of images.

    dim: length of a feature vector. The file is whole or not there. Raises UserError where it cannot be written.
    """
    check_name(path)
    if path.suffix.lower() == ".parquet":
        return _write_parquet(path, facts, dim, portions)
    return _write_npy(path, facts, dim, portions)


def read_features(path: Path) -> FeatureTable:
    """A table that `write_features` has written. Raises UserError for a file that is missing, damaged or no such."""
    check_name(path)
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_npy(path)


def _checked(path: Path, features: np.ndarray, rows: dict[str, list[str]], facts: dict[str, Any]) -> FeatureTable:
    if features.ndim != 2 or not len(features) or any(len(rows[name]) != len(features) for name in COLUMNS):
        raise UserError(f"{show(path)} is damaged: it has no feature vector for each image")
    if any(len(text) != DIGITS or set(text) - set("0123456789abcdef") for text in rows["perceptual_hash"]):
        raise UserError(f"{show(path)} is damaged: its perceptual hashes are not {DIGITS} hexadecimal digits")
    if not np.isfinite(features).all():
        raise UserError(f"{show(path)} has features that are not finite numbers: the model's weights are damaged")
    return FeatureTable(features, rows, facts)


def _write_npy(path: Path, facts: dict[str, Any], dim: int, portions: Iterable[Portion]) -> int:
    rows_path, facts_path = path.with_suffix(".csv"), path.with_suffix(".json")
    # Without this file nothing is read, so that features are never those of other images.
    facts_path.unlink(missing_ok=True)
    count = 0
    digests = hashlib.sha256(), hashlib.sha256()
    with replacing(path) as file, replacing(rows_path) as rows_file:
        file.write(bytes(_HEADER))

        def add_row(values: Iterable[str]) -> None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(values)
            content = text.getvalue().encode("utf-8", "surrogateescape")
            digests[1].update(content)
            rows_file.write(content)

        add_row(COLUMNS)
        for features, rows in portions:
            values = np.ascontiguousarray(features, dtype="<f4").tobytes()
            digests[0].update(values)
            file.write(values)
            for row in rows:
                add_row(row)
            count += len(rows)
        file.seek(0)
        file.write(_npy_header((count, dim)))
    checksums = {"features": digests[0].hexdigest(), "rows": digests[1].hexdigest()}
    write_text(facts_path, json.dumps({"hvit": facts, "images": count, "dim": dim, "sha256": checksums}) + "\n")
    return count


def _npy_header(shape: tuple[int, int]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    assert len(header.getvalue()) == _HEADER, "NumPy pads headers of other lengths"
    return header.getvalue()


def _read_npy(path: Path) -> FeatureTable:
    facts_path = path.with_suffix(".json")
    if not facts_path.is_file():
        raise UserError(f"{show(path)} has no {facts_path.name} with it: write both with `hvit embed`")
    facts = read_object(facts_path)
    damaged = UserError(f"{show(path)}, its .csv and its .json do not belong together: write them again")
    checksums = facts.get("sha256")
    if not isinstance(checksums, dict) or not isinstance(facts.get("hvit"), dict):
        raise damaged
    content = read_whole(path.with_suffix(".csv"), _MOST_ROWS)
    with opened(path, _MOST) as file:
        file.seek(_HEADER)
        digest = hashlib.file_digest(file, "sha256")  # pyright: ignore[reportArgumentType]
    found = digest.hexdigest()
    if checksums.get("rows") != hashlib.sha256(content).hexdigest() or checksums.get("features") != found:
        raise damaged
    try:
        features = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{show(path)} is damaged: it holds no array of NumPy") from error
    lines = list(csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))
    if not lines or tuple(lines[0]) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise damaged
    rows = {name: [line[place] for line in lines[1:]] for place, name in enumerate(COLUMNS)}
    return _checked(path, features, rows, facts["hvit"])


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Parquet needs pyarrow: pip install 'hvit[parquet]'; or choose a file that ends in .npy") from (
            error
        )
    return pyarrow.parquet


def _write_parquet(path: Path, facts: dict[str, Any], dim: int, portions: Iterable[Portion]) -> int:
    parquet = _pyarrow()
    import pyarrow as pa

    kind = pa.list_(pa.float32(), dim)
    schema = pa.schema([*((name, pa.string()) for name in COLUMNS), ("features", kind)], {"hvit": json.dumps(facts)})
    count = 0
    with replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for features, rows in portions:
            texts = [pa.array([_text(row[place]) for row in rows], pa.string()) for place in range(len(COLUMNS))]
            flat = pa.array(np.ascontiguousarray(features, dtype=np.float32).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
            writer.write_table(pa.Table.from_arrays([*texts, vectors], schema=schema))
            count += len(rows)
    return count


def _text(value: str) -> str:
    """Without the halves of letters that odd file names have, which Parquet's text does not allow."""
    return value.encode("utf-8", "replace").decode()


def _read_parquet(path: Path) -> FeatureTable:
    parquet = _pyarrow()
    with opened(path, _MOST) as file:
        try:
            table = parquet.read_table(file)
            facts = json.loads((table.schema.metadata or {})[b"hvit"])
            rows = {name: [value or "" for value in table.column(name).to_pylist()] for name in COLUMNS}
            vectors = table.column("features").combine_chunks()
            features = vectors.values.to_numpy().reshape(len(table), -1)
        except Exception as error:  # whatever pyarrow raises for files of another kind
            raise UserError(f"{show(path)} is no table that `hvit embed` has written, or it is damaged") from error
    if not isinstance(facts, dict):
        raise UserError(f"{show(path)} is damaged: it does not say what its features were computed with")
    return _checked(path, features, rows, facts)


def each_portion(table: FeatureTable, size: int) -> Iterator[Portion]:
    """The rows of a table, so many at a time."""
    for start in range(0, len(table), size):
        part = slice(start, start + size)
        rows = [list(values) for values in zip(*(table.rows[name][part] for name in COLUMNS), strict=True)]
        yield table.features[part], rows
