"""Losses are those of their papers, also of soft targets, of weights and of mixed samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hvit.data.mixing import join_weights, part_weights, soft_targets
from hvit.errors import UserError
from hvit.tasks.losses import asymmetric, binary_cross_entropy, chosen_loss, huber, weighted_mean

LOGITS = torch.linspace(-4, 4, 12).view(3, 4)
HARD = torch.tensor([[0.0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1]])


def test_the_asymmetric_loss_is_the_equation_of_the_paper() -> None:
    shares = LOGITS.double().sigmoid()
    shifted = (shares - 0.05).clamp_min(0)
    wanted = -torch.where(HARD.bool(), shares.log(), shifted**4 * (1 - shifted).log()).mean(dim=1)
    torch.testing.assert_close(asymmetric(LOGITS.double(), HARD.double()), wanted)


@pytest.mark.parametrize("loss", [binary_cross_entropy, asymmetric])
def test_a_soft_target_costs_the_mean_of_both_hard_ones(loss: object) -> None:
    assert callable(loss)
    half = torch.full_like(HARD, 0.25)
    wanted = 0.25 * loss(LOGITS, torch.ones_like(HARD)) + 0.75 * loss(LOGITS, torch.zeros_like(HARD))
    torch.testing.assert_close(loss(LOGITS, half), wanted)
    weighted = loss(LOGITS, HARD, torch.full((4,), 2.0)) - loss(LOGITS, HARD)
    torch.testing.assert_close(weighted, (loss(LOGITS, HARD) - _absent(loss)))


def _absent(loss: object) -> torch.Tensor:
    """The part of the loss that is of absent classes."""
    assert callable(loss)
    return loss(LOGITS, HARD, torch.zeros(4))


def test_huber_is_quadratic_up_to_1_and_linear_beyond() -> None:
    losses = huber(torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1))
    assert losses.tolist() == [0.125, 2.5]


def test_mixed_weighted_samples_cost_the_mixture_of_both_losses() -> None:
    """mixup of a sample of weight 3 with one of weight 1, in the shares 0.3 and 0.7."""
    targets, weights = HARD[:2], torch.tensor([3.0, 1.0])
    joined = (torch.tensor([[0.3, 0.7]]) @ join_weights(targets, weights)).expand(1, -1)
    mixed, weight = part_weights(joined)
    logits = LOGITS[:1]
    wanted = sum(
        share * one * binary_cross_entropy(logits, target[None])
        for share, one, target in zip((0.3, 0.7), weights, targets, strict=True)
    )
    assert weighted_mean(binary_cross_entropy(logits, mixed), weight).item() == pytest.approx(float(wanted), rel=1e-5)


def test_soft_targets_of_every_kind() -> None:
    assert soft_targets([np.array([1, 0], np.float32)], 2, 0.2, "multi").tolist() == [
        [pytest.approx(0.9), pytest.approx(0.1)]
    ]
    assert soft_targets([np.array([41.5], np.float32)], 1, 0.2, "regression").tolist() == [[41.5]]
    (row,) = soft_targets([1], 4, 0.0, "ordinal").tolist()
    weights = np.exp([-1.0, 0.0, -1.0, -4.0])
    assert row == pytest.approx(weights / weights.sum())


def test_a_loss_of_other_labels_is_refused() -> None:
    assert chosen_loss("auto", "multi") == "binary_cross_entropy"
    with pytest.raises(
        UserError, match="loss huber is not for multi labels: choose binary_cross_entropy or asymmetric"
    ):
        chosen_loss("huber", "multi")
