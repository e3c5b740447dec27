"""After training: a temperature, a threshold for saying nothing, and features that show what is unlike the data."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.data.batches import evaluation_batches
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.files import JsonObject, write_text
from hvit.labels import LabelSpec
from hvit.metrics.calibration import BINS, calibration_error, fit_temperature, reliability, threshold_for
from hvit.metrics.outliers import MOST_KEPT, NearestTraining
from hvit.models.layers.encoder import Encoder
from hvit.models.probe import logits_and_features
from hvit.run_names import OUTLIERS
from hvit.runs.kind import Prepared
from hvit.runs.scoring import held_out_batch_size
from hvit.snapshots.answers import answers_of
from hvit.snapshots.features import some_images
from hvit.tasks.classify import as_samples, mean_over_views
from hvit.tasks.confidence import Confidence
from hvit.training.distribute import Processes


@dataclass(frozen=True)
class Outputs:
    """What a classifier makes of a set: a row for each view, and the clip that it is of; images are their only view.

    logits: (views, classes). labels: (views,). clips: (views,), empty for images. features: (views, dim), what the head
    takes; None for a head that is no linear layer.
    """

    logits: Tensor
    labels: Tensor
    clips: Tensor
    features: Tensor | None

    def answers(self, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """The highest probability of every sample (samples,), and whether it is that of the true class."""
        rows, labels = as_samples(self.logits.double() / temperature, self.labels, self.clips)
        highest = rows.softmax(dim=1).max(dim=1)
        return highest.values.numpy(), (highest.indices == labels).numpy()

    def loss(self, temperature: float) -> float:
        """The sum of the negative log-likelihoods of the true classes at a temperature."""
        rows, labels = as_samples(self.logits.double() / temperature, self.labels, self.clips)
        return F.cross_entropy(rows.double(), labels, reduction="sum").item()

    @property
    def places(self) -> np.ndarray:
        """The features of every sample (samples, dim), of a clip the mean over its views."""
        assert self.features is not None
        if not len(self.clips):
            return self.features.numpy()
        numbers, place, counts = self.clips.unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(numbers), self.features.shape[1]).index_add_(0, place, self.features)
        return (sums / counts[:, None]).numpy()


@torch.no_grad()
def outputs_of(
    model: Encoder, images: ImageSet, preprocess: Preprocess, ranks: Processes, workers: int = 0
) -> Outputs | None:
    """Looks at all views of every sample of a set, on the device of the model, in float32.

    Every process looks at a part; the first gets the whole, the others None.
    """
    device, linear = next(model.parameters()).device, isinstance(model.head, nn.Linear)
    model.eval()
    batches = evaluation_batches(
        images, preprocess=preprocess, batch_size=held_out_batch_size(preprocess), rank=ranks.rank,
        world_size=ranks.world_size, workers=workers,
    )  # fmt: skip

    def look() -> list[tuple[Tensor, ...]]:
        rows: list[tuple[Tensor, ...]] = []
        for batch in batches:
            inputs = batch["images"].to(device)
            logits, features = logits_and_features(model, inputs) if linear else (model(inputs).float(), torch.empty(0))
            rows.append((logits.cpu(), features.cpu(), batch["targets"], batch.get("clips", torch.empty(0).long())))
        return [tuple(map(torch.cat, zip(*rows, strict=True)))] if rows else []

    parts = [part for some in ranks.gather(look) for part in some]
    if not ranks.is_first:
        return None
    logits, features, labels, clips = map(torch.cat, zip(*parts, strict=True))
    return Outputs(logits, labels, clips, features if linear else None)


def parts_to_look_at(prepared: Prepared, model: Encoder) -> dict[str, ImageSet]:
    """The parts of the data that `measure` and the scores of clips need, and that a fold's predictions are of."""
    config, splits = prepared.recipe.confidence, prepared.splits
    parts: dict[str, ImageSet] = {}
    if splits.labels.has_classes and (config.calibrate or config.unsure_error is not None or config.outliers):
        parts = {"held_out": splits.held_out, **({"test": splits.test} if splits.test else {})}
        if config.outliers and isinstance(model.head, nn.Linear):
            parts["train"] = some_images(splits.train, MOST_KEPT)
    if getattr(prepared.recipe.data, "fold", 0):
        parts["held_out"] = splits.held_out
    if prepared.preprocess.takes_clips:
        parts["test" if splits.test else "held_out"] = splits.reported
    return parts


def write_answers(
    path: Path, names: Sequence[str], looked: Outputs, labels: LabelSpec, groups: Sequence[str] | None = None
) -> None:
    """Writes a table of several classes a sample, or of numbers: name, group if there are any, a column for every label
    and one for every answer, which is a probability or a number.
    """
    answers, truth = answers_of(looked.logits.double(), labels), looked.labels
    if len(looked.clips):
        answers, truth = mean_over_views(answers, truth, looked.clips)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    answered = (f"predicted {name}" for name in labels.names)
    table.writerow(["name", *["group"] * bool(groups), *labels.names, *answered])
    for number, (name, own, found) in enumerate(zip(names, truth.tolist(), answers.tolist(), strict=True)):
        group = [groups[number]] if groups else []
        table.writerow([name, *group, *(f"{value:.7g}" for value in (*own, *found))])
    write_text(path, text.getvalue())


def write_predictions(
    path: Path, names: Sequence[str], looked: Outputs, classes: Sequence[str], groups: Sequence[str] | None = None
) -> None:
    """Writes a table: name, group if there are any, class, predicted class, a column of probabilities for every class.

    Probabilities are of the logits as they are: the temperature of the run was fitted to these samples.
    """
    rows, labels = as_samples(looked.logits.double(), looked.labels, looked.clips)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", *["group"] * bool(groups), "class", "predicted", *classes])
    for number, (name, label, shares) in enumerate(zip(names, labels.tolist(), rows.softmax(dim=1), strict=True)):
        guess = classes[int(shares.argmax())]
        group = [groups[number]] if groups else []
        table.writerow([name, *group, classes[label], guess, *(f"{share:.6f}" for share in shares.tolist())])
    write_text(path, text.getvalue())


def measure(prepared: Prepared, looked: Mapping[str, Outputs], folder: Path) -> tuple[Confidence, JsonObject] | None:
    """What the weights of a run are to carry, and the scores that say how it was measured; None where nothing is asked.

    looked: the outputs for the parts of the data that `parts_to_look_at` names.
    """
    config, splits = prepared.recipe.confidence, prepared.splits
    if not config.calibrate and config.unsure_error is None and not config.outliers:
        return None
    held_out = looked["held_out"]
    tested = looked["test"] if splits.test else held_out
    temperature = fit_temperature(held_out.loss) if config.calibrate else 1.0
    facts: JsonObject = {
        "fitted_on": len(splits.held_out),
        "measured_on": "test" if splits.test else "held-out",
        "temperature": temperature,
        "bins": BINS,
        "before": reliability(*tested.answers()),
        "after": reliability(*tested.answers(temperature)),
    }
    facts["confidences"] = [round(share, 4) for share in tested.answers(temperature)[0].tolist()]
    facts |= {f"error_{when}": calibration_error(facts[when]) for when in ("before", "after")}
    below = None
    if config.unsure_error is not None:
        threshold = threshold_for(*held_out.answers(temperature), config.unsure_error)
        below = threshold["below"]
        confidences, hits = tested.answers(temperature)
        answered = confidences >= below
        facts["unsure"] = threshold | {
            "measured_coverage": float(answered.mean()),
            "measured_error": float((~hits[answered]).mean()) if answered.any() else 0.0,
        }
    checksum = None
    if config.outliers and held_out.features is not None:
        checksum = NearestTraining.of(looked["train"].places, held_out.places).save(folder / OUTLIERS)
    return Confidence(temperature, below, checksum), facts
