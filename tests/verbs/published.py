"""Small finished runs on photos, as `hvit push` takes them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from hvit.data.images.folders import FolderData
from hvit.models.build import build_network
from hvit.models.hiera.config import HieraConfig
from hvit.models.nest.config import NestConfig
from hvit.models.weights.save import save_weights
from hvit.recipe import read_recipe, write_recipe
from hvit.recipes import get_recipe
from hvit.verbs.train import train

NEST = NestConfig(
    input_size=(16, 16), in_channels=3, num_classes=None, patch_size=(2, 2), dims=(8, 16), heads=(2, 2), depths=(1, 1)
)  # fmt: skip
HIERA = HieraConfig(
    input_size=(64, 64), num_classes=2, dims=(8, 16, 32, 64), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8)
)  # fmt: skip


def photo_run(folder: Path, photos: Path) -> Path:
    """A run of one epoch of a NesT on two classes of photos."""
    recipe = get_recipe("nest_micro_folder")
    loop = replace(recipe.loop, epochs=1, batch_size=4, workers=0, device="cpu")
    train(replace(recipe, model=NEST, data=FolderData(root=str(photos)), loop=loop), folder)
    return folder


def hiera_run(folder: Path, other: Path) -> Path:
    """A run as the other one, with the weights of a Hiera that nobody trained."""
    shutil.copytree(other, folder)
    preprocess = {"input_size": [64, 64], "mean": [0.5] * 3, "std": [0.25] * 3, "crop": 1.0, "interpolation": "bicubic"}
    write_recipe(replace(read_recipe(folder), model=HIERA), folder)
    save_weights(build_network(HIERA), folder / "weights.safetensors", classes=("blue", "red"), preprocess=preprocess)
    return folder
