"""Writes a torch.export program (.pt2): for other programs that have torch, C++ and AOTInductor among them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hvit.errors import UserError
from hvit.export.graph import Graph
from hvit.models.inference.ways import without_warnings
from hvit.runtime.about import KEY
from hvit.runtime.open import Exported

_KINDS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def program_of(graph: Graph, batch: int | None = None) -> torch.export.ExportedProgram:
    """The program of a graph, for one batch size or for any. Raises UserError for int8."""
    kind = _KINDS.get(graph.about.precision)
    if kind is None:
        raise UserError("torch programs are written in float32, float16 or bfloat16; for int8 use onnx or openvino")
    module = copy.deepcopy(graph.module).to(kind)
    examples = tuple(one[:batch] for _, one in graph.inputs)
    any_batch = torch.export.Dim("batch", min=1, max=2**20)
    shapes = None if batch else tuple({0: any_batch} for _ in graph.inputs)
    with without_warnings(), torch.no_grad():
        return torch.export.export(module, examples, dynamic_shapes=shapes)


def write_program(graph: Graph, path: Path, calibration: Sequence[np.ndarray]) -> None:
    """Writes a graph as a torch.export program with its metadata under extra/hvit. calibration: not used.

    Raises UserError as `program_of`.
    """
    with without_warnings():
        torch.export.save(program_of(graph), str(path), extra_files={KEY: graph.about.text()})


class ProgramFile(Exported):
    """A program that this process has just written, to compare it with its model."""

    def __init__(self, path: Path, graph: Graph) -> None:
        super().__init__(graph.about, str(path))
        with without_warnings():
            self._module: nn.Module = torch.export.load(str(path)).module()
        self._names = graph.outputs

    @torch.no_grad()
    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Exported.run`."""
        found = self._module(*(torch.from_numpy(np.ascontiguousarray(one)) for one in inputs))
        found = found if isinstance(found, tuple | list) else (found,)
        return dict(zip(self._names, (one.float().numpy() for one in found), strict=True))
