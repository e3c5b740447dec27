"""Classification: one network, one phase, cross entropy with soft targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.metrics.classification import expected_calibration_error, top_k_accuracy
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.save import save_weights
from hvit.run_names import WEIGHTS
from hvit.tasks.confidence import Confidence
from hvit.tasks.task import Batch, Networks, Phase, Scores, Task


class Classify(Task):
    """Trains a classifier.

    model: any encoder. classes: names in the order of the logits. preprocess: how an image becomes the model's
    input, stored with the weights. confidence: what is known of its probabilities, stored with the weights, too.
    """

    phases = (Phase("classify", network="model"),)
    score = "top1"

    def __init__(
        self,
        model: Encoder,
        classes: tuple[str, ...],
        preprocess: Mapping[str, object],
        confidence: Confidence | None = None,
    ) -> None:
        self.networks = {"model": model}
        self.classes = classes
        self.preprocess = preprocess
        self.confidence = confidence

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """Cross entropy of batch["images"] (batch, channels, height, width) against batch["targets"].

        targets: class shares (batch, num_classes) that sum to one, or class indices (batch,).
        """
        return F.cross_entropy(networks["model"](batch["images"]), batch["targets"])

    @torch.no_grad()
    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> Scores:
        """Loss, top-1 and top-5 accuracy and calibration error (fractions), every label and prediction in order,
        and the probability of every prediction. Probabilities are of the temperature; the loss is of the logits.

        Where batches have "clips", rows are views of clips: a clip's probabilities are the mean over its views, as in
        SlowFast, and their logarithms stand for its logits.
        """
        outputs = [
            (
                networks["model"](batch["images"]).float().cpu(),
                batch["targets"].cpu(),
                batch["clips"].cpu() if "clips" in batch else torch.empty(0, dtype=torch.long),
            )
            for batch in batches
        ]
        logits, labels, clips = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        temperature = self.confidence.temperature if self.confidence else 1.0
        cooled, _ = as_samples(logits / temperature, labels, clips)
        logits, labels = as_samples(logits, labels, clips)
        ranked = cooled if len(clips) else logits  # of one view a temperature changes no order
        return {
            "loss": F.cross_entropy(logits, labels).item(),
            "top1": top_k_accuracy(ranked, labels, 1),
            "top5": top_k_accuracy(ranked, labels, 5),
            "calibration_error": expected_calibration_error(cooled, labels),
            "count": len(labels),
            "labels": labels.tolist(),
            "predictions": ranked.argmax(dim=1).tolist(),
            "confidences": [round(share, 4) for share in cooled.softmax(dim=1).max(dim=1).values.tolist()],
        }

    def save_weights(self, folder: Path, networks: Networks) -> None:
        """Writes `weights.safetensors` with the model's name, configuration, classes and preprocessing."""
        model = networks["model"]
        assert isinstance(model, Encoder)
        self.write_classifier(folder, model)

    def write_classifier(self, folder: Path, model: Encoder) -> None:
        """As `save_weights`, for a classifier alone."""
        confidence = self.confidence.as_json() if self.confidence else None
        save_weights(model, folder / WEIGHTS, classes=self.classes, preprocess=self.preprocess, confidence=confidence)


def as_samples(logits: Tensor, labels: Tensor, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels of samples: of images as they are, of clips from those of their views.

    logits, labels: (views, classes) and (views,). clips: (views,), the clips they are of, empty for images. Returns of
    clips the logarithms of mean probabilities (clips, classes).
    """
    if not len(clips):
        return logits, labels
    numbers, place, counts = clips.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(numbers), logits.shape[1], dtype=torch.float64)
    sums.index_add_(0, place, logits.double().softmax(dim=1))
    own = torch.zeros(len(numbers), dtype=labels.dtype)
    own[place] = labels
    return (sums / counts[:, None]).log().float(), own
