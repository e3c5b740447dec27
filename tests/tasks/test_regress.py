"""Numbers: the loss is on standardised labels, the scores are in their units."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hvit.labels import LabelSpec
from hvit.tasks.regress import Regress

TASK = Regress(nn.Identity(), LabelSpec("regression", ("age",), mean=(40.0,), std=(10.0,)), {})  # pyright: ignore[reportArgumentType]


def test_the_loss_is_standardised_and_weighted() -> None:
    batch = {"images": torch.tensor([[0.0], [1.0]]), "targets": torch.tensor([[45.0], [50.0]])}
    networks = {"model": nn.Identity()}
    assert TASK.loss(TASK.phases[0], networks, batch).item() == pytest.approx(0.5 * 0.5**2 / 2)
    weighted = batch | {"weights": torch.tensor([3.0, 1.0])}
    assert TASK.loss(TASK.phases[0], networks, weighted).item() == pytest.approx(3 * 0.5 * 0.5**2 / 2)


def test_scores_are_in_the_units_of_the_labels_and_views_are_averaged() -> None:
    batch = {
        "images": torch.tensor([[0.0], [1.0], [-1.0]]),
        "targets": torch.tensor([[45.0], [45.0], [30.0]]),
        "clips": torch.tensor([0, 0, 1]),
    }
    scores = TASK.evaluate({"model": nn.Identity()}, [batch])
    assert (scores["predicted_values"], scores["values"]) == ([[45.0], [30.0]], [[45.0], [30.0]])
    assert (scores["mae"], scores["r2"]) == (0.0, 1.0)
