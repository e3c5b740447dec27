"""Numbers: a head whose outputs are standardised by the training labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hvit.labels import LabelSpec
from hvit.metrics.labelled import regression_scores
from hvit.models.layers.encoder import Encoder
from hvit.tasks.classify import Classify, mean_over_views
from hvit.tasks.losses import huber, weighted_mean
from hvit.tasks.task import Batch, Networks, Outputs, Phase, Scores


class Regress(Classify):
    """Trains a model that predicts one number or more, by the Huber loss on standardised labels.

    labels: with the mean and the standard deviation of the training labels, which are stored with the weights.
    """

    score = "r2"

    def __init__(self, model: Encoder, labels: LabelSpec, preprocess: Mapping[str, object]) -> None:
        super().__init__(model, labels.names, preprocess, None, labels)
        self.mean = torch.tensor(labels.mean, dtype=torch.float64)
        self.std = torch.tensor(labels.std, dtype=torch.float64)

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """The loss of batch["images"] against batch["targets"] (batch, numbers), in the units of the labels."""
        outputs = networks["model"](batch["images"]).float()
        return weighted_mean(huber(outputs, self._standardised(batch["targets"])), batch.get("weights"))

    def _standardised(self, targets: Tensor) -> Tensor:
        mean, std = (one.to(targets.device, torch.float32) for one in (self.mean, self.std))
        return (targets - mean) / std

    def scores_of(self, outputs: Outputs) -> Scores:
        """Loss, mean absolute error, R² and rank correlation, and every label and prediction ("values" and
        "predicted_values", a list for each sample), in the units of the labels. Of clips, outputs are means over views.
        """
        standardised, truth, clips = outputs["logits"], outputs["targets"], outputs["clips"]
        loss = huber(standardised, self._standardised(truth)).mean().item()
        found = standardised.double()
        if len(clips):
            found, truth = mean_over_views(found, truth, clips)
        predicted, wanted = (found * self.std + self.mean).numpy(), truth.double().numpy()
        return {
            "loss": loss,
            **regression_scores(predicted, wanted, self.classes),
            "count": len(wanted),
            "values": [[float(f"{value:.6g}") for value in row] for row in wanted.tolist()],
            "predicted_values": [[float(f"{value:.6g}") for value in row] for row in predicted.tolist()],
        }
