"""The graph of a small classifier."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import torch

from hvit.data.preprocess import Preprocess
from hvit.export.graph import Graph, classifier_graph
from hvit.models.build import build_network
from hvit.runtime.about import Precision
from tests.models.test_export import CONFIGS


def small_graph(precision: Precision = "float32", name: str = "resnet", inside: bool = False) -> Graph:
    """A ResNet, or another of `CONFIGS`, for 16 x 16 pixels and three classes."""
    torch.manual_seed(0)
    model: Any = build_network(CONFIGS[name]).eval()
    preprocess = Preprocess((16, 16), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    stored = json.loads(json.dumps(asdict(preprocess)))
    return classifier_graph(model, ("logits",), preprocess, stored, inside=inside, precision=precision)
