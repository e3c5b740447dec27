"""GradCAT: follows the tree of image blocks from the whole image to the small block with the most evidence for a class.

Source: Zhang et al., "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding", AAAI 2022 (arXiv 2105.12723), Algorithm 1. With L levels numbered 1 (finest) to L (the top), A_l the
feature map of level l and Y the logit of a class, the evidence at a position of level l is

    h_l = sum over channels of A_l * sign * dY/dA_l.

A node at depth k (k = 1 .. L - 1) is one of 2^k x 2^k squares of the image. Its value is the sum of h over that square
of the map of level L - k + 1, so that depth 1 reads the top map and depth L - 1 the map of level 2. The path
starts at the whole image and goes to the child of largest value, again and again.

Where this differs from the printed algorithm, and why:

- Sign. The algorithm prints -dY/dA. For a linear head on the mean of the top map the values of depth 1 add up to
  Y - bias with a plus sign, so a minus sign would follow the blocks of most negative evidence. sign=-1 is
  available as a control.
- Top map. It is taken after the final norm (`request.normalised_map`). Before it, feature times gradient sums to
  zero, because what is normalised does not change when its input is scaled: at every position where the norm precedes
  the mean (NesT, MViT), over the whole map where it follows the mean (Hiera).
- Sum instead of average over a square. They differ by one positive factor per depth, which changes no path.

Our own generalisation to every encoder whose feature maps shrink by two:

- Squares that cut tokens. Maps of odd sides, such as the 7 x 7 mask units of Hiera and MViT at 224 pixels, have no
  middle. The evidence of a token is spread evenly over its square of the image, and a node sums what lies inside it:
  the middle row counts half above and half below. Nodes stay equal squares, every depth reads a map of its own, and
  nothing is lost: the values of a depth add up to the map's.
- Maps of fewer than 2^k rows cannot separate the nodes of depth k; depth k takes the next finer map then.
- The logits of models that classify a class token do not depend on the top map; their tree starts one level lower.
- `level` starts the tree lower by choice. With level=-2 the 7 x 7 map is skipped, and the maps of 14, 28 and 56
  are read, which squares do not cut. The top map is the one the logit is linear in. In micro models of digits, it
  finds the right quadrant more often than any map below where its side is even; otherwise it depends on the model.
- `gradient="libra"` takes LibraGrad's gradients (`methods.libra`), whose values add up at every level. The tree then
  starts one level lower by default: attention in the top level spreads what a position knows over the whole image, and
  the gradients of the level below know where it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import SupportsIndex, cast

import numpy as np
import torch
from einops import reduce
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods.libra import gradients_of
from hvit.explain.methods.request import (
    Classes,
    as_batch,
    choose_classes,
    classifier_of,
    evaluating,
    find_level,
    levels_and_logits,
    normalised_map,
    one_class,
    one_image,
)
from hvit.explain.tree import Gradient, Tree, greedy_path
from hvit.models.layers.encoder import Encoder


def gradcat(
    model: Encoder,
    image: Tensor,
    class_index: SupportsIndex | None = None,
    *,
    sign: int = 1,
    level: int | None = None,
    gradient: Gradient = "usual",
) -> Tree:
    """Explains one class of one image: the evidence in every block, and the path to the block with the most.

    The model may be in training mode: it is explained in evaluation mode and left unchanged.

    Args:
        model: An encoder, also inside DataParallel, `torch.compile` or a weight average, or prepared for inference.
        image: (channels, height, width) or a batch of one, normalised as the model expects: a floating-point tensor or
            numpy array on any device.
        class_index: The class to explain; default: the class with the largest logit.
        sign: 1 follows positive evidence, -1 negative evidence.
        level: The level that the first step reads: 0 the finest, -1 the last; default: the coarsest that the logits
            depend on, with "libra" the second to last.
        gradient: "usual", as in the paper, or "libra" for LibraGrad's backward rule (`methods.libra`), with which the
            values of every depth add up to the logit less what biases add to it.

    Raises:
        UserError: As `gradcat_batch`.
    """
    model = tree_model(model)
    batch = one_image(as_batch(model, image), "gradcat explains", "gradcat_batch")
    return gradcat_batch(model, batch, one_class(class_index), sign=sign, level=level, gradient=gradient)[0][0]


def gradcat_batch(
    model: Encoder,
    images: Tensor,
    classes: Classes | None = None,
    *,
    top_k: int = 1,
    sign: int = 1,
    level: int | None = None,
    gradient: Gradient = "usual",
) -> list[list[Tree]]:
    """Explains one or more classes for each of many images, with one forward pass and one backward pass per class.

    Args:
        model: As for `gradcat`.
        images: (batch, channels, height, width); a single image without a batch axis is a batch of one.
        classes: One class or several (k,) for all images, or an array (batch, k) with those of each image; default: the
            `top_k` classes with the largest logits, largest first.
        top_k: How many classes to explain, if `classes` is not given.
        sign: As for `gradcat`.
        level: As for `gradcat`.
        gradient: As for `gradcat`.

    Returns:
        For each image, its k trees in that order. Paths stack into an integer array (batch, k, steps):
            `np.array([[tree.path for tree in trees] for trees in gradcat_batch(...)])`.

    Raises:
        UserError: For a class or a level that the model does not have, a `sign` other than 1 and -1, another word for
            `gradient`, and a model whose levels do not form a tree of quadrants.
    """
    if sign not in (1, -1):
        raise UserError(f"sign must be 1 or -1, got {sign}")
    model = tree_model(model)
    images = as_batch(model, images)
    with evaluating(model), torch.inference_mode(False), torch.enable_grad(), gradients_of(gradient):
        maps, logits = levels_and_logits(model, images.detach().clone().requires_grad_())
        sizes = [tuple(one.shape[1:-1]) for one in maps]
        first = find_level(model, len(maps), level)
        if level is None and gradient == "libra":
            first = min(first, len(maps) - 2)
        read = tree_levels(sizes, first)
        maps, logits = after_norm(model, maps, logits)
        if not all(maps[level].requires_grad for level in read):
            raise UserError(f"gradients do not reach the feature maps of this {type(model).__name__}: a part of it is "
                            "computed without them")  # fmt: skip
        chosen = choose_classes(logits, classes, top_k)
        picked = logits.gather(1, chosen)
        upper = [maps[level] for level in read]
        ranks: list[list[np.ndarray]] = []
        for rank in range(chosen.shape[1]):
            more = rank + 1 < chosen.shape[1]
            slopes = torch.autograd.grad(picked[:, rank].sum(), upper, retain_graph=more)
            pairs = enumerate(zip(upper, slopes, strict=True), start=1)
            ranks.append([node_values(one, slope, sign, depth) for depth, (one, slope) in pairs])
    size = images.shape[-2], images.shape[-1]
    indices, explained = chosen.tolist(), picked.detach().tolist()

    def tree(item: int, rank: int) -> Tree:
        values = tuple(nodes[item] for nodes in ranks[rank])
        return Tree(
            indices[item][rank], explained[item][rank], greedy_path(values), values, size, sign, gradient=gradient
        )

    return [[tree(item, rank) for rank in range(len(ranks))] for item in range(len(images))]


def tree_model(model: object) -> Encoder:
    """The encoder inside of what a user gives. Raises UserError for other models, and for what has no classes."""
    network = classifier_of(model)
    if not isinstance(network, Encoder):
        raise UserError(
            f"GradCAT follows the levels of an encoder of hvit; {type(network).__name__} is none: use Grad-CAM instead"
        )
    return network


def has_tree(model: nn.Module) -> bool:
    """Whether GradCAT supports a model: an encoder of images whose feature maps form a tree of quadrants."""
    try:
        config = tree_model(model).config
    except UserError:
        return False
    if len(config.input_size) != 2 or not hasattr(config, "unit_side"):
        return False
    sides = zip(config.input_size, config.patch_size, config.unit_side(0), strict=True)
    units = [-(-pixels // patch) // unit for pixels, patch, unit in sides]
    sizes = [
        tuple(count * side for count, side in zip(units, config.unit_side(level), strict=True))
        for level in range(len(config.depths))
    ]
    try:
        return bool(tree_levels(sizes, find_level(model, len(sizes), None)))
    except UserError:
        return False


def tree_levels(sizes: Sequence[tuple[int, ...]], first: int) -> list[int]:
    """The level that each depth of the tree reads, depth 1 first.

    sizes: rows and columns of every level's feature map, fine to coarse. first: the coarsest level to read.
    Raises UserError unless there are two maps or more, each of the size of the one before it or half as wide and
    high, rounded up.
    """
    listed = ", ".join(" x ".join(map(str, size)) for size in sizes)
    if len(sizes) < 2:
        raise UserError(f"GradCAT needs a model of two or more levels; this one has {len(sizes)} ({listed})")
    halves = all(coarse in (fine, tuple(-(-side // 2) for side in fine)) for fine, coarse in pairwise(sizes))
    read: list[int] = []
    for level in range(first, -1, -1):
        if len(read) < len(sizes) - 1 and min(sizes[level]) >= 2 ** (len(read) + 1):
            read.append(level)
    if len(sizes[-1]) != 2 or not halves or not read:
        raise UserError(
            "GradCAT needs feature maps that halve from level to level, and quadrants to separate, "
            f"but this model's feature maps are {listed}"
        )
    return read


def after_norm(model: Encoder, maps: list[Tensor], logits: Tensor) -> tuple[list[Tensor], Tensor]:
    """The feature maps with the top one after the final norm, and the same logits, computed from that one.

    maps, logits: as the model gives them.
    """
    if not model.norm_follows_mean:
        return maps, logits
    top = normalised_map(model, maps[-1])
    own = cast(nn.Module, model.head)(top.mean((1, 2)))
    error, scale = (own - logits).abs(), own.abs() + logits.abs()
    if len(own) and error.max() > torch.finfo(own.dtype).eps ** 0.5 * scale.max():
        raise UserError(
            f"the logits of this {type(model).__name__} are not its head on its final norm, as hooks and "
            "adapters may change it, so that GradCAT would explain others; use Grad-CAM instead"
        )
    return [*maps[:-1], top], own


def node_values(feature_map: Tensor, gradient: Tensor, sign: int, depth: int) -> np.ndarray:
    """Feature times gradient, summed over the channels and over each of the 2^depth x 2^depth squares of a map.

    feature_map, gradient: (batch, rows, columns, dim). Returns (batch, 2^depth, 2^depth), float32.
    """
    evidence = sign * (feature_map.detach().float() * gradient.float()).sum(-1)
    parts = 2**depth
    if all(side % parts == 0 for side in evidence.shape[1:]):
        squares = reduce(evidence, "b (y h) (x w) -> b y x", "sum", y=parts, x=parts)
    else:
        rows, columns = (shares_of_cells(side, parts).to(evidence) for side in evidence.shape[1:])
        squares = torch.einsum("y h, b h w, x w -> b y x", rows, evidence, columns)
    return squares.cpu().numpy()


def shares_of_cells(cells: int, parts: int) -> Tensor:
    """How much of every cell of a line lies in each of its equal parts: (parts, cells); every column adds up to 1."""
    edges = torch.arange(parts + 1) * (cells / parts)
    start = torch.arange(cells)
    ends = torch.minimum(edges[1:, None], start + 1)
    return (ends - torch.maximum(edges[:-1, None], start)).clamp_min(0)
