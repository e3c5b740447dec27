"""The formats of exported files: what they are called, who writes them, and that they are whole or absent."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hvit.errors import UserError, did_you_mean
from hvit.export.executorch_file import ExecutorchFile, write_executorch
from hvit.export.graph import Graph
from hvit.export.onnx_file import write_onnx
from hvit.export.openvino_file import write_openvino
from hvit.export.program_file import ProgramFile, write_program
from hvit.files import replacing, short_path
from hvit.runtime.open import Exported, open_exported

Write = Callable[[Graph, Path, Sequence[np.ndarray]], None]


@dataclass(frozen=True)
class FileFormat:
    """A format. suffix: of the file. write: writes it. needs: packages by the names that they are imported by."""

    suffix: str
    write: Write
    needs: tuple[str, ...] = ()
    extra: str = "export"
    """The extra that has the packages."""
    companions: tuple[str, ...] = ()
    """Suffixes of the other files that belong to it, written before it."""


FORMATS: dict[str, FileFormat] = {
    "onnx": FileFormat(".onnx", write_onnx, ("onnx", "onnxruntime")),
    "openvino": FileFormat(".xml", write_openvino, ("openvino",), companions=(".bin",)),
    "torch": FileFormat(".pt2", write_program),
    "executorch": FileFormat(".pte", write_executorch, ("executorch",), extra="executorch"),
}


def format_of(name: str, out: Path, precision: str) -> FileFormat:
    """The format of a name, for a file that can be written.

    Raises UserError for unknown formats, other suffixes, packages that are not installed, and places that cannot be
    written.
    """
    if name not in FORMATS:
        raise UserError(f"there is no format {name!r:.60}{did_you_mean(name, FORMATS)}; formats: {', '.join(FORMATS)}")
    layout = FORMATS[name]
    if out.suffix.lower() != layout.suffix:
        raise UserError(f"files of the format {name} end in {layout.suffix}; got --out {short_path(out)}")
    for needed in (*layout.needs, *(("nncf",) if (name, precision) == ("openvino", "int8") else ())):
        if importlib.util.find_spec(needed) is None:
            raise UserError(f"the format {name} needs the package {needed}: pip install 'hvit[{layout.extra}]'")
    place = next(one for one in (out.absolute().parent, *out.absolute().parent.parents) if one.exists())
    if not place.is_dir() or not os.access(place, os.W_OK) or out.is_dir():
        raise UserError(f"{short_path(out)} cannot be written: {short_path(place)} is no folder that can be written to")
    return layout


@contextmanager
def written(
    name: str, graph: Graph, out: Path, calibration: Sequence[np.ndarray] = ()
) -> Iterator[tuple[Exported, int]]:
    """A graph in a file of a format, opened, and its size in bytes; it gets its name when the block ends well.

    Raises UserError for a graph that the format cannot have; nothing is left behind then, or where the block raises.
    """
    layout = FORMATS[name]
    with TemporaryDirectory() as folder:
        draft = Path(folder) / f"model{layout.suffix}"
        try:
            layout.write(graph, draft, calibration)
        except UserError:
            raise
        except Exception as error:  # exporters fail in ways of their own
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"{graph.about.name} cannot be exported as {name}: {first[:300]}") from error
        files = [draft.with_suffix(suffix) for suffix in (*layout.companions, layout.suffix)]
        own = {"torch": ProgramFile, "executorch": ExecutorchFile}
        opened = own[name](draft, graph) if name in own else open_exported(draft)
        yield opened, sum(file.stat().st_size for file in files)
        for file in files:
            with replacing(out.with_suffix(file.suffix)) as target:
                target.write(file.read_bytes())
