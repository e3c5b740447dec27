"""What a masked autoencoder tells of what it did not see, as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hvit.data.augment import Preprocess
from hvit.data.sets import ImageSet
from hvit.explain.canvas import save_figure
from hvit.models.layers import hide_masked, spread_mask
from hvit.models.masked import MaskedAutoencoder
from hvit.models.targets import normalise_patches, patches_to_images, pixel_patches
from hvit.pictures import draw_image_grid

_MASK_SEED = 20306


@torch.no_grad()
def reconstruct(model: MaskedAutoencoder, images: Tensor, kept: Tensor) -> Tensor:
    """Images whose hidden patches are what the model tells of them; the rest is as it was.

    images: (batch, channels, height, width), normalised. kept: bool (batch, *unit_grid). A model that tells normalised
    patches knows neither their mean nor their contrast; these are taken from the image, as is usual in such pictures.
    Gradients (hog) are no pixels: such a model cannot be shown so (AssertionError).
    """
    config = model.config
    assert config.target != "hog", "histograms of gradients are no pixels"
    told = model(images, kept).float()
    if config.target == "normalised_pixels":
        _, mean, deviation = normalise_patches(pixel_patches(images.float(), config.patch))
        told = told * deviation + mean
    pixels = patches_to_images(told, config.patch, config.in_channels)
    seen = spread_mask(kept, tuple(images.shape[2:]))[:, None]
    return torch.where(seen, images, pixels)


def draw_reconstructions(
    model: MaskedAutoencoder, preprocess: Preprocess, images: ImageSet, path: Path, count: int = 6
) -> None:
    """Draws some held-out images, what the model sees of them, and what it tells; nothing for histograms."""
    if model.config.target == "hog":
        return
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int).tolist()
    batch = torch.stack([preprocess.tensor(images.read(index, index)[0]) for index in chosen])
    kept = model.draw_masks(len(batch), torch.Generator().manual_seed(_MASK_SEED))
    rows = [batch, hide_masked(batch, kept), reconstruct(model.eval(), batch, kept)]
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    pictures = []
    for row in rows:
        pixels = (row * std + mean).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        pictures += [image[..., 0] if image.shape[-1] == 1 else image for image in pixels]
    captions = [name for name in ("image", "seen", "told") for _ in chosen]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(draw_image_grid(pictures, captions, columns=len(chosen)), path)
