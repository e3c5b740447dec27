"""What is exported computes what the model does, in the names and shapes of the file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.export.graph import classifier_graph, generator_graph
from hvit.labels import LabelSpec
from hvit.models.build import build_network
from hvit.models.catalogue import entry
from tests.models.test_export import CONFIGS

PREPROCESS = Preprocess((16, 16), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def test_bytes_are_normalised_as_in_training() -> None:
    model: Any = build_network(CONFIGS["resnet"]).eval()
    graph = classifier_graph(model, ("logits",), PREPROCESS, asdict(PREPROCESS), inside=True, temperature=2.0)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    batch = PREPROCESS.normalised_batch(torch.from_numpy(images).permute(0, 3, 1, 2))
    with torch.no_grad():
        wanted = (model(batch) / 2).softmax(1).numpy()
    np.testing.assert_allclose(graph.run(images)["probabilities"], wanted, atol=1e-6)
    assert graph.about.temperature == 2.0


@pytest.mark.parametrize("name", ["nest", "mvitv2 class token"])
def test_levels_come_with_or_without_logits(name: str) -> None:
    model: Any = build_network(CONFIGS[name]).eval()
    images = torch.randn(2, 3, 16, 16)
    both = classifier_graph(model, ("logits", "levels"), PREPROCESS, {}).run(images.numpy())
    alone = classifier_graph(model, ("levels",), PREPROCESS, {})
    assert (list(both), alone.about.kind) == (["logits", "level_0", "level_1"], "features")
    with torch.no_grad():
        np.testing.assert_allclose(both["logits"], model(images).numpy(), atol=1e-6)
        np.testing.assert_allclose(alone.run(images.numpy())["level_1"], model.levels(images)[1].numpy(), atol=1e-6)


def test_labels_decide_what_comes_out() -> None:
    model: Any = build_network(CONFIGS["resnet"]).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        logits = model(PREPROCESS.normalised_batch(torch.from_numpy(images).permute(0, 3, 1, 2))).numpy()
    multi = classifier_graph(
        model, ("logits",), PREPROCESS, {}, inside=True, labels=LabelSpec("multi", ("a", "b", "c"))
    )
    np.testing.assert_allclose(multi.run(images)["probabilities"], 1 / (1 + np.exp(-logits)), atol=1e-5)
    spec = LabelSpec("regression", ("a", "b", "c"), (1.0, 2.0, 3.0), (2.0, 2.0, 4.0))
    numbers = classifier_graph(model, ("logits",), PREPROCESS, {}, inside=True, labels=spec)
    np.testing.assert_allclose(numbers.run(images)["values"], logits * spec.std + spec.mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("outputs", [(), ("logits", "logits"), ("maps",)])
def test_other_outputs_are_refused(outputs: Any) -> None:
    with pytest.raises(UserError, match="logits, levels or both"):
        classifier_graph(build_network(CONFIGS["nest"]), outputs, PREPROCESS, {})  # type: ignore[arg-type]


def test_a_generator_gives_bytes_inside() -> None:
    model: Any = build_network(entry("nest_generator_digits_32").config).eval()
    latents = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
    plain = generator_graph(model).run(latents)["images"]
    found = generator_graph(model, inside=True)
    with torch.no_grad():
        levels = found.module(torch.from_numpy(latents))
    assert levels.dtype == torch.uint8
    np.testing.assert_array_equal(levels.numpy(), np.rint(plain.transpose(0, 2, 3, 1) * 127.5 + 127.5).clip(0, 255))
