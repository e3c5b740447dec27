"""Masked pretraining: parts of the images are hidden, and what was hidden is told from the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvit.data.preprocess import Preprocess
from hvit.metrics.classification import linear_probe_accuracy, nearest_neighbour_accuracy
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.masked.targets import make_targets
from hvit.models.weights.save import save_weights
from hvit.snapshots.reconstructions import keep_strip
from hvit.tasks.task import Batch, Networks, Phase, Task

WEIGHTS = "weights.safetensors"
_MASK_SEED = 20306
_MOST_PROBED = 10_000


class Reconstruct(Task):
    """Learns an encoder from images without labels (arXiv 2111.06377, 2306.00989).

    model: the masked autoencoder. preprocess: how an image becomes the model's input, stored beside the weights.
    labelled: whether the held-out images have classes, for which the encoder's features are then probed. watched:
    images (batch, channels, *input_size) whose reconstructions are kept at every evaluation. Masks are drawn anew at
    every step, from torch's generator, which the loop seeds.
    """

    phases = (Phase("reconstruct", network="model"),)

    def __init__(
        self, model: MaskedAutoencoder, preprocess: Preprocess, labelled: bool, watched: Tensor | None = None
    ) -> None:
        self.networks = {"model": model}
        self.model, self.preprocess, self.labelled, self.watched = model, preprocess, labelled, watched
        self.score = "nearest_neighbours" if labelled else "explained"

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """Mean squared difference over the hidden patches of batch["images"] (batch, channels, *input_size)."""
        images = batch["images"]
        kept = self.model.draw_masks(len(images)).to(images.device)
        return self.model.loss(networks["model"](images, kept, hidden_only=True), images, kept)

    @torch.no_grad()
    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> dict[str, Any]:
        """Loss and scores on the held-out images, under masks that are the same every time.

        "explained" is the share of the variance of hidden patches that is told. "nearest_neighbours" and
        "linear_probe", of labelled images only, are the shares whose classes the encoder's features of whole images
        tell: every second image is judged by the others. All are fractions.
        """
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        generator = torch.Generator().manual_seed(_MASK_SEED)
        told, features, labels = _Told(), [], []
        for batch in batches:
            images = batch["images"]
            kept = model.draw_masks(len(images), generator).to(images.device)
            told.add(model, images, kept)
            features.append(model.features(images).float().cpu())
            labels.append(batch["targets"].cpu())
        points, classes = torch.cat(features), torch.cat(labels)
        scores = {"loss": told.loss, "explained": told.explained, "count": len(points)}
        if self.labelled and len(points) > 1:
            step = -(-len(points) // _MOST_PROBED)
            points, classes = points[::step], classes[::step]
            halves = points[::2], classes[::2], points[1::2], classes[1::2]
            scores["nearest_neighbours"] = nearest_neighbour_accuracy(*halves)
            scores["linear_probe"] = linear_probe_accuracy(*halves)
        return scores

    def save(self, folder: Path, networks: Networks, step: int) -> None:
        """Writes `weights.safetensors` (encoder and decoder) and the watched images as the model now tells them."""
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        save_weights(model, folder / WEIGHTS, preprocess=asdict(self.preprocess))
        if self.watched is not None:
            keep_strip(model, self.preprocess, self.watched, folder, step)


class _Told:
    """Sums over hidden patches, from which the loss and the share of variance that is told follow."""

    def __init__(self) -> None:
        self.error = self.total = self.square = 0.0
        self.count = 0

    def add(self, model: MaskedAutoencoder, images: Tensor, kept: Tensor) -> None:
        hidden = model.hidden_patches(kept)
        wanted = make_targets(images, model.config.patch, model.config.target)[hidden].double()
        self.error += (model(images, kept).double()[hidden] - wanted).square().sum().item()
        self.total += wanted.sum().item()
        self.square += wanted.square().sum().item()
        self.count += wanted.numel()

    @property
    def loss(self) -> float:
        """Mean squared difference."""
        return self.error / self.count

    @property
    def explained(self) -> float:
        """Share of the variance that is told: 1 for all, 0 for no more than the mean; below 0 it is worse than that."""
        variance = self.square / self.count - (self.total / self.count) ** 2
        return 1.0 - self.loss / max(variance, 1e-12)
