"""Ordered classes are scored by how far predictions are off."""

from __future__ import annotations

import torch
from torch import nn

from hvit.labels import LabelSpec
from hvit.tasks.ordinal import Order


def test_near_misses_score_better_than_far_ones() -> None:
    task = Order(nn.Identity(), ("low", "middle", "high"), {}, None, LabelSpec("ordinal", ("low", "middle", "high")))  # pyright: ignore[reportArgumentType]
    labels = torch.tensor([0, 1, 2, 0])
    near, far = torch.eye(3)[[0, 1, 1, 0]] * 9, torch.eye(3)[[0, 1, 0, 0]] * 9
    scores = [task.scores(logits, labels, logits, logits) for logits in (near, far)]
    assert scores[0]["top1"] == scores[1]["top1"] == 0.75
    assert (scores[0]["mae"], scores[1]["mae"]) == (0.25, 0.5)
    assert scores[0]["quadratic_kappa"] > scores[1]["quadratic_kappa"]
    assert task.score == "quadratic_kappa"
