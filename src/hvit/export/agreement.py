"""Compares an exported file with the model it comes from: outputs, answers, explanations and speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.explain.methods.block_shapley import block_shapley, block_shapley_clips
from hvit.explain.methods.request import classifies_a_token, normalised_map
from hvit.models.layers.encoder import Encoder
from hvit.runtime.about import About

BOUNDS = {"float32": 1e-4, "float16": 0.01, "bfloat16": 0.05}
"""Largest difference of an output, relative to the largest of its values; of int8 the answers are compared instead."""
LEAST_EQUAL = 0.9
"""Share of inputs whose most probable class must stay the same in int8."""
_ROUNDS = 5


class Runs(Protocol):
    """What has outputs by name: an exported file, or the graph of a model."""

    @property
    def about(self) -> About:
        """What the file says of itself, or would say."""
        ...

    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name."""
        ...


@dataclass(frozen=True)
class Outputs:
    """What a model gives for all inputs that are compared."""

    values: dict[str, np.ndarray]

    @property
    def answers(self) -> np.ndarray | None:
        """The most probable class of every input; None without a head."""
        found = self.values.get("logits", self.values.get("probabilities"))
        return None if found is None or found.shape[1] == 1 else found.argmax(1)


def outputs_of(model: Runs, batches: Sequence[tuple[np.ndarray, ...]]) -> Outputs:
    """The outputs of all batches."""
    rows = [model.run(*batch) for batch in batches]
    return Outputs({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})


def difference(before: Outputs, after: Outputs) -> float:
    """The largest difference of an output, relative to the largest of its values; infinite where one is not finite."""
    worst = 0.0
    for name, wanted in before.values.items():
        found = after.values[name].astype(np.float64)
        if found.shape != wanted.shape or not np.isfinite(found).all():
            return float("inf")
        worst = max(worst, float(np.abs(found - wanted).max() / max(np.abs(wanted.astype(np.float64)).max(), 1e-12)))
    return worst


def check(before: Outputs, after: Outputs, about: About, what: str) -> tuple[float, float | None]:
    """The difference of the outputs, and the share of equal answers, None without a head.

    Raises UserError where they are not close enough for the precision; what: the export, as the message calls it.
    """
    worst = difference(before, after)
    mine, theirs = before.answers, after.answers
    equal = None if mine is None or theirs is None else float((mine == theirs).mean())
    if about.precision == "int8":
        # Generators and feature maps have no answers; a tenth of the range is what eight bits can lose by and by.
        fails = (equal is not None and equal < LEAST_EQUAL) or worst == float("inf")
        found = f"its most probable class is another one for {1 - (equal or 0):.0%} of the inputs"
        allowed = f"{1 - LEAST_EQUAL:.0%}"
    else:
        fails = worst > BOUNDS[about.precision]
        found = f"its outputs differ from the model's by {worst:.1e} of the largest"
        allowed = f"{BOUNDS[about.precision]:.0e} in {about.precision}"
    if fails:
        raise UserError(f"{what} was not written: {found}, and {allowed} is allowed; try another precision or format")
    return worst, equal


def first_steps(before: Runs, after: Runs, images: Tensor, preprocess: Preprocess) -> float:
    """The share of images of which block Shapley's first step is the same, for the class that the model predicts.

    The first step is the quadrant that adds most to the logit, of clips the segment of time. images: (images, channels,
    *size), normalised. Both models are only called, with pixels exchanged.
    """
    chosen = [int(row.argmax()) for row in _scores(before, preprocess)(images)]
    return float(np.mean([a == b for a, b in zip(*(_steps(one, images, preprocess, chosen) for one in (before, after)),
                                                 strict=True)]))  # fmt: skip


def _steps(model: Runs, images: Tensor, preprocess: Preprocess, classes: list[int]) -> list[int]:
    forward, column = _scores(model, preprocess), torch.tensor(classes)[:, None]
    if preprocess.takes_clips:
        return [trees[0].path[0] for trees in block_shapley_clips(forward, images, column, budget=40)]
    return [trees[0].path[0] for trees in block_shapley(forward, images, column, depth=1)]


def _scores(model: Runs, preprocess: Preprocess) -> Callable[[Tensor], Tensor]:
    """What takes normalised images to logits, or to logarithms of probabilities where these are what a model gives."""

    def forward(images: Tensor) -> Tensor:
        if not model.about.inside:
            return torch.from_numpy(model.run(images.numpy())["logits"])
        outputs = model.run(as_bytes(images, preprocess))
        if "values" in outputs:
            return torch.from_numpy(outputs["values"])
        return torch.from_numpy(np.log(np.maximum(outputs["probabilities"], 1e-12)))

    return forward


def as_bytes(images: Tensor, preprocess: Preprocess) -> np.ndarray:
    """Normalised images (batch, channels, *size) as a file with preprocessing inside takes them."""
    shape = (-1, *[1] * (images.ndim - 2))
    mean, std = (torch.tensor(values).view(shape) for values in (preprocess.mean, preprocess.std))
    levels = ((images * std + mean) * 255).round().clamp(0, 255)
    return levels.to(torch.uint8).movedim(1, -1).contiguous().numpy()


def cam_correlation(model: Encoder, before: Outputs, after: Outputs) -> float | None:
    """The mean correlation of class activation maps, computed from the last feature maps and the model's head.

    None where the outputs have no feature maps or no answers, and for a model that has no such maps.
    """
    last = f"level_{len(model.level_dims) - 1}"
    head, classes = getattr(model, "head", None), before.answers
    if last not in before.values or classes is None or not isinstance(head, nn.Linear) or classifies_a_token(model):
        return None
    maps = []
    with torch.no_grad():
        for one in (before, after):
            normed = normalised_map(model, torch.from_numpy(one.values[last]).float())
            found = torch.einsum("b...c,bc->b...", normed, head.weight[torch.from_numpy(classes)].float())
            maps.append(found.flatten(1).numpy())
    return float(np.mean([np.corrcoef(mine, theirs)[0, 1] for mine, theirs in zip(*maps, strict=True)]))


def rates(models: Sequence[Runs], inputs: tuple[np.ndarray, ...]) -> list[float]:
    """Inputs a second of several models at one batch: medians of rounds in which each has its turn."""
    times: list[list[float]] = [[] for _ in models]
    for model in models:
        model.run(*inputs)
    for _ in range(_ROUNDS):
        for model, own in zip(models, times, strict=True):
            start = time.perf_counter()
            model.run(*inputs)
            own.append(time.perf_counter() - start)
    return [len(inputs[0]) / median(own) for own in times]
