"""Masked pretraining: parts of the images are hidden, and what was hidden is told from the rest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvit.measures import nearest_neighbour_accuracy
from hvit.models.masked import MaskedAutoencoder
from hvit.models.weights import save_weights
from hvit.tasks.task import Batch, Networks, Phase, Task

WEIGHTS = "weights.safetensors"
_MASK_SEED = 20306


class Reconstruct(Task):
    """Learns an encoder from images without labels (arXiv 2111.06377, 2306.00989).

    model: the masked autoencoder. preprocess: how an image becomes the model's input, stored beside the weights. Masks
    are drawn anew at every step, from torch's generator, which the loop seeds. The score is how well the encoder's
    features of whole held-out images separate their classes, which it was never told: by nearest neighbours.
    """

    phases = (Phase("reconstruct", network="model"),)
    score = "nearest_neighbours"

    def __init__(self, model: MaskedAutoencoder, preprocess: dict[str, Any]) -> None:
        self.networks = {"model": model}
        self.model, self.preprocess = model, preprocess

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """Mean squared difference over the hidden patches of batch["images"] (batch, channels, *input_size)."""
        images = batch["images"]
        kept = self.model.draw_masks(len(images)).to(images.device)
        return self.model.loss(networks["model"](images, kept), images, kept)

    @torch.no_grad()
    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> dict[str, Any]:
        """The loss under masks that are the same every time, and the score (a fraction)."""
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        generator = torch.Generator().manual_seed(_MASK_SEED)
        losses, features, labels = [], [], []
        for batch in batches:
            images = batch["images"]
            kept = model.draw_masks(len(images), generator).to(images.device)
            losses.append(model.loss(model(images, kept), images, kept).float().cpu() * len(images))
            features.append(model.features(images).float().cpu())
            labels.append(batch["targets"].cpu())
        points, classes = torch.cat(features), torch.cat(labels)
        return {
            "loss": (torch.stack(losses).sum() / len(points)).item(),
            "nearest_neighbours": nearest_neighbour_accuracy(points, classes),
            "count": len(points),
        }

    def save(self, folder: Path, networks: Networks) -> None:
        """Writes `weights.safetensors`: encoder and decoder with their configuration and the preprocessing."""
        model = networks["model"]
        assert isinstance(model, MaskedAutoencoder)
        save_weights(model, folder / WEIGHTS, preprocess=self.preprocess)
