"""Writes a class folder or a table as tar shards with an index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from hvit.data.sets import Progress, no_progress
from hvit.data.shards.settings import bytes_of
from hvit.data.shards.source import open_source
from hvit.data.shards.write import Job, write_shards
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from hvit.files import JsonObject

_NEEDED = ("webdataset", "pyarrow")
_SMALLEST = 10_240
"""Bytes of an empty archive."""


@dataclass(frozen=True)
class ShardRequest:
    """What is written, and where. The fields are those of the verb `shards`."""

    source: str
    out: Path
    size: str = "256MB"
    order: Literal["shuffled", "listed"] = "shuffled"
    check: Literal["header", "decode", "none"] = "header"
    labels: Literal["auto", "folders", "none"] = "auto"
    root: str = ""
    options: LabelOptions = field(default_factory=LabelOptions)


def write(
    request: ShardRequest,
    refused: Callable[[str], object] = lambda sentence: None,
    progress: Progress = no_progress,
) -> JsonObject:
    """Writes shards, or goes on with what was stopped: {"out", "labels", "classes", "notes", "parts"}.

    refused: called with a sentence for each image that is skipped. parts: see `write_shards`. Raises UserError where
    the extra is missing, for a source that cannot be read, and for a folder that holds something else.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UserError(f"hvit shards needs {' and '.join(missing)}: pip install 'hvit[shards]'")
    size = bytes_of(request.size, "--size")
    if size < _SMALLEST:
        raise UserError(f"--size must be at least {_SMALLEST:,} bytes, those of an empty archive; got {request.size}")
    progress("listing images", 0, 0)
    source = open_source(request.source, request.root, request.options, request.labels)
    parts = write_shards(source, request.out, Job(size, request.order, request.check), refused, progress)
    return {
        "out": str(request.out),
        "labels": source.spec.kind,
        "classes": list(source.spec.names),
        "notes": list(source.notes),
        "parts": parts,
    }
