"""A run that several verbs are asked about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit.data.images.folders import FolderData
from hvit.recipes import get_recipe
from hvit.verbs.train import train


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A run on a folder of two classes."""
    folder = tmp_path_factory.mktemp("run") / "colours"
    recipe = get_recipe("nest_micro_folder")
    loop = replace(recipe.loop, epochs=1, batch_size=4, workers=0, device="cpu")
    train(replace(recipe, data=FolderData(root=str(photo_folder)), loop=loop), folder)
    return folder
