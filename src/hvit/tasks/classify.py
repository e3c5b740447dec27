"""Classification: one network, one phase, cross entropy with soft targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.labels import LabelSpec
from hvit.metrics.classification import expected_calibration_error, top_k_accuracy
from hvit.metrics.hierarchy import hierarchy_scores
from hvit.metrics.labelled import balanced_scores, mean_of, ranking_scores
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.save import save_weights
from hvit.run_names import WEIGHTS
from hvit.tasks.confidence import Confidence
from hvit.tasks.losses import weighted_mean
from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Scores, Task, join


class Classify(Task):
    """Trains a classifier.

    model: any encoder. classes: names in the order of the logits. preprocess: how an image becomes the model's
    input, stored with the weights. confidence: what is known of its probabilities, stored with the weights, too.
    labels: what the labels are, if not one class a sample.
    """

    phases = (Phase("classify", network="model"),)
    score = "top1"
    ranks = False
    """Whether the area under the ROC curve and the average precision of every class are computed, too."""

    def __init__(
        self,
        model: Encoder,
        classes: tuple[str, ...],
        preprocess: Mapping[str, object],
        confidence: Confidence | None = None,
        labels: LabelSpec | None = None,
    ) -> None:
        self.networks = {"model": model}
        self.classes = classes
        self.preprocess = preprocess
        self.confidence = confidence
        self.labels = labels or LabelSpec("single", classes)

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """Cross entropy of batch["images"] (batch, channels, height, width) against batch["targets"].

        targets: class shares (batch, num_classes) that sum to one, or class indices (batch,). Where there are "weights"
        (batch,), each sample's loss is multiplied by its weight.
        """
        logits = networks["model"](batch["images"])
        if "weights" not in batch:
            return F.cross_entropy(logits, batch["targets"])
        return weighted_mean(F.cross_entropy(logits, batch["targets"], reduction="none"), batch["weights"])

    @torch.no_grad()
    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        """ "logits" (rows, outputs) float32 and "targets" of every row; of clips the number of each row's clip, too."""
        return join(
            {
                "logits": networks["model"](batch["images"]).float().cpu(),
                "targets": batch["targets"].cpu(),
                "clips": batch["clips"].cpu() if "clips" in batch else torch.empty(0, dtype=torch.long),
            }
            for batch in batches
        )

    def scores_of(self, outputs: Outputs) -> Scores:
        """Loss, top-1 and top-5 accuracy, balanced accuracy (mean recall), mean F1 and calibration error (fractions),
        every label and prediction in order, and the probability of every prediction. Probabilities are of the
        temperature; the loss is of the logits.

        Where batches have "clips", rows are views of clips: a clip's probabilities are the mean over its views, as in
        SlowFast, and their logarithms stand for its logits.
        """
        logits, labels, clips = outputs["logits"], outputs["targets"], outputs["clips"]
        temperature = self.confidence.temperature if self.confidence else 1.0
        cooled, _ = as_samples(logits / temperature, labels, clips)
        logits, labels = as_samples(logits, labels, clips)
        ranked = cooled if len(clips) else logits  # of one view a temperature changes no order
        return self.scores(logits, labels, cooled, ranked)

    def scores(self, logits: Tensor, labels: Tensor, cooled: Tensor, ranked: Tensor) -> Scores:
        """The scores of logits (samples, classes) for classes (samples,).

        cooled: logits at the temperature, of which probabilities are. ranked: those that predict.
        """
        truth, predictions = labels.tolist(), ranked.argmax(dim=1).tolist()
        return self.ranking(ranked, labels) | {
            **self._of_levels(cooled, labels),
            "loss": F.cross_entropy(logits, labels).item(),
            "top1": top_k_accuracy(ranked, labels, 1),
            "top5": top_k_accuracy(ranked, labels, 5),
            **balanced_scores(truth, predictions, logits.shape[1]),
            "calibration_error": expected_calibration_error(cooled, labels),
            "count": len(labels),
            "labels": truth,
            "predictions": predictions,
            "confidences": [round(share, 4) for share in cooled.softmax(dim=1).max(dim=1).values.tolist()],
        }

    def ranking(self, logits: Tensor, labels: Tensor) -> Scores:
        """AUROC and mean average precision of classes against all others, and the row of each, where that is asked."""
        if not self.ranks:
            return {}
        one_hot = F.one_hot(labels, logits.shape[1]).numpy()
        rows = ranking_scores(self.probabilities(logits).double().numpy(), one_hot, self.classes)
        return {
            "auroc": mean_of(rows, "auroc"),
            "mean_average_precision": mean_of(rows, "average_precision"),
            "ranking": rows,
        }

    def _of_levels(self, logits: Tensor, labels: Tensor) -> Scores:
        """The scores of every level of a hierarchy of classes, where there is one."""
        if not self.labels.levels:
            return {}
        return hierarchy_scores(logits.double().softmax(dim=1).numpy(), labels.numpy(), self.labels.levels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (samples, classes) of logits."""
        return logits.softmax(dim=1)

    def save_weights(self, folder: Path, networks: Networks) -> None:
        """Writes `weights.safetensors` with the model's name, configuration, classes and preprocessing."""
        model = networks["model"]
        assert isinstance(model, Encoder)
        self.write_classifier(folder, model)

    def write_classifier(self, folder: Path, model: Encoder) -> None:
        """As `save_weights`, for a classifier alone."""
        stored: dict[str, Any] | None = self.labels.as_json()
        confidence = self.confidence.as_json() if self.confidence else None
        save_weights(
            model, folder / WEIGHTS, classes=self.classes, preprocess=self.preprocess, confidence=confidence,
            labels=stored,
        )  # fmt: skip


def as_samples(logits: Tensor, labels: Tensor, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels of samples: of images as they are, of clips from those of their views.

    logits, labels: (views, classes) and (views,). clips: (views,), the clips they are of, empty for images. Returns of
    clips the logarithms of mean probabilities (clips, classes).
    """
    if not len(clips):
        return logits, labels
    shares, own = mean_over_views(logits.double().softmax(dim=1), labels, clips)
    return shares.log().float(), own


def mean_over_views(values: Tensor, labels: Tensor, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Values of views (views, outputs) and the clips they are of (views,) as means (clips, outputs) and labels."""
    numbers, place, counts = clips.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(numbers), values.shape[1], dtype=torch.float64)
    sums.index_add_(0, place, values.double())
    own = torch.zeros(len(numbers), *labels.shape[1:], dtype=labels.dtype)
    own[place] = labels
    return sums / counts[:, None], own
