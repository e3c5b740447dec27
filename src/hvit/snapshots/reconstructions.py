"""Reconstructions of masked images, as a picture that grows while the autoencoder trains.

At every evaluation the same few images are reconstructed and saved as a strip in `reconstructions/` of the run folder;
`pictures/reconstructions.png` shows them below the images and their visible patches.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.explain.drawing.canvas import save_in_both_themes
from hvit.models.layers.masking import spread_mask, zero_masked
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.masked.targets import normalise_patches, patches_to_images, pixel_patches
from hvit.pictures import draw_image_grid
from hvit.run_names import RECONSTRUCTIONS, picture_file, step_file
from hvit.snapshots.samples import save_pixels, some_steps

_MASK_SEED = 20306
_MOST_STRIPS_SHOWN = 5


@torch.no_grad()
def reconstruct(model: MaskedAutoencoder, images: Tensor, visible: Tensor) -> Tensor:
    """Images whose masked patches are the model's predictions; the visible ones are unchanged.

    images: (batch, channels, height, width), normalised, or clips (batch, channels, time, height, width), of which the
    predicted frames are returned, the first of every patch. visible: bool (batch, *unit_grid). A model that predicts
    normalised patches knows neither their mean nor their contrast; these are taken from the image, as is usual in such
    pictures. Gradients (hog) are no pixels: such a model cannot be shown so (AssertionError).
    """
    config = model.config
    assert config.target != "hog", "histograms of gradients are no pixels"
    predictions = model(images, visible).float()
    if config.target == "normalised_pixels":
        _, mean, standard_deviation = normalise_patches(pixel_patches(images.float(), config.patch))
        predictions = predictions * standard_deviation + mean
    pixels = patches_to_images(predictions, config.patch, config.in_channels)
    if images.ndim == 5:
        images = images[:, :, :: config.patch[0]]
    return torch.where(spread_mask(visible, tuple(images.shape[2:]))[:, None], images, pixels)


def watch(images: ImageSet, preprocess: Preprocess, count: int = 6) -> Tensor:
    """A few images or clips from all over a set, as the model's input (count, channels, *input_size)."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int).tolist()
    return torch.stack([preprocess.tensor(images.read(index, index)[0]) for index in chosen])


def keep_strip(model: MaskedAutoencoder, preprocess: Preprocess, images: Tensor, folder: Path, step: int) -> None:
    """Saves the reconstructions of a step in the run folder and draws all so far; nothing where they are no pixels."""
    if model.config.target == "hog":
        return
    device = next(model.parameters()).device
    images = images.to(device)
    visible = model.draw_masks(len(images), torch.Generator().manual_seed(_MASK_SEED)).to(device)
    made, seen = reconstruct(model.eval(), images, visible), zero_masked(images, visible)
    if images.ndim == 5:  # of a clip the predicted frame in its middle
        middle, stride = made.shape[2] // 2, model.config.patch[0]
        made, seen, images = made[:, :, middle], seen[:, :, middle * stride], images[:, :, middle * stride]
    reconstructions = _pixels(made, preprocess)
    strip = np.concatenate(list(reconstructions), axis=1)
    save_pixels(strip, folder / RECONSTRUCTIONS / step_file(step, "png"))
    rows = {"image": _pixels(images, preprocess), "visible": _pixels(seen, preprocess)}
    height, width, channels = reconstructions.shape[1:]
    for number, path in some_steps(folder / RECONSTRUCTIONS, _MOST_STRIPS_SHOWN):
        with Image.open(path) as opened:
            pixels = np.asarray(opened).reshape(height, -1, channels)
        if pixels.shape[1] == width * len(images):
            rows[f"step {number:,}"] = np.stack(np.split(pixels, len(images), axis=1))
    pictures = [picture[..., 0] if picture.shape[-1] == 1 else picture for row in rows.values() for picture in row]
    captions = [name for name, row in rows.items() for _ in row]
    save_in_both_themes(
        lambda theme: draw_image_grid(pictures, captions, columns=len(images), theme=theme),
        folder / picture_file(RECONSTRUCTIONS),
    )


def _pixels(images: Tensor, preprocess: Preprocess) -> np.ndarray:
    """Normalised images (batch, channels, height, width) as 8-bit pictures (batch, height, width, 1 or 3)."""
    return (preprocess.pictures_of(images.float().cpu()) * 255).round().to(torch.uint8).numpy()
