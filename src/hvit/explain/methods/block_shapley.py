"""Block Shapley: what every block of an image adds to a class's logit, found by removing blocks.

The image is divided into quadrants, these into theirs, and so on. A block is removed by putting a baseline in its place
(`baseline_images`); the logits with every union of blocks give the Shapley values of the quadrants and the Owen values
of the smaller blocks (`coalitions`). Every coalition's logits serve all classes. So, for every model:

- the values of four siblings add up to their parent's, and the quadrants to logit(image) - logit(baseline);
- a block that changes nothing gets 0, and blocks that always change the same get the same.

Where blocks are exchanged: in a NesT the features of the level on which the smallest blocks of the tree are whole;
elsewhere the pixels (`exchange`).

How much is computed follows a budget of forward passes, depth by depth: all blocks exactly; else all blocks with either
nothing or everything else present; else that along the paths only; else the tree ends there. What the estimate from two
contexts misses of the parent's value is shared equally by four siblings (`Removal.shift`): they keep their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods.baseline_images import Baseline, baseline_images, name_of
from hvit.explain.methods.coalitions import Path, everything, leaves_of
from hvit.explain.methods.exchange import (
    Exchange,
    ExchangedFeatures,
    ExchangedPixels,
    Worths,
    image_leaves,
    line_parts,
    local_level,
    share_above,
    together,
)
from hvit.explain.methods.request import (
    Classes,
    as_batch,
    as_number,
    choose_classes,
    classifier_of,
    evaluating,
    refusing,
)
from hvit.explain.methods.solution import Mode, Solution, count_coalitions, plan, solve
from hvit.explain.tree import ClipTree, Prediction, Removal, Tree, greedy_path, place_of
from hvit.models.build import count_multiply_adds, multiply_adds
from hvit.models.inference.prepare import PreparedModel
from hvit.models.layers.encoder import Encoder

Progress = Callable[[int], None]

DEPTH = 2  # sixteenths
PASSES, SMALL_WORK = 45.0, 20e9  # the default budget: passes, or as many as cost that many multiply-adds
_TOGETHER = 8192  # coalitions of several images that are asked for in one go


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
    progress: Progress | None = None,
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
        progress: Called with the number of coalitions that were computed since the last call.

    Returns:
        For each image, its k trees in the order of the classes. `Tree.removal` says what is exact, what the baseline
        is, and what the model predicts for the baseline.

    Raises:
        UserError: For a class that the model does not have, for blocks smaller than a pixel, and for a budget that does
            not reach the quadrants.
    """
    with _asked(model, images, 2, classes, top_k, baseline, budget) as asked:
        size = asked.images.shape[-2], asked.images.shape[-1]
        depth = DEPTH if depth is None else as_number(depth, "depth")
        if depth < 1 or 2**depth > min(size):
            sides = " x ".join(map(str, size))
            raise UserError(f"depth must be 1 or more, with blocks of a pixel or more; got {depth}, images of {sides}")
        while True:
            level = local_level(asked.network, depth)
            cost = 1.0 if level is None else share_above(cast(Encoder, asked.network), level)
            modes = plan((4,) * depth, cost, asked.limit, exact)
            if len(modes) == depth:
                break
            depth = len(modes)  # a shallower tree is exchanged on a coarser, cheaper level

        def exchange(part: slice) -> Exchange:
            return _exchange(asked, part, depth, level)

        solutions = _solutions(asked, (4,) * depth, modes, cost, exchange, progress)
    return [trees_of(one, size, name_of(baseline)) for one in solutions]


def block_shapley_clips(
    model: nn.Module | Callable[[Tensor], Tensor],
    clips: Tensor,
    classes: Classes | None = None,
    *,
    top_k: int = 1,
    segments: int | None = None,
    baseline: Baseline = "mean",
    budget: float | None = None,
    progress: Progress | None = None,
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
        progress: As in `block_shapley`.

    Returns:
        For each clip, its k trees in the order of the classes.

    Raises:
        UserError: As `block_shapley`, and for an impossible number of segments.
    """
    with _asked(model, clips, 3, classes, top_k, baseline, budget) as asked:
        frames = asked.images.shape[2]
        segments = min(4, frames) if segments is None else as_number(segments, "segments")
        if not 1 <= segments <= min(8, frames):
            raise UserError(f"segments must be from 1 to {min(8, frames)} for clips of {frames} frames, got {segments}")
        arities = (segments, 4)
        modes = plan(arities, 1.0, asked.limit)
        quadrants = image_leaves(asked.images.shape[-2:], 1)
        leaves = (4 * line_parts(frames, segments)[:, None, None] + quadrants).to(asked.images.device)

        def exchange(part: slice) -> Exchange:
            return ExchangedPixels(asked.forward, asked.images[part], asked.blanks[part], leaves)

        solutions = _solutions(asked, arities, modes, 1.0, exchange, progress)
    return [clip_trees_of(one, name_of(baseline)) for one in solutions]


@dataclass(frozen=True)
class _Asked:
    """What is to be explained, with the logits of the images and of their baselines."""

    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    images: Tensor
    blanks: Tensor
    full: Tensor
    empty: Tensor
    classes: list[list[int]]
    limit: float
    """Forward passes for one image."""


@contextmanager
def _asked(
    model: nn.Module | Callable[[Tensor], Tensor],
    images: Tensor,
    axes: int,
    classes: Classes | None,
    top_k: int,
    baseline: Baseline,
    budget: float | None,
) -> Iterator[_Asked]:
    """What is to be explained, while the model is in evaluation mode and nothing is recorded for gradients."""
    network, forward = callable_model(model)
    images = as_batch(network, images, axes)
    with evaluating(network), torch.inference_mode():
        blanks = baseline_images(images, baseline)
        few = together(images)
        full, empty = (torch.cat([forward(one).float() for one in part.split(few)]) for part in (images, blanks))
        chosen = choose_classes(full, classes, top_k).tolist()
        if not torch.isfinite(empty).all():
            raise UserError("the model's logits of the baseline are not finite numbers: choose another baseline")
        yield _Asked(network, forward, images, blanks, full, empty, chosen, budget_of(network, images, budget))


def _solutions(
    asked: _Asked,
    arities: tuple[int, ...],
    modes: list[Mode],
    cost: float,
    exchange: Callable[[slice], Exchange],
    progress: Progress | None,
) -> list[Solution]:
    """The values of every image's blocks, some images at a time.

    cost: of a coalition, in forward passes. exchange: gives the logits of coalitions of a part of the images.
    """
    solutions: list[Solution] = []
    group = max(1, _TOGETHER // sum(count_coalitions(arities, step, mode) for step, mode in enumerate(modes)))
    for start in range(0, len(asked.images), group):
        part = slice(start, start + group)
        worths = Worths(exchange(part), asked.images, progress)
        worths.learn(everything(arities), asked.full[part])
        worths.learn(0, asked.empty[part])
        solutions += solve(worths, arities, modes, cost, asked.classes[part], asked.limit)
    return solutions


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
        if not budget > 0:
            raise UserError(f"a budget must be a number of forward passes above 0, got {budget}")
        return float(budget)
    if isinstance(network, Encoder):
        return max(PASSES, SMALL_WORK / multiply_adds(network.config))
    if isinstance(network, _Function) or not len(images):
        return PASSES
    return max(PASSES, SMALL_WORK / max(count_multiply_adds(lambda: network(images[:1])), 1))


def _exchange(asked: _Asked, part: slice, depth: int, level: int | None) -> Exchange:
    """What gives the logits of coalitions of the blocks of a depth: on a level, or None for pixels."""
    images, blanks = asked.images[part], asked.blanks[part]
    if level is None:
        return ExchangedPixels(asked.forward, images, blanks, image_leaves(images.shape[2:], depth).to(images.device))
    network = cast(Encoder, asked.network)
    own, blank = network.levels(images)[level], network.levels(blanks)[level]
    return ExchangedFeatures(network, level, own, blank, image_leaves(own.shape[1:3], depth).to(images.device))


def trees_of(solution: Solution, size: tuple[int, int], baseline: str) -> list[Tree]:
    """The trees of one image's classes; size: (height, width) in pixels."""
    full, trees = solution.logits(everything(solution.arities)), []
    for rank, index in enumerate(solution.classes):
        values = tuple(
            np.full((2**step, 2**step), np.nan, dtype=np.float32) for step in range(1, len(solution.modes) + 1)
        )
        for node, division in solution.divisions.items():
            for quadrant in range(4):
                values[len(node)][place_of((*node, quadrant))] = division.values[quadrant, rank]
        path = greedy_path(values)
        removal = removal_of(solution, path, rank, baseline)
        trees.append(Tree(index, float(full[index]), path, values, size, removal=removal))
    return trees


def clip_trees_of(solution: Solution, baseline: str) -> list[ClipTree]:
    """The trees of one clip's classes."""
    full, trees = solution.logits(everything(solution.arities)), []
    segments = solution.arities[0]
    for rank, index in enumerate(solution.classes):
        times = solution.divisions[()].values[:, rank].astype(np.float32)
        blocks = np.full((segments, 2, 2), np.nan, dtype=np.float32)
        for segment in range(segments):
            if (segment,) in solution.divisions:
                blocks[segment] = solution.divisions[segment,].values[:, rank].reshape(2, 2)
        removal = removal_of(solution, solution.path(rank), rank, baseline)
        trees.append(ClipTree(index, float(full[index]), solution.path(rank), times, blocks, removal))
    return trees


def removal_of(solution: Solution, path: Path, rank: int, baseline: str) -> Removal:
    """How one class's values were computed, and what the model predicts without the blocks of its path."""
    whole, index = everything(solution.arities), solution.classes[rank]
    blocks = [leaves_of(path[:step], solution.arities) for step in range(1, len(path) + 1)]
    return Removal(
        form=solution.form,
        baseline=baseline,
        before=prediction(solution.logits(0), index),
        without=tuple(prediction(solution.logits(whole & ~block), index) for block in blocks),
        **lead_of(solution, path, rank),
        passes=solution.passes,
        shift=float(solution.shifts[rank]),
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


def prediction(logits: np.ndarray, class_index: int) -> Prediction:
    """What logits (classes,) predict."""
    shares = np.exp(logits.astype(np.float64) - logits.max())
    shares /= shares.sum()
    best = int(shares.argmax())
    return Prediction(best, float(shares[best]), float(shares[class_index]), float(logits[class_index]))
