"""Masked pretraining: patches of images are masked and predicted from the visible ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from hvit.data.preprocess import Preprocess
from hvit.metrics.classification import linear_probe_accuracy, nearest_neighbour_accuracy
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.masked.targets import make_targets
from hvit.models.weights.save import save_weights
from hvit.run_names import WEIGHTS
from hvit.snapshots.reconstructions import keep_strip
from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Scores, Task, join

_MASK_SEED = 20306
_MOST_PROBED = 10_000
_AT_ONCE = 4096


class Reconstruct(Task):
    """Trains an encoder on images without labels (arXiv 2111.06377, 2306.00989).

    model: the masked autoencoder. preprocess: how an image becomes the model's input, stored with the weights.
    labelled: whether the held-out images have classes, for which the encoder's features are then probed. watched:
    images (batch, channels, *input_size) whose reconstructions are saved at every evaluation. Masks are drawn anew at
    every step, from torch's generator, which the loop seeds.
    """

    phases = (Phase("reconstruct", network="model"),)

    def __init__(
        self, model: MaskedAutoencoder, preprocess: Preprocess, labelled: bool, watched: Tensor | None = None
    ) -> None:
        self.networks = {"model": model}
        self.model, self.preprocess, self.labelled, self.watched = model, preprocess, labelled, watched
        self.score = "nearest_neighbours" if labelled else "explained_variance"

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """Mean squared difference over the masked patches of batch["images"] (batch, channels, *input_size)."""
        images = batch["images"]
        visible = self.model.draw_masks(len(images)).to(images.device)
        return self.model.loss(networks["model"](images, visible, masked_only=True), images, visible)

    @torch.no_grad()
    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        """Sums over the masked patches of every batch, of an image's classes and the features of the whole image.

        Masks are the same every time, whatever batches come before.
        """
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        generator = torch.Generator().manual_seed(_MASK_SEED)
        for start in range(0, before.samples, _AT_ONCE):  # the masks of those before
            model.draw_masks(min(_AT_ONCE, before.samples - start), generator)
        parts = []
        for batch in batches:
            images = batch["images"]
            visible = model.draw_masks(len(images), generator).to(images.device)
            features = model.features(images).float().cpu()
            parts.append(
                {"sums": _sums(model, images, visible), "features": features, "targets": batch["targets"].cpu()}
            )
        return join(parts)

    def scores_of(self, outputs: Outputs) -> Scores:
        """Loss and scores on the held-out images.

        "explained_variance" is that of the masked patches (R²). "nearest_neighbours" and "linear_probe", of
        labelled images only, are the accuracies of the encoder's features of whole images: every second image is
        classified by the others. All are fractions.
        """
        # In Python, one after the other: the same sums however many processes had a part in them.
        error, total, square, count = (sum(column) for column in zip(*outputs["sums"].tolist(), strict=True))
        loss = error / count
        variance = square / count - (total / count) ** 2
        points, classes = outputs["features"], outputs["targets"]
        # 1 for perfect predictions, 0 for those of the mean, below 0 for worse.
        scores = {"loss": loss, "explained_variance": 1.0 - loss / max(variance, 1e-12), "count": len(points)}
        if self.labelled and len(points) > 1:
            step = -(-len(points) // _MOST_PROBED)
            points, classes = points[::step], classes[::step]
            halves = points[::2], classes[::2], points[1::2], classes[1::2]
            scores["nearest_neighbours"] = nearest_neighbour_accuracy(*halves)
            scores["linear_probe"] = linear_probe_accuracy(*halves)
        return scores

    def save_weights(self, folder: Path, networks: Networks) -> None:
        """Writes `weights.safetensors`: encoder and decoder."""
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        save_weights(model, folder / WEIGHTS, preprocess=asdict(self.preprocess))

    def draw(self, folder: Path, networks: Networks, step: int) -> None:
        """Draws the present reconstructions of the watched images."""
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        if self.watched is not None:
            keep_strip(model, self.preprocess, self.watched, folder, step)


def _sums(model: MaskedAutoencoder, images: Tensor, visible: Tensor) -> Tensor:
    """Of the masked patches of a batch: squared errors, targets, squared targets, and how many: (1, 4) float64."""
    masked = model.masked_patches(visible)
    wanted = make_targets(images, model.config.patch, model.config.target)[masked].double()
    error = (model(images, visible).double()[masked] - wanted).square().sum()
    sums = [error.item(), wanted.sum().item(), wanted.square().sum().item(), float(wanted.numel())]
    return torch.tensor([sums], dtype=torch.float64)
