"""Whether explanations of a model can be trusted on some images: what is measured on each, and the rules of a verdict.

The predicted class of each image is explained. No measure needs to know what the right explanation is:

- deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421): the probability of the class while pixels are replaced
  by the baseline's, or the baseline's by the image's, the highest of the map first; compared with the same map with its
  cells in random order;
- randomised weights (Adebayo et al. 2018, arXiv 1810.03292): the rank correlation with the map of the same architecture
  with random weights, which must not look alike; every image has random weights of its own;
- baselines: whether the quadrant of largest value is the same with each of them, for block Shapley;
- pointing (Zhang et al. 2016, arXiv 1608.00507), where it is known where the objects are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from hvit.explain.localization.measures import area_under, highest_points, perturbation_curves
from hvit.explain.methods.baseline_images import Baseline, BaselineName, baseline_images
from hvit.explain.methods.block_shapley import block_shapley, budget_of, callable_model, passes_planned
from hvit.explain.methods.gradcat import gradcat_batch
from hvit.explain.methods.request import evaluating
from hvit.explain.methods.table import MAP_METHODS
from hvit.explain.tree import GRADCATS, Absent, Tree
from hvit.metrics.intervals import mean_interval, share_interval
from hvit.models.build import build
from hvit.models.layers.encoder import Encoder
from hvit.randomness import derive_seed, seeded

Classifier = nn.Module | Callable[[Tensor], Tensor]

MOST_ALIKE = 0.5  # the largest rank correlation with maps of random weights
LEAST_STABLE = 0.5  # the smallest share of images whose first step is that of all baselines
_TOGETHER = 64  # images in one forward pass of the curves
_STEPS = 16  # of a curve

Progress = Callable[[float], object]


@dataclass(frozen=True)
class Examined:
    """What is measured on images: arrays (images,)."""

    deletion: np.ndarray
    """Area under the deletion curve of the predicted class's probability."""
    deletion_random: np.ndarray
    """That of the map with its cells in random order."""
    insertion: np.ndarray
    insertion_random: np.ndarray
    before: np.ndarray
    """The probability of the predicted class for the baseline alone."""
    alike: np.ndarray
    """Rank correlation with the map of the model with random weights."""
    stable: np.ndarray | None
    """Whether the first step is the same with all baselines; None for methods without baselines."""
    pointing: np.ndarray
    """Whether the highest place is on the object; only of images with a known place, which may be fewer."""
    chance: np.ndarray
    """The share of those images that their objects cover."""


def examine(
    model: Classifier,
    images: Tensor,
    method: str,
    masks: Sequence[np.ndarray | None],
    baseline: Baseline = "mean",
    budget: float | None = None,
    first: int = 0,
    renewed: Callable[[int], Classifier] | None = None,
    absent: Absent = "exchanged",
    progress: Progress | None = None,
    answers: Callable[[Tensor], Tensor] | None = None,
) -> Examined:
    """Measures a method on images (batch, channels, height, width), normalised, on the model's device.

    model: an encoder, or one prepared for inference. method: "block_shapley", a key of `GRADCATS` or of `MAP_METHODS`.
    masks: of each image, where its object is: bool (height, width), or None where it is not known. baseline: what
    replaces pixels in the curves, and blocks in block Shapley. budget, absent: of block Shapley. first: the number of
    the first image among all, which random numbers follow from. renewed: gives the model with random weights for the
    number of an image; default: a new one of the encoder's configuration. progress: called with the forward passes that
    were spent on all the images since the last call (see `passes_to_examine`). answers: logits (images, classes) as
    probabilities; default: by softmax.
    """
    spend: Progress = progress or (lambda passes: None)
    shares_of = answers or partial(torch.softmax, dim=1)
    network, forward = callable_model(model)
    size = (images.shape[-2], images.shape[-1])
    renew = renewed or partial(_renewed, network)
    if method == "block_shapley":
        budget = budget_of(network, images, budget)  # counted once, not for every new model

    def probabilities(batch: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(batch).to(images.device).split(_TOGETHER)
        shares = torch.cat([shares_of(forward(part).float()) for part in parts])
        spend(len(batch))
        return shares.gather(1, classes)[:, 0].cpu().numpy()

    with evaluating(network), torch.inference_mode():
        classes = forward(images).argmax(1, keepdim=True)
        blanks = baseline_images(images, baseline).cpu().numpy()
    spend(len(images))
    maps = evidence_maps(model, images, classes, method, baseline, budget, absent, spend)
    shuffled = np.stack([_shuffled(one, first + number) for number, one in enumerate(maps)])
    pixels = images.cpu().numpy()
    with evaluating(network), torch.inference_mode():
        before = probabilities(blanks)
        areas = {
            name: area_under(perturbation_curves(pixels, order, probabilities, kind, blanks, _STEPS))
            for kind in ("deletion", "insertion")
            for name, order in ((kind, maps), (f"{kind}_random", shuffled))
        }
    alike = [
        rank_correlation(
            one,
            evidence_maps(renew(first + number), image[None], own[None], method, baseline, budget, absent, spend)[0],
        )
        for number, (one, image, own) in enumerate(zip(maps, images, classes, strict=True))
    ]
    points = highest_points(maps, size).astype(int)
    known = [(mask, point) for mask, point in zip(masks, points, strict=True) if mask is not None and mask.any()]
    return Examined(
        **areas,
        before=before,
        alike=np.array(alike),
        stable=_same_first_steps(model, images, classes, budget, absent, spend) if method == "block_shapley" else None,
        pointing=np.array([mask[y, x] for mask, (x, y) in known], dtype=bool),
        chance=np.array([mask.mean() for mask, _ in known]),
    )


def passes_to_examine(
    model: Classifier, images: Tensor, method: str, budget: float | None = None, absent: Absent = "exchanged"
) -> float:
    """The forward passes that `examine` takes for one of such images, for a progress bar.

    The map of a method other than block Shapley counts as one, whatever its gradients cost.
    """
    each, first_steps = 1.0, 0.0
    if method == "block_shapley":
        each = passes_planned(model, images, budget=budget, absent=absent)
        quadrants = passes_planned(model, images, depth=1, budget=budget, absent=absent)
        first_steps = len(get_args(BaselineName)) * quadrants
    # The image and the baseline; two curves in two orders; the map, and that of random weights.
    return 2 + 4 * (_STEPS + 1) + 2 * each + first_steps


def evidence_maps(
    model: Classifier,
    images: Tensor,
    classes: Tensor,
    method: str,
    baseline: Baseline,
    budget: float | None,
    absent: Absent,
    progress: Progress | None = None,
) -> np.ndarray:
    """The map of one class of each image by any method: (images, rows, columns). classes: (images, 1)."""
    if method == "block_shapley":
        options: dict[str, Any] = {"baseline": baseline, "budget": budget, "absent": absent, "progress": progress}
        return _block_maps(block_shapley(model, images, classes, **options))
    if progress:
        progress(len(images))
    network, _ = callable_model(model)
    if method in GRADCATS:
        return _block_maps(gradcat_batch(network, images, classes, gradient=GRADCATS[method]))  # pyright: ignore[reportArgumentType]
    return MAP_METHODS[method](network, images, classes)[:, 0]


def _block_maps(explained: list[list[Tree]]) -> np.ndarray:
    return np.stack([tree.block_map for (tree,) in explained])


def _same_first_steps(
    model: Classifier, images: Tensor, classes: Tensor, budget: float | None, absent: Absent, progress: Progress
) -> np.ndarray:
    options: dict[str, Any] = {"depth": 1, "budget": budget, "absent": absent, "progress": progress}
    explained = [
        block_shapley(model, images, classes, baseline=name, **options)
        for name in cast("tuple[BaselineName, ...]", get_args(BaselineName))
    ]
    steps = np.array([[tree.path[0] for (tree,) in of_baseline] for of_baseline in explained])
    return (steps == steps[0]).all(0)


def _shuffled(one: np.ndarray, number: int) -> np.ndarray:
    """A map with its cells in random order."""
    return np.random.default_rng(derive_seed(0, "random order", number)).permutation(one.ravel()).reshape(one.shape)


def _renewed(network: nn.Module, number: int) -> Encoder:
    """A model of the same configuration with random weights."""
    with seeded(0, "randomised weights", number):
        return build(cast(Encoder, network).config).eval().to(next(network.parameters()).device)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two maps of equal size; 0 where one of them is constant."""
    from scipy.stats import rankdata  # comes with scikit-learn

    ranks = [rankdata(values) for values in (one.ravel(), other.ravel())]
    if min(np.ptp(values) for values in ranks) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


@dataclass(frozen=True)
class Finding:
    """One measure over all images, and whether it passes its rule."""

    name: str
    value: float
    interval: tuple[float, float]
    """95 % of it."""
    compared_with: float
    """What the rule compares the interval with."""
    passes: bool
    rule: str
    """In words."""
    fails: str
    """What it means if it does not pass, in words."""
    images: int


def findings_of(examined: Sequence[Examined]) -> list[Finding]:
    """The measures over all images, the same for the same images. Those that do not apply are missing."""
    found = []
    for kind, sign in (("deletion", 1), ("insertion", -1)):
        values, random = (np.concatenate([getattr(one, name) for one in examined]) for name in (kind, f"{kind}_random"))
        low, high = mean_interval(sign * (random - values))
        mean, level = float(values.mean()), float(random.mean())
        ends = (level - high, level - low) if sign > 0 else (level + low, level + high)
        side = "below" if sign > 0 else "above"
        rule = f"the 95 % interval of the difference to random order lies {side} it"
        fails = f"{kind} in the order of the map is no better than in random order"
        found.append(Finding(kind, mean, ends, level, low > 0, rule, fails, len(values)))
    alike = np.concatenate([one.alike for one in examined])
    low, high = mean_interval(alike)
    rule = f"the mean rank correlation with the maps of random weights is surely below {MOST_ALIKE}"
    fails = "the maps of the same model with random weights look alike"
    found.append(
        Finding(
            "random weights", float(alike.mean()), (low, high), MOST_ALIKE, high < MOST_ALIKE, rule, fails, len(alike)
        )
    )
    stable = [one.stable for one in examined if one.stable is not None]
    if stable:
        same = np.concatenate(stable)
        low, high = share_interval(same)
        rule = f"the first step is the same with all baselines for surely more than {LEAST_STABLE:.0%} of the images"
        fails = "the first step depends on the baseline"
        found.append(
            Finding(
                "baselines", float(same.mean()), (low, high), LEAST_STABLE, low > LEAST_STABLE, rule, fails, len(same)
            )
        )
    hits = np.concatenate([one.pointing for one in examined])
    if len(hits):
        (low, high), level = share_interval(hits), float(np.concatenate([one.chance for one in examined]).mean())
        rule = "the highest place is on the object surely more often than a random place is"
        fails = "the highest place is on the object no more often than a random place"
        found.append(Finding("pointing", float(hits.mean()), (low, high), level, low > level, rule, fails, len(hits)))
    return found


def verdict(method: str, findings: Sequence[Finding]) -> str:
    """Whether a method can be trusted on these images, in one sentence: if it passes every rule."""
    count = max(one.images for one in findings)
    failed = [one.fails for one in findings if not one.passes]
    if not failed:
        return f"{method} can be trusted on these {count} images: it passes all {len(findings)} checks"
    return f"{method} cannot be trusted on these {count} images: {'; '.join(failed)}"
