"""Every method with one call: ours, those of captum and torchcam, controls, and random maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from rival_explanations import RIVALS, rivals_of
from torch import Tensor

from hvit.explain import MAP_METHODS, block_shapley, gradcat_batch, methods_for, upsample
from hvit.explain.localization.measures import region_centres
from hvit.explain.methods.baseline_images import BaselineName
from hvit.explain.tree import Tree
from hvit.models.layers.encoder import Encoder

SHAPLEY, FINER, CHANCE = "block shapley", "block shapley, 64 blocks", "chance"
_DEPTH = {SHAPLEY: 2, FINER: 3}
_GRADCAT: dict[str, dict[str, Any]] = {
    "gradcat": {},
    "gradcat down": {"level": -2},
    "gradcat -1": {"sign": -1},
    "gradcat libra": {"gradient": "libra"},
    "gradcat libra top": {"gradient": "libra", "level": -1},
}


class Explained(NamedTuple):
    """What a method says about questions, of which each is a class of an image."""

    maps: np.ndarray
    """(questions, rows, columns)"""
    quadrants: np.ndarray
    """What each quadrant is worth: (questions, 4)."""
    sixteenths: np.ndarray
    """(questions, 16), in reading order of the image."""
    paths: np.ndarray | None
    """Of trees: (questions, steps)."""
    points: np.ndarray | None
    """Of GradCAT: the middles of the last blocks of the paths, (questions, 2)."""


def methods_of(network: Encoder, rivals: bool) -> list[str]:
    """The methods that a model allows and that are installed. rivals: with those of captum and torchcam."""
    trees = list(_GRADCAT) if "gradcat" in methods_for(network) else []
    maps = [name for name in methods_for(network) if name in MAP_METHODS]
    return [*_DEPTH, *trees, *maps, *(rivals_of(network) if rivals else []), CHANCE]


def explain(
    network: Encoder,
    images: Tensor,
    classes: np.ndarray,
    method: str,
    baseline: BaselineName = "mean",
    batch: int = 50,
    budget: float | None = None,
) -> Explained:
    """Explains classes (batch, asked) of images (batch, channels, height, width), normalised.

    method: one of `methods_of`. baseline: of block Shapley, occlusion and integrated gradients. batch: images at once.
    budget: of block Shapley.
    """
    parts = [slice(start, start + batch) for start in range(0, len(images), batch)]
    if method == CHANCE:
        maps = np.random.default_rng(0).random((classes.size, 4, 4), dtype=np.float32)
    elif method in _DEPTH:
        found = block_shapley(network, images, classes, depth=_DEPTH[method], baseline=baseline, budget=budget)
        trees = [tree for of_image in found for tree in of_image]
        return _of_trees(trees, np.stack([tree.block_map for tree in trees]), None)
    elif method in _GRADCAT:
        found = [gradcat_batch(network, images[part], classes[part], **_GRADCAT[method]) for part in parts]
        trees = [tree for of_part in found for of_image in of_part for tree in of_image]
        maps = np.stack([tree.values[min(1, tree.depth - 1)] for tree in trees])
        return _of_trees(trees, maps, region_centres([tree.regions[-1] for tree in trees]))
    elif method in RIVALS:
        maps = RIVALS[method](network, images, classes, baseline)
    else:
        maps = np.concatenate([MAP_METHODS[method](network, images[part], classes[part]) for part in parts])
    maps = maps.reshape(-1, *maps.shape[-2:])
    size = images.shape[-2], images.shape[-1]
    return Explained(maps, squares(maps, 2, size), squares(maps, 4, size), None, None)


def _of_trees(trees: list[Tree], maps: np.ndarray, points: np.ndarray | None) -> Explained:
    size = trees[0].image_size
    quadrants = np.stack([tree.values[0].reshape(4) for tree in trees])
    return Explained(maps, quadrants, squares(maps, 4, size), np.array([tree.path for tree in trees]), points)


def squares(maps: np.ndarray, parts: int, size: tuple[int, int]) -> np.ndarray:
    """The sums of maps (samples, rows, columns) over parts x parts squares: (samples, squares), in reading order.

    A map whose sides cannot be divided is enlarged to the image's size first.
    """
    fine = maps if not any(side % parts for side in maps.shape[1:]) else upsample(maps, size)
    rows, columns = (side // parts for side in fine.shape[1:])
    return fine.reshape(len(maps), parts, rows, parts, columns).sum((2, 4)).reshape(len(maps), -1)


@torch.inference_mode()
def costliest_squares(network: Encoder, images: Tensor, classes: np.ndarray, parts: int, black: Tensor) -> np.ndarray:
    """Which of parts x parts squares of an image costs each logit most when it is blackened: (questions,).

    black: a black pixel as the model takes it, (channels, 1, 1).
    """
    side, asked, left = images.shape[-1] // parts, torch.from_numpy(classes), []
    for row, column in np.ndindex(parts, parts):
        erased = images.clone()
        erased[..., side * row : side * (row + 1), side * column : side * (column + 1)] = black
        logits = torch.cat([network(part) for part in erased.split(100)])
        left.append(logits.gather(1, asked).flatten().numpy())
    return np.stack(left, 1).argmin(1)
