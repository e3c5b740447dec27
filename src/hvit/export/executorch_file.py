"""Writes ExecuTorch programs (.pte) for phones and small devices, with XNNPACK where it has an operator."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hvit.errors import UserError
from hvit.export.graph import Graph
from hvit.export.program_file import program_of
from hvit.models.inference.ways import without_warnings
from hvit.runtime.about import KEY
from hvit.runtime.open import Exported, package


def write_executorch(graph: Graph, path: Path, calibration: Sequence[np.ndarray]) -> None:
    """Writes a graph as an ExecuTorch program for one input at a time.

    Its metadata are the bytes that the method `hvit` gives. calibration: not used. Raises UserError for
    anything but float32, and where the package is missing.
    """
    if graph.about.precision != "float32":
        raise UserError("executorch files are written in float32 only; for fewer bits use onnx or openvino")
    package("executorch", "an ExecuTorch program", "executorch")
    with without_warnings():
        exir: Any = import_module("executorch.exir")
        backend: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
        text = torch.frombuffer(bytearray(graph.about.text().encode()), dtype=torch.uint8)
        lowered = exir.to_edge_transform_and_lower(
            program_of(graph, batch=1), partitioner=[backend.XnnpackPartitioner()], constant_methods={KEY: text}
        )
        path.write_bytes(lowered.to_executorch().buffer)


class ExecutorchFile(Exported):
    """A program that this process has just written, to compare it with its model."""

    def __init__(self, path: Path, graph: Graph) -> None:
        super().__init__(graph.about, str(path))
        runtime: Any = import_module("executorch.runtime")
        self._program = runtime.Runtime.get().load_program(path.read_bytes())
        self._method = self._program.load_method("forward")
        self._names = graph.outputs

    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Exported.run`."""
        parts = []
        for place in range(len(inputs[0])):
            given = [torch.from_numpy(np.ascontiguousarray(one[place : place + 1])) for one in inputs]
            parts.append([one.clone().numpy() for one in self._method.execute(given)])
        return {name: np.concatenate(found) for name, found in zip(self._names, zip(*parts, strict=True), strict=True)}
