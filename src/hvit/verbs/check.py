"""Whether a method of explanation can be trusted on a person's own model and images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from hvit.errors import UserError
from hvit.explain.localization.faithfulness import Examined, examine, findings_of, passes_to_examine, verdict
from hvit.explain.localization.places import Places
from hvit.explain.methods.baseline_images import Baseline, name_of
from hvit.explain.tree import Absent
from hvit.files import JsonObject
from hvit.randomness import derive_seed
from hvit.verbs.classifier import Classifier, read_or_refuse

LEAST_IMAGES = 10
_TOGETHER = 16  # images


def check(
    classifier: Classifier,
    files: Sequence[Path],
    count: int,
    methods: Sequence[str],
    places: Places | None,
    refused: Callable[[str], None],
    step: Callable[[int], None] = lambda count: None,
    baseline: Baseline = "mean",
    budget: float | None = None,
    absent: Absent = "exchanged",
    spent: Callable[[float, float, int], object] | None = None,
) -> list[JsonObject]:
    """Measures methods on `count` of the images, drawn at random but always the same; on all if there are fewer.

    refused: as in `predict`. step: called with how many images were done. baseline, budget, absent: of block Shapley;
    the baseline also stands for pixels that are deleted. spent: called with the forward passes that were spent since
    the last call on some images, how many are planned for each of these, and their number.
    Returns for each method {"method", "images", "baseline", "absent", "probability" and "probability_before" (of the
    predicted class, of the image and of the baseline alone),
    "measures": [{"name", "value", "interval", "compared_with", "passes", "rule", "images"}], "trusted", "verdict"}.
    Raises UserError for a model that predicts numbers, for fewer than ten images, and for places of which none belongs
    to an image.
    """
    if classifier.labels.kind == "regression":
        raise UserError("--check measures probabilities of classes, and this model predicts numbers: omit it")
    if len(files) < LEAST_IMAGES:
        raise UserError(f"--check needs {LEAST_IMAGES} images or more; got {len(files)}")
    drawn = sorted(Random(derive_seed(0, "check")).sample(list(files), min(count, len(files))))
    examined: dict[str, list[Examined]] = {method: [] for method in methods}
    probabilities: list[float] = []
    model = classifier.model if classifier.prepared is None else classifier.prepared
    known, planned = 0, 0.0

    def seen(file: Path, image: Image.Image) -> tuple[torch.Tensor, np.ndarray | None]:
        mask = None if places is None else places.mask(file, image.size)
        on = None if mask is None else np.asarray(classifier.preprocess.shown(mask).convert("L")) > 127
        return classifier.preprocess.tensor(image), on

    def measure(part: list[tuple[torch.Tensor, np.ndarray | None]]) -> None:
        nonlocal known, planned
        batch = torch.stack([tensor for tensor, _ in part]).to(classifier.device)
        masks = [mask for _, mask in part]
        planned = planned or sum(passes_to_examine(model, batch[:1], method, budget, absent) for method in methods)

        def progress(passes: float) -> None:
            if spent is not None:
                spent(passes, planned, len(part))

        for method in methods:
            first = len(probabilities)
            examined[method].append(
                examine(
                    model,
                    batch,
                    method,
                    masks,
                    baseline,
                    budget,
                    first,
                    absent=absent,
                    progress=progress,
                    answers=classifier.answers_to,
                )
            )
        with torch.inference_mode():
            probabilities.extend(classifier.answers(batch).amax(1).tolist())
        known += sum(mask is not None for mask in masks)
        step(len(part))

    part: list[tuple[torch.Tensor, np.ndarray | None]] = []
    for file, image in read_or_refuse(drawn, classifier.preprocess, refused, lambda image: image):
        try:
            part.append(seen(file, image))
        except UserError as error:
            refused(str(error))
            continue
        if len(part) == _TOGETHER:
            measure(part)
            part = []
    if part:
        measure(part)
    if len(probabilities) < LEAST_IMAGES:
        raise UserError(f"--check needs {LEAST_IMAGES} readable images or more; got {len(probabilities)}")
    if places is not None and not known:
        raise UserError(
            f"{places.path} has no place of an object in these images: its names must be those of the images"
        )
    answers = []
    for method in methods:
        findings = findings_of(examined[method])
        answers.append(
            {
                "method": method,
                "images": len(probabilities),
                "baseline": name_of(baseline),
                "absent": absent,
                "probability": float(np.mean(probabilities)),
                "probability_before": float(np.concatenate([one.before for one in examined[method]]).mean()),
                "measures": [{key: value for key, value in asdict(one).items() if key != "fails"} for one in findings],
                "trusted": all(one.passes for one in findings),
                "verdict": verdict(method, findings),
            }
        )
    return answers
