"""Writes OpenVINO's files: an .xml with the graph and a .bin with the weights; int8 by NNCF."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hvit.export.graph import Graph
from hvit.models.inference.ways import without_warnings
from hvit.runtime.about import KEY
from hvit.runtime.open import package


def write_openvino(graph: Graph, path: Path, calibration: Sequence[np.ndarray]) -> None:
    """Writes a graph as `path` (.xml) and the .bin next to it, with its metadata.

    float16 stores the weights in 16 bits; bfloat16 stores them in 32, and they are computed with in 16 where the CPU
    can. calibration: inputs by which int8 ranges are measured. Raises UserError where a package is missing.
    """
    openvino = package("openvino", "an OpenVINO file", "export")
    example = tuple(one for _, one in graph.inputs)
    with without_warnings(), torch.no_grad():
        network = openvino.convert_model(copy.deepcopy(graph.module), example_input=example)
    for place, (name, one) in zip(network.inputs, graph.inputs, strict=True):
        place.get_tensor().set_names({name})
        network.reshape({name: openvino.PartialShape([-1, *one.shape[1:]])})
    for place, name in zip(network.outputs, graph.outputs, strict=True):
        place.get_tensor().set_names({name})
    if graph.about.precision == "int8":
        network = _quantized(network, calibration)
    network.set_rt_info(graph.about.text(), [KEY])
    openvino.save_model(network, str(path), compress_to_fp16=graph.about.precision == "float16")


def _quantized(network: Any, calibration: Sequence[np.ndarray]) -> Any:
    # NNCF draws its progress on stdout, which is for answers.
    with without_warnings(), redirect_stdout(io.StringIO()):
        nncf = package("nncf", "int8", "export")
        return nncf.quantize(
            network,
            nncf.Dataset([one for batch in calibration for one in np.split(batch, len(batch))]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=sum(map(len, calibration)),
            ignored_scope=nncf.IgnoredScope(names=pooling_convolutions(network)),
        )


def pooling_convolutions(network: Any) -> list[str]:
    """The pooling convolutions of an MViT's attention, which stay in float32.

    OpenVINO 2026.4 computes them wrongly in int8, and otherwise each time that the file is opened.
    """
    named = ((node.get_type_name(), node.get_friendly_name()) for node in network.get_ordered_ops())
    return [name for kind, name in named if kind == "GroupConvolution" and ".attention" in name]
