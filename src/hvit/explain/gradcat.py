"""GradCAT: walks the tree of image blocks from the whole image to the small block that decided for a class.

Source: Zhang et al., "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding", AAAI 2022 (arXiv 2105.12723), Algorithm 1. With L levels numbered 1 (finest) to L (the top), A_l the
feature plane of level l and Y the logit of a class, the evidence at a position of level l is

    h_l = sum over channels of A_l * sign * dY/dA_l.

A node at depth k (k = 1 .. L - 1) is one of 2^k x 2^k squares of the image. Its value is the sum of h over that square
of the plane of level L - k + 1, so that depth 1 reads the top plane and depth L - 1 the plane of level 2. The path
starts at the whole image and goes to the child of largest value, again and again.

Where this differs from the printed algorithm, and why:

- Sign. The algorithm prints -dY/dA. For a linear head on the mean of the top plane the values of depth 1 add up to
  Y - bias with a plus sign, so a minus sign would follow the blocks that speak most against the class. sign=-1 is
  kept as a control.
- Top plane. It is taken after the final normalisation (the last of `Encoder.levels`). Before it, feature times gradient
  sums to zero at every position, because a normalised vector does not change when its input is scaled.
- Sum instead of average over a square. They differ by one positive factor per depth, which changes no path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np
import torch
from einops import reduce
from torch import Tensor, nn

from hvit.errors import UserError

if TYPE_CHECKING:
    from hvit.models.layers import Encoder

Classes = SupportsIndex | Sequence[SupportsIndex] | np.ndarray | Tensor
Region = tuple[int, int, int, int]


class Node(NamedTuple):
    """One square of the image in the tree of blocks, with the evidence found in it.

    depth: 1 for the quadrants of the image, 2 for their quadrants, ... row, column: its place among the
    2^depth x 2^depth squares of its depth. path: quadrants from the whole image to it (0 top-left, 1 top-right,
    2 bottom-left, 3 bottom-right). region: (left, top, right, bottom) in pixels of the model's input.
    """

    depth: int
    row: int
    column: int
    path: tuple[int, ...]
    value: float
    region: Region


@dataclass(frozen=True, eq=False)
class Tree:
    """Why a model gave one class its logit: the value of every node of the tree of blocks, and the decisive path."""

    class_index: int
    """The explained class."""
    logit: float
    """The model's logit of that class, before any softmax."""
    path: tuple[int, ...]
    """Quadrant chosen at each step, whole image first: 0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right."""
    values: tuple[np.ndarray, ...]
    """Value of every node: depth k is `values[k - 1]`, an array (2^k rows, 2^k columns)."""
    image_size: tuple[int, int]
    """Height and width of the model's input in pixels."""
    sign: int = 1
    """1: values speak for the class; -1: values speak against it (the control)."""

    @property
    def depth(self) -> int:
        """Number of steps from the whole image to a leaf: one less than the model has levels."""
        return len(self.values)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Square of each step of the path as (left, top, right, bottom), in pixels of the model's input."""
        return tuple(region_of(self.image_size, self.path[:step]) for step in range(1, self.depth + 1))

    @property
    def path_values(self) -> tuple[float, ...]:
        """Value of each node on the path."""
        return tuple(self.value(self.path[:step]) for step in range(1, self.depth + 1))

    def value(self, path: Sequence[int]) -> float:
        """Value of the node at the end of a path of one or more quadrants."""
        return float(self.values[len(path) - 1][place_of(path)])

    def nodes(self) -> Iterator[Node]:
        """All nodes below the whole image: depth by depth, and row by row within a depth."""
        for depth, grid in enumerate(self.values, start=1):
            for row, column in np.ndindex(*grid.shape):
                path = tuple((row >> shift & 1) * 2 + (column >> shift & 1) for shift in reversed(range(depth)))
                region = region_of(self.image_size, path)
                yield Node(depth, row, column, path, float(grid[row, column]), region)


def place_of(path: Sequence[int]) -> tuple[int, int]:
    """Row and column, among the 2^k x 2^k squares of its depth k, of the node at the end of a path of quadrants."""
    row = column = 0
    for quadrant in path:
        row, column = 2 * row + quadrant // 2, 2 * column + quadrant % 2
    return row, column


def region_of(image_size: tuple[int, int], path: Sequence[int]) -> Region:
    """Square of the image at the end of a path of quadrants, as (left, top, right, bottom) in pixels.

    image_size: (height, width). An empty path is the whole image.
    """
    height, width = image_size
    (row, column), parts = place_of(path), 2 ** len(path)
    left, right = width * column // parts, width * (column + 1) // parts
    return left, height * row // parts, right, height * (row + 1) // parts


def gradcat(model: Encoder, image: Tensor, class_index: SupportsIndex | None = None, *, sign: int = 1) -> Tree:
    """Finds the block of one image that decided for one class, and what every other block contributed.

    image: (channels, height, width) or a batch of one, as the model takes it (normalised). class_index: the class to
    explain; the one of largest logit if left out. sign: 1 follows what speaks for the class, -1 what speaks against it.
    The model may be in training mode: it is explained as it would predict, and is left as it was.
    Raises UserError as `gradcat_batch` does.
    """
    if image.ndim == 4 and image.shape[0] != 1:
        raise UserError(f"gradcat explains one image, got a batch of {image.shape[0]}; use gradcat_batch for several")
    classes = None if class_index is None else [class_index]
    return gradcat_batch(model, image, classes, sign=sign)[0][0]


def gradcat_batch(
    model: Encoder, images: Tensor, classes: Classes | None = None, *, top_k: int = 1, sign: int = 1
) -> list[list[Tree]]:
    """Explains one or more classes for each of many images: one forward pass, and one backward pass per class.

    images: (batch, channels, height, width); one image without a batch axis is a batch of one. classes: one class or
    several (k,) for all images alike, or an array (batch, k) of each image's own; without it the `top_k` classes of
    largest logit, largest first. Returns, for each image, its k trees in that order; paths stack into an integer array
    (batch, k, steps): `np.array([[tree.path for tree in trees] for trees in gradcat_batch(...)])`.

    Raises UserError for a class the model does not have, a `sign` other than 1 and -1, or a model whose levels do not
    form a tree of quadrants.
    """
    if sign not in (1, -1):
        raise UserError(f"sign must be 1 or -1, got {sign}")
    images = as_batch(images)
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        planes = model.levels(images.detach().clone().requires_grad_())
        check_planes(planes)
        logits = model.classify(planes[-1])
        chosen = choose_classes(logits, classes, top_k)
        picked = logits.gather(1, chosen)
        upper = planes[:0:-1]
        ranks: list[list[np.ndarray]] = []
        for rank in range(chosen.shape[1]):
            more = rank + 1 < chosen.shape[1]
            gradients = torch.autograd.grad(picked[:, rank].sum(), upper, retain_graph=more)
            pairs = enumerate(zip(upper, gradients, strict=True), start=1)
            ranks.append([node_values(plane, gradient, sign, depth) for depth, (plane, gradient) in pairs])
    size = images.shape[-2], images.shape[-1]
    indices, explained = chosen.tolist(), picked.detach().tolist()

    def tree(item: int, rank: int) -> Tree:
        values = tuple(grid[item] for grid in ranks[rank])
        return Tree(indices[item][rank], explained[item][rank], greedy_path(values), values, size, sign)

    return [[tree(item, rank) for rank in range(len(ranks))] for item in range(len(images))]


def node_values(plane: Tensor, gradient: Tensor, sign: int, depth: int) -> np.ndarray:
    """Feature times gradient, summed over the channels and over each of the 2^depth x 2^depth squares of a plane.

    plane, gradient: (batch, rows, columns, dim). Returns (batch, 2^depth, 2^depth), float32.
    """
    evidence = sign * (plane.detach().float() * gradient.float()).sum(-1)
    squares = reduce(evidence, "b (y h) (x w) -> b y x", "sum", y=2**depth, x=2**depth)
    return squares.cpu().numpy()


def greedy_path(values: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Quadrants from the whole image to a leaf, each the child of largest value (the first of equals)."""
    path: tuple[int, ...] = ()
    for grid in values:
        path += (max(range(4), key=lambda quadrant: grid[place_of((*path, quadrant))]),)
    return path


def as_batch(images: Tensor) -> Tensor:
    """Images (batch, channels, height, width), from those or one image (channels, height, width); else UserError."""
    if images.ndim not in (3, 4) or not images.is_floating_point():
        raise UserError(
            f"images to explain must be floating-point (batch, channels, height, width) or (channels, height, width), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    return images if images.ndim == 4 else images[None]


def choose_classes(logits: Tensor, classes: Classes | None, top_k: int = 1) -> Tensor:
    """Classes to explain for each image, as (batch, k), from what the user asked for (see `gradcat_batch`).

    logits: (batch, num_classes). Raises UserError for logits that are not finite and for classes that do not exist.
    """
    batch, count = logits.shape
    if not torch.isfinite(logits).all():
        raise UserError("the model's logits are not finite numbers for these images: there is nothing to explain")
    if classes is None:
        if not 1 <= top_k <= count:
            raise UserError(f"top_k must be from 1 to the model's {count} classes, got {top_k}")
        return logits.detach().topk(top_k, dim=1).indices
    if top_k != 1:
        raise UserError("give either classes or top_k, not both")
    if not isinstance(classes, Tensor | np.ndarray):
        classes = [index(one) for one in (classes if isinstance(classes, Sequence) else [classes])]
    chosen = torch.as_tensor(classes)
    if chosen.ndim < 2:
        chosen = chosen.reshape(1, -1).expand(batch, -1)
    if chosen.ndim != 2 or len(chosen) != batch or chosen.shape[1] == 0 or chosen.dtype.is_floating_point:
        raise UserError(
            f"classes must be one class, several, or integers of shape (images, classes per image) for {batch} images, "
            f"got {chosen.dtype} of shape {tuple(chosen.shape)}"
        )
    wrong = chosen[(chosen < 0) | (chosen >= count)]
    if len(wrong):
        raise UserError(f"class index {int(wrong[0])} is out of range: the model has classes 0 to {count - 1}")
    return chosen.to(logits.device, torch.int64)


def check_planes(planes: Sequence[Tensor]) -> None:
    """Raises UserError unless the planes form a tree: two or more, each half as wide and high as the one before it."""
    sizes = [tuple(plane.shape[1:-1]) for plane in planes]
    listed = ", ".join(" x ".join(map(str, size)) for size in sizes)
    if len(sizes) < 2:
        raise UserError(f"GradCAT needs a model of two or more levels; this one has {len(sizes)} ({listed})")
    halves = all(fine == tuple(2 * side for side in coarse) for fine, coarse in pairwise(sizes))
    if len(sizes[-1]) != 2 or not halves or any(side % 2 for side in sizes[-1]):
        raise UserError(
            "GradCAT needs image planes that halve from level to level down to one of even sides, "
            f"but this model's planes are {listed}"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model in evaluation mode, and every module of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
