"""A generator of 8 x 8 digits that takes no time, the recipe that trains it, and the pixels of what it makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hvit.data.images.digits import DigitsData
from hvit.models.gan.config import GanConfig
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.recipe import Recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

NEST = NestGeneratorConfig(
    output_size=(8, 8), out_channels=1, latent_dim=6, dims=(16, 8), heads=(2, 1), depths=(1, 1)
)  # fmt: skip
DISCRIMINATOR = ResidualDiscriminatorConfig(input_size=(8, 8), in_channels=1, dims=(4, 8))


RECIPE = Recipe(
    name="tiny_gan",
    summary="A test",
    model=GanConfig(NEST, DISCRIMINATOR, conditional=True, r1_weight=1.0, r1_every=4),
    data=DigitsData(canvas=8),
    optimize=OptimizeConfig(
        learning_rate_per_256=8e-3, final_learning_rate_per_256=8e-3, betas=(0.0, 0.99), weight_decay=0.0,
        warmup_epochs=0, average_decay=0.9,
    ),
    loop=LoopConfig(epochs=2, batch_size=256, checkpoint_steps=3, workers=0, device="cpu"),
)  # fmt: skip


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)
