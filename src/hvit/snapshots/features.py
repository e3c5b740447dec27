"""Features of whole images by an encoder without a head, and a map of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from hvit.data.batches import evaluation_batches
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ChosenImages, ImageSet
from hvit.models.masked.model import MaskedAutoencoder
from hvit.pictures import LIGHT, Theme, draw_points

MOST_MAPPED = 2_000
"""Images on a map: t-SNE takes time that grows faster than their number."""
_FEWEST_FOR_TSNE = 50


def some_images(images: ImageSet, most: int) -> ChosenImages:
    """At most so many images, evenly from all over a set."""
    count = min(most, len(images))
    return ChosenImages(images, np.linspace(0, len(images) - 1, count).round().astype(int))


@torch.no_grad()
def encoder_features(
    model: MaskedAutoencoder,
    images: ImageSet,
    preprocess: Preprocess,
    most: int,
    workers: int = 0,
    progress: Callable[[int], object] = lambda count: None,
    rank: int = 0,
    world_size: int = 1,
) -> tuple[Tensor, Tensor]:
    """Features (count, dim) of at most so many images, evenly from all over a set, and their classes (count,).

    Images that show several classes, such as canvases with several digits, are not among them.

    progress: called with the number of images done after every batch. rank, world_size: which stretch of them, of how
    many; all, in their order, are the whole.
    """
    device = next(model.parameters()).device
    features, labels, done = [], [], 0
    model.eval()
    batches = evaluation_batches(
        some_images(images, most), preprocess=preprocess, batch_size=64, workers=workers, rank=rank,
        world_size=world_size,
    )  # fmt: skip
    for batch in batches:
        features.append(model.features(batch["images"].to(device)).float().cpu())
        labels.append(batch["targets"])
        progress(done := done + len(batch["targets"]))
    if not features:  # there are more processes than batches
        return torch.empty(0, 0), torch.empty(0, dtype=torch.long)
    vectors, targets = torch.cat(features), torch.cat(labels)
    if targets.ndim == 1:
        return vectors, targets
    single = targets.amax(1) == 1  # shares of the classes, all of it in one
    return vectors[single], targets[single].argmax(1)


def draw_feature_map(features: Tensor, labels: Tensor, classes: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Images as points of a plane in which images of similar features are near, coloured by class.

    features: (images, dim). labels: (images,), indices into `classes`. By t-SNE (van der Maaten & Hinton, 2008), which
    keeps neighbours and not distances; few images by their two principal components.
    """
    # scikit-learn takes a second to import.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    points = features.numpy().astype(np.float64)
    points = (points - points.mean(0)) / np.maximum(points.std(0), 1e-6)
    if len(points) >= _FEWEST_FOR_TSNE:
        name, plane = "t-SNE", TSNE(random_state=0, perplexity=min(30, len(points) // 5)).fit_transform(points)
    else:
        count = min(2, *points.shape)
        plane = np.zeros((len(points), 2))
        plane[:, :count] = PCA(count).fit_transform(points) if len(points) > 1 else 0
        name = "principal components"
    return draw_points(plane, labels.numpy(), classes, f"Features of {len(points):,} images ({name})", theme)
