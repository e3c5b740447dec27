"""Writes ONNX files, and computes in int8 what onnxruntime has int8 kernels for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from hvit.errors import UserError
from hvit.export.graph import Graph
from hvit.models.inference.ways import without_warnings
from hvit.runtime.about import KEY
from hvit.runtime.open import package

_OPSET = 18
_MOST = 2**31 - 1  # bytes of a protocol buffer


def write_onnx(graph: Graph, path: Path, calibration: Sequence[np.ndarray]) -> None:
    """Writes a graph as an ONNX file with its metadata, in the precision that these name.

    calibration: inputs, as the file takes them, by which int8 ranges are measured. Raises UserError for what ONNX or
    onnxruntime does not have, and where a package is missing.
    """
    onnx = package("onnx", "an ONNX file", "export")
    precision = graph.about.precision
    if precision == "bfloat16":
        raise UserError("ONNX files are not written in bfloat16: onnxruntime computes nothing in it on a CPU")
    weights = sum(one.numel() * 4 for one in graph.module.parameters())
    if weights > _MOST:
        raise UserError(f"weights of {weights / 1e9:.1f} GB do not fit into one ONNX file (2 GB): use openvino")
    names = [name for name, _ in graph.inputs]
    every = {name: {0: "batch"} for name in (*names, *graph.outputs)}
    module = copy.deepcopy(graph.module)
    with without_warnings(), torch.no_grad():
        torch.onnx.export(
            module, tuple(one for _, one in graph.inputs), str(path), dynamo=False, opset_version=_OPSET,
            input_names=names, output_names=list(graph.outputs), dynamic_axes=every,
        )  # fmt: skip
        if precision == "int8":
            _quantize(path, names[0], calibration)
        written = onnx.load(str(path))
        if precision == "float16":
            float16 = import_module("onnxruntime.transformers.float16")
            written = float16.convert_float_to_float16(written, keep_io_types=True)
    del written.metadata_props[:]
    entry = written.metadata_props.add()
    entry.key, entry.value = KEY, graph.about.text()
    path.write_bytes(written.SerializeToString())


def _quantize(path: Path, name: str, calibration: Sequence[np.ndarray]) -> None:
    """Quantises the matrix products and convolutions of a file: weights by channel, ranges from the calibration."""
    quantization = package("onnxruntime.quantization", "int8", "export")
    shape_inference = import_module("onnxruntime.quantization.shape_inference")
    prepared = path.with_suffix(".prepared.onnx")
    shape_inference.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    batches = iter([{name: batch} for batch in calibration])

    class Reader(quantization.CalibrationDataReader):
        """Gives the batches one after the other."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(batches, None)

    quantization.quantize_static(
        str(prepared), str(path), Reader(), per_channel=True, op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        weight_type=quantization.QuantType.QInt8, activation_type=quantization.QuantType.QUInt8,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True, "MatMulConstBOnly": True},
    )  # fmt: skip
    prepared.unlink()
