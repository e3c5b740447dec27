"""Block Shapley: what every block of an image adds to a class's logit, found by removing blocks.

The image is divided into quadrants, these into theirs, and so on. A block is removed by putting a baseline in its place
(`baseline_images`); the logits with every union of blocks give the Shapley values of the quadrants and the Owen values
of the smaller blocks (`coalitions`). Every coalition's logits serve all classes. So, for every model:

- the values of four siblings add up to their parent's, and the quadrants to logit(image) - logit(baseline);
- a block that changes nothing gets 0, and blocks that always change the same get the same.

Where blocks are exchanged: in a NesT the features of the level on which the smallest blocks of the tree are whole
(`exchanged_features`); elsewhere the pixels (`exchange`). From a Hiera blocks can also be removed (`removed_units`).

How much is computed follows a budget of forward passes, depth by depth: all blocks exactly; else all blocks with either
nothing or everything else present; else that along the paths only; else the tree ends there. What the estimate from two
contexts misses of the parent's value is shared equally by four siblings (`Removal.shift`): they keep their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods import exchanged_features, removed_units
from hvit.explain.methods.baseline_images import Baseline, baseline_images, name_of
from hvit.explain.methods.coalitions import Path, everything, leaves_of
from hvit.explain.methods.exchange import Cost, ExchangedPixels, Make, Worths, image_leaves, line_parts
from hvit.explain.methods.exchanged_features import ExchangedFeatures, local_level
from hvit.explain.methods.removed_units import RemovedUnits, removes_units
from hvit.explain.methods.request import (
    Classes,
    as_batch,
    as_number,
    check_logits,
    choose_classes,
    classifier_of,
    evaluating,
    refusing,
)
from hvit.explain.methods.solution import Mode, Solution, count_coalitions, passes, plan, solve
from hvit.explain.tree import Absent, ClipTree, Prediction, Removal, Tree, greedy_path, place_of
from hvit.models.build import count_multiply_adds, multiply_adds
from hvit.models.inference.prepare import PreparedModel
from hvit.models.layers.encoder import Encoder
from hvit.models.nest.model import Nest

Progress = Callable[[float], object]

DEPTH = 2  # sixteenths
PASSES, SMALL_WORK = 45.0, 20e9  # the default budget: passes, or as many as cost that many multiply-adds
_TOGETHER = 4096  # coalitions of several images that are asked for in one go


def block_shapley(
    model: nn.Module | Callable[[Tensor], Tensor],
    images: Tensor,
    classes: Classes | None = None,
    *,
    top_k: int = 1,
    depth: int | None = None,
    baseline: Baseline = "mean",
    budget: float | None = None,
    exact: bool = True,
    absent: Absent = "exchanged",
    progress: Progress | None = None,
    temperature: float = 1.0,
) -> list[list[Tree]]:
    """Explains one or more classes for each of many images by removing blocks: Shapley and Owen values.

    The model may be in training mode: it is explained in evaluation mode and left unchanged.

    Args:
        model: Any classifier of images: an encoder, a model of timm, or a callable that returns logits
            (batch, classes). A NesT exchanges feature maps, others pixels.
        images: (batch, channels, height, width), normalised as the model expects; a single image without a batch axis
            is a batch of one.
        classes: As in `gradcat_batch`.
        top_k: As in `gradcat_batch`.
        depth: How often the image is divided: 1 for quadrants, 2 for sixteenths, ...; default: 2.
        baseline: What stands in the place of removed blocks: "blur", "mean", "zeros", or a tensor such as the mean
            image of a data set (see `baseline_images`).
        budget: Forward passes for one image, at most; default: 45, more for a small model. Coalitions that run a part
            of the model cost that part.
        exact: False estimates the blocks below the quadrants even where the budget would allow exact values.
        absent: "exchanged": the baseline stands in the place of removed blocks; "removed": the model does not compute
            them at all, as in masked pretraining, which a Hiera can do, and an MViT with mask units.
        progress: Called with the forward passes that were spent since the last call.
        temperature: By which logits are divided before the probabilities in `Tree.removal` are computed from them.

    Returns:
        For each image, its k trees in the order of the classes. `Tree.removal` says what is exact, what the baseline
        is, and what the model predicts for the baseline.

    Raises:
        UserError: For a class that the model does not have, for blocks smaller than a pixel, for a budget that does not
            reach the quadrants, and for a model that cannot remove blocks.
    """
    with asking(model, images, 2, classes, top_k, baseline, budget, absent) as asked:
        size = asked.images.shape[-2], asked.images.shape[-1]
        arities, modes, way = planned(asked, depth, exact)
        solutions = _solutions(asked, arities, modes, way, progress)
    return [trees_of(one, size, name_of(baseline), absent, temperature) for one in solutions]


def passes_planned(
    model: nn.Module | Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    depth: int | None = None,
    budget: float | None = None,
    exact: bool = True,
    absent: Absent = "exchanged",
) -> float:
    """The forward passes that `block_shapley` will take for one of such images, for a progress bar.

    Where values are computed along the paths only, it is that of one path: more classes take more, within the budget.
    """
    with asking(model, images, 2, None, 1, "mean", budget, absent) as asked:
        arities, modes, way = planned(asked, depth, exact)
    return passes(arities, modes, way.cost)


def block_shapley_clips(
    model: nn.Module | Callable[[Tensor], Tensor],
    clips: Tensor,
    classes: Classes | None = None,
    *,
    top_k: int = 1,
    segments: int | None = None,
    baseline: Baseline = "mean",
    budget: float | None = None,
    absent: Absent = "exchanged",
    progress: Progress | None = None,
    temperature: float = 1.0,
) -> list[list[ClipTree]]:
    """Explains classes of clips: what each segment of time adds to the logit, and each quadrant of the segments.

    The tree divides a clip in time first. Pixels are exchanged for the baseline's.

    Args:
        model: Any classifier of clips, as for `block_shapley`.
        clips: (batch, channels, time, height, width), normalised as the model expects; one clip without a batch axis is
            a batch of one.
        classes: As in `gradcat_batch`.
        top_k: As in `gradcat_batch`.
        segments: How many segments of equal time: 1 to 8, no more than frames; default: four, or as many as frames.
        baseline: As in `block_shapley`; "blur" blurs every frame, "mean" is the mean colour of the clip.
        budget: As in `block_shapley`.
        absent: As in `block_shapley`.
        progress: As in `block_shapley`.
        temperature: As in `block_shapley`.

    Returns:
        For each clip, its k trees in the order of the classes.

    Raises:
        UserError: As `block_shapley`, and for an impossible number of segments.
    """
    with asking(model, clips, 3, classes, top_k, baseline, budget, absent) as asked:
        frames = asked.images.shape[2]
        segments = min(4, frames) if segments is None else as_number(segments, "segments")
        if not 1 <= segments <= min(8, frames):
            raise UserError(f"segments must be from 1 to {min(8, frames)} for clips of {frames} frames, got {segments}")
        arities = (segments, 4)
        quadrants = image_leaves(asked.images.shape[-2:], 1)
        way = _on_pixels(asked, 4 * line_parts(frames, segments)[:, None, None] + quadrants)
        modes = plan(arities, way.cost, asked.limit)
        solutions = _solutions(asked, arities, modes, way, progress)
    return [clip_trees_of(one, name_of(baseline), absent, temperature) for one in solutions]


@dataclass(frozen=True)
class Asked:
    """What is to be explained."""

    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    images: Tensor
    blanks: Tensor
    absent: Absent
    classes: Classes | None
    top_k: int
    limit: float
    """Forward passes for one image."""


class Way(NamedTuple):
    """How blocks are made absent, and what that costs."""

    cost: Cost
    make: Make


@contextmanager
def asking(
    model: nn.Module | Callable[[Tensor], Tensor],
    images: Tensor,
    axes: int,
    classes: Classes | None,
    top_k: int,
    baseline: Baseline,
    budget: float | None,
    absent: Absent,
) -> Iterator[Asked]:
    """What is to be explained, while the model is in evaluation mode and nothing is recorded for gradients."""
    if absent not in get_args(Absent):
        raise UserError(f"absent must be one of {', '.join(get_args(Absent))}; got {absent!r:.80}")
    network, forward = callable_model(model)
    images = as_batch(network, images, axes)
    with evaluating(network), torch.inference_mode():
        blanks = baseline_images(images, baseline)
        yield Asked(network, forward, images, blanks, absent, classes, top_k, budget_of(network, images, budget))


def planned(asked: Asked, depth: int | None, exact: bool) -> tuple[tuple[int, ...], list[Mode], Way]:
    """The tree of an image, how each depth of it is divided, and how blocks are made absent."""
    size = asked.images.shape[-2:]
    depth = DEPTH if depth is None else as_number(depth, "depth")
    if depth < 1 or 2**depth > min(size):
        sides = " x ".join(map(str, size))
        raise UserError(f"depth must be 1 or more, with blocks of a pixel or more; got {depth}, images of {sides}")
    while True:
        arities, level = (4,) * depth, local_level(asked.network, depth)
        if level is None or asked.absent == "removed":
            way = _on_pixels(asked, image_leaves(size, depth))
        else:
            nest = cast(Nest, asked.network)
            way = Way(exchanged_features.cost_of(nest, level), partial(ExchangedFeatures, nest, level))
        modes = plan(arities, way.cost, asked.limit, exact)
        if len(modes) == depth:
            return arities, modes, way
        depth = len(modes)  # a shallower tree is exchanged on a coarser, cheaper level


def _on_pixels(asked: Asked, leaf_map: Tensor) -> Way:
    """Blocks of pixels exchanged or removed; leaf_map: the leaf of every pixel."""
    network = asked.network
    if asked.absent == "exchanged":
        return Way(Cost(), partial(ExchangedPixels, asked.forward, leaf_map))
    if not removes_units(network):
        raise UserError(
            f"blocks can be removed from a Hiera, and from an MViT with mask units; this "
            f"{type(network).__name__} computes all of an image, so that blocks are exchanged: absent='exchanged'"
        )
    remover = cast(removed_units.Remover, network)
    return Way(removed_units.cost_of(remover, leaf_map), partial(RemovedUnits, remover, asked.forward, leaf_map))


def _solutions(
    asked: Asked, arities: tuple[int, ...], modes: list[Mode], way: Way, progress: Progress | None
) -> list[Solution]:
    """The values of every image's blocks, some images at a time."""
    solutions: list[Solution] = []
    group = max(1, _TOGETHER // sum(count_coalitions(arities, step, mode) for step, mode in enumerate(modes)))
    for start in range(0, len(asked.images), group):
        part = slice(start, start + group)
        images = asked.images[part]
        exchange = way.make(images, asked.blanks[part])
        classes = _classes(asked, exchange.full.float(), part)
        if not torch.isfinite(exchange.empty).all():
            raise UserError("the model's logits of the baseline are not finite numbers: choose another baseline")
        worths = Worths(exchange, arities, images, way.cost, progress)
        solutions += solve(worths, arities, modes, classes, asked.limit)
    return solutions


def _classes(asked: Asked, logits: Tensor, part: slice) -> list[list[int]]:
    """The classes to explain of a part of the images, whose logits are known."""
    check_logits(logits)
    if asked.classes is None:
        return choose_classes(logits, None, asked.top_k).tolist()
    unknown = logits.new_zeros(len(asked.images), logits.shape[1])
    return choose_classes(unknown, asked.classes, asked.top_k)[part].tolist()


def callable_model(model: nn.Module | Callable[[Tensor], Tensor]) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The classifier inside of what a user gives, and what gives its logits soonest."""
    if isinstance(model, nn.Module):
        network = classifier_of(model)
        given = model if isinstance(model, PreparedModel) else network
    elif callable(model):
        network = given = _Function(model)
    else:
        kind = type(model).__name__
        raise UserError(f"a model must be a torch.nn.Module or a function that returns logits; got {kind}")

    def forward(images: Tensor) -> Tensor:
        with refusing(network, images):
            logits = given(images)
        if not isinstance(logits, Tensor):
            raise UserError(f"{type(network).__name__} gives {type(logits).__name__}, not a tensor of logits")
        return logits

    return network, forward


class _Function(nn.Module):
    """A function as a model without weights."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def budget_of(network: nn.Module, images: Tensor, budget: float | None) -> float:
    """The budget of forward passes that holds: the given one, or the default for the size of the model."""
    if budget is not None:
        if isinstance(budget, bool) or not isinstance(budget, Real) or not budget > 0:
            raise UserError(f"a budget must be a number of forward passes above 0, got {budget!r:.100}")
        return float(budget)
    if isinstance(network, Encoder):
        return max(PASSES, SMALL_WORK / multiply_adds(network.config))
    if isinstance(network, _Function) or not len(images):
        return PASSES
    with refusing(network, images):
        work = count_multiply_adds(lambda: network(images[:1]))
    return max(PASSES, SMALL_WORK / max(work, 1))


def trees_of(
    solution: Solution, size: tuple[int, int], baseline: str, absent: Absent, temperature: float = 1.0
) -> list[Tree]:
    """The trees of one image's classes; size: (height, width) in pixels. temperature: as in `block_shapley`."""
    full, trees = solution.logits(everything(solution.arities)), []
    for rank, index in enumerate(solution.classes):
        values = tuple(
            np.full((2**step, 2**step), np.nan, dtype=np.float32) for step in range(1, len(solution.modes) + 1)
        )
        for node, division in solution.divisions.items():
            for quadrant in range(4):
                values[len(node)][place_of((*node, quadrant))] = division.values[quadrant, rank]
        path = greedy_path(values)
        removal = removal_of(solution, path, rank, baseline, absent, temperature)
        trees.append(Tree(index, float(full[index]), path, values, size, removal=removal))
    return trees


def clip_trees_of(solution: Solution, baseline: str, absent: Absent, temperature: float = 1.0) -> list[ClipTree]:
    """The trees of one clip's classes."""
    full, trees = solution.logits(everything(solution.arities)), []
    segments = solution.arities[0]
    for rank, index in enumerate(solution.classes):
        times = solution.divisions[()].values[:, rank].astype(np.float32)
        blocks = np.full((segments, 2, 2), np.nan, dtype=np.float32)
        for segment in range(segments):
            if (segment,) in solution.divisions:
                blocks[segment] = solution.divisions[segment,].values[:, rank].reshape(2, 2)
        removal = removal_of(solution, solution.path(rank), rank, baseline, absent, temperature)
        trees.append(ClipTree(index, float(full[index]), solution.path(rank), times, blocks, removal))
    return trees


def removal_of(
    solution: Solution, path: Path, rank: int, baseline: str, absent: Absent, temperature: float = 1.0
) -> Removal:
    """How one class's values were computed, and what the model predicts without the blocks of its path."""
    whole, index = everything(solution.arities), solution.classes[rank]
    blocks = [leaves_of(path[:step], solution.arities) for step in range(1, len(path) + 1)]
    return Removal(
        form=solution.form,
        baseline=baseline,
        before=prediction(solution.logits(0), index, temperature),
        without=tuple(prediction(solution.logits(whole & ~block), index, temperature) for block in blocks),
        **lead_of(solution, path, rank),
        passes=solution.passes,
        shift=float(solution.shifts[rank]),
        absent=absent,
    )


def lead_of(solution: Solution, path: Path, rank: int) -> dict[str, tuple[float, ...]]:
    """The lead of every step of a path over the second best child, and its spread."""
    leads, spreads = [], []
    for step, quadrant in enumerate(path):
        division = solution.divisions[path[:step]]
        others = [one for one in range(len(division.values)) if one != quadrant]
        if not others:
            leads.append(float(division.values[quadrant, rank]))
            spreads.append(0.0)
            continue
        second = max(others, key=lambda one: division.values[one, rank])
        leads.append(float(division.leads[quadrant, second, rank]))
        spreads.append(float(division.spreads[quadrant, second, rank]))
    return {"leads": tuple(leads), "spreads": tuple(spreads)}


def prediction(logits: np.ndarray, class_index: int, temperature: float = 1.0) -> Prediction:
    """What logits (classes,) predict, at a temperature of the probabilities."""
    shares = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    shares /= shares.sum()
    best = int(shares.argmax())
    return Prediction(best, float(shares[best]), float(shares[class_index]), float(logits[class_index]))
