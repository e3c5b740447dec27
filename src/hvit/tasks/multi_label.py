"""Several classes a sample: yes or no for each class, and the probability from which it is yes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hvit.labels import LabelSpec
from hvit.metrics.labelled import best_thresholds, multi_label_scores
from hvit.models.layers.encoder import Encoder
from hvit.tasks.classify import Classify, mean_over_views
from hvit.tasks.losses import LossName, asymmetric, binary_cross_entropy, weighted_mean
from hvit.tasks.task import Batch, Networks, Outputs, Phase, Scores


class MultiLabel(Classify):
    """Trains a classifier that gives a sample any number of classes.

    labels: with the thresholds to decide by; without, they are chosen anew at every evaluation, on the held-out
    samples, and stored with the weights. loss_name: binary_cross_entropy or asymmetric. positive_weights: what yes
    weighs, one for each class; none for 1.
    """

    score = "mean_average_precision"

    def __init__(
        self,
        model: Encoder,
        labels: LabelSpec,
        preprocess: Mapping[str, object],
        loss_name: LossName = "binary_cross_entropy",
        positive_weights: tuple[float, ...] = (),
    ) -> None:
        super().__init__(model, labels.names, preprocess, None, labels)
        self.loss_name, self.chooses = loss_name, not labels.thresholds
        self.positive_weights = torch.tensor(positive_weights) if positive_weights else None

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """The loss of batch["images"] against batch["targets"] (batch, classes), from 0 to 1."""
        logits = networks["model"](batch["images"]).float()
        return weighted_mean(self._losses(logits, batch["targets"]), batch.get("weights"))

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        compute = asymmetric if self.loss_name == "asymmetric" else binary_cross_entropy
        weights = None if self.positive_weights is None else self.positive_weights.to(logits.device)
        return compute(logits, targets, weights)

    def scores_of(self, outputs: Outputs) -> Scores:
        """Loss, mean average precision, F1 (micro and macro), and the share of samples with all classes right.

        F1 is at the thresholds; where these are chosen on the same samples it is a little too good, and
        f1_micro_at_half and f1_macro_at_half, at probability 0.5, are not. "label_sets" and "predicted_sets" have the
        class numbers of every sample. Of clips, probabilities are means over views.
        """
        logits, truth, clips = outputs["logits"], outputs["targets"], outputs["clips"]
        probabilities, labels = logits.double().sigmoid(), truth
        if len(clips):
            probabilities, labels = mean_over_views(probabilities, truth, clips)
        shares, present = probabilities.numpy(), labels.numpy()
        if self.chooses:
            self.labels = replace(self.labels, thresholds=best_thresholds(shares, present))
        thresholds = self.labels.thresholds
        half = multi_label_scores(shares, present, self.classes, (0.5,) * len(self.classes))
        return {
            "loss": self._losses(logits, truth).mean().item(),
            **multi_label_scores(shares, present, self.classes, thresholds),
            "f1_micro_at_half": half["f1_micro"],
            "f1_macro_at_half": half["f1_macro"],
            "thresholds_chosen_here": self.chooses,
            "count": len(present),
            "label_sets": [row.nonzero()[0].tolist() for row in present],
            "predicted_sets": [(row >= thresholds).nonzero()[0].tolist() for row in shares],
        }

    def scores_of_test(self, outputs: Outputs) -> Scores:
        """As `scores_of`, at the thresholds that the held-out samples have chosen."""
        chooses, self.chooses = self.chooses, False
        try:
            return self.scores_of(outputs)
        finally:
            self.chooses = chooses

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probability of each class by itself, (samples, classes)."""
        return logits.sigmoid()
