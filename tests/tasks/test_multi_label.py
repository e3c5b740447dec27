"""Several classes a sample: thresholds are chosen once and kept, and views of clips are averaged."""

from __future__ import annotations

import torch
from torch import nn

from hvit.labels import LabelSpec
from hvit.tasks.multi_label import MultiLabel


def evaluated(task: MultiLabel, logits: torch.Tensor, **more: torch.Tensor) -> dict[str, object]:
    network = nn.Identity()
    truth = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    return task.evaluate({"model": network}, [{"images": logits, "targets": truth, **more}])


LOGITS = torch.tensor([[-1.0, -3], [-3, -1.5], [-0.5, -1.0]])


def test_thresholds_are_chosen_where_there_are_none_and_kept_where_there_are() -> None:
    task = MultiLabel(nn.Identity(), LabelSpec("multi", ("a", "b")), {})  # pyright: ignore[reportArgumentType]
    scores = evaluated(task, LOGITS)
    assert (scores["f1_micro"], scores["f1_micro_at_half"], scores["exact_match"]) == (1.0, 0.0, 1.0)
    assert scores["predicted_sets"] == scores["label_sets"] == [[0], [1], [0, 1]]
    kept = MultiLabel(nn.Identity(), LabelSpec("multi", ("a", "b"), thresholds=(0.9, 0.9)), {})  # pyright: ignore[reportArgumentType]
    assert evaluated(kept, LOGITS)["f1_micro"] == 0.0
    assert kept.labels.thresholds == (0.9, 0.9)


def test_of_clips_probabilities_are_means_over_views() -> None:
    task = MultiLabel(nn.Identity(), LabelSpec("multi", ("a", "b"), thresholds=(0.5, 0.5)), {})  # pyright: ignore[reportArgumentType]
    logits = torch.tensor([[5.0, -5], [5, -5], [-5, 5]])
    truth = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    batch = {"images": logits, "targets": truth, "clips": torch.tensor([0, 0, 1])}
    scores = task.evaluate({"model": nn.Identity()}, [batch])
    assert (scores["count"], scores["predicted_sets"]) == (2, [[0], [1]])


def test_a_present_class_may_weigh_more() -> None:
    plain = MultiLabel(nn.Identity(), LabelSpec("multi", ("a",)), {})  # pyright: ignore[reportArgumentType]
    weighted = MultiLabel(nn.Identity(), LabelSpec("multi", ("a",)), {}, positive_weights=(3.0,))  # pyright: ignore[reportArgumentType]
    batch = {"images": torch.tensor([[0.3]]), "targets": torch.ones(1, 1)}
    losses = [task.loss(task.phases[0], {"model": nn.Identity()}, batch) for task in (plain, weighted)]
    torch.testing.assert_close(losses[1], 3 * losses[0])
