"""Classification: one network, one phase, cross entropy with soft targets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.measures import expected_calibration_error, top_k_accuracy
from hvit.models.layers import Encoder
from hvit.models.weights import save_weights
from hvit.tasks.task import Batch, Networks, Phase, Task

WEIGHTS = "weights.safetensors"


class Classify(Task):
    """Tells classes apart.

    model: any encoder. classes: names in the order of the logits. preprocess: how an image becomes the model's
    input, stored beside the weights.
    """

    phases = (Phase("classify", network="model"),)
    score = "top1"

    def __init__(self, model: Encoder, classes: tuple[str, ...], preprocess: dict[str, Any]) -> None:
        self.networks = {"model": model}
        self.classes = classes
        self.preprocess = preprocess

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """Cross entropy of batch["images"] (batch, channels, height, width) against batch["targets"].

        targets: class shares (batch, num_classes) that sum to one, or class indices (batch,).
        """
        return F.cross_entropy(networks["model"](batch["images"]), batch["targets"])

    @torch.no_grad()
    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> dict[str, Any]:
        """Loss, top-1 and top-5 accuracy and calibration error (fractions), every label and prediction in order."""
        outputs = [(networks["model"](batch["images"]).float().cpu(), batch["targets"].cpu()) for batch in batches]
        logits, labels = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        return {
            "loss": F.cross_entropy(logits, labels).item(),
            "top1": top_k_accuracy(logits, labels, 1),
            "top5": top_k_accuracy(logits, labels, 5),
            "calibration_error": expected_calibration_error(logits, labels),
            "count": len(labels),
            "labels": labels.tolist(),
            "predictions": logits.argmax(dim=1).tolist(),
        }

    def save(self, folder: Path, networks: Networks, step: int) -> None:
        """Writes `weights.safetensors` with the model's name, configuration, classes and preprocessing."""
        model = networks["model"]
        assert isinstance(model, Encoder)
        save_weights(model, folder / WEIGHTS, classes=self.classes, preprocess=self.preprocess)
