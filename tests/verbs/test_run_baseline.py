"""Claims about what a run folder says of removed blocks: the mean training image, and masked pretraining."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hvit
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.errors import UserError
from hvit.models.build import build
from hvit.models.weights.save import save_weights
from hvit.recipe import read_recipe, write_recipe
from hvit.recipes import get_recipe
from hvit.verbs.classifier import Classifier, open_classifier
from hvit.verbs.run_baseline import training_mean, usual_absent


@pytest.fixture
def hiera_run(tmp_path: Path, photo_folder: Path) -> Path:
    """What is left of a run of a small Hiera on a folder of two classes."""
    recipe = get_recipe("hiera_micro_folder")
    model = replace(recipe.model, dims=(8, 16, 32), heads=(1, 1, 1), depths=(1, 1, 1), num_classes=2)
    torch.manual_seed(0)
    folder = tmp_path / "run"
    folder.mkdir()
    size, third = model.input_size, (1 / 3,) * 3
    preprocess = {"input_size": size, "mean": third, "std": third, "crop": 1.0, "interpolation": "bilinear"}
    save_weights(build(model), folder / "weights.safetensors", classes=("blue", "red"),
                 preprocess=preprocess)  # fmt: skip
    write_recipe(replace(recipe, model=model, data=FolderData(root=str(photo_folder))), folder)
    return folder


def test_the_baseline_dataset_is_the_mean_of_the_training_images(hiera_run: Path) -> None:
    classifier, recipe = open_classifier(hiera_run, "cpu"), read_recipe(hiera_run)
    baseline = training_mean(hiera_run, classifier)
    images = open_data(recipe.data, recipe.seed, 3).train
    every = torch.stack([classifier.preprocess.tensor(images.read(one, one)[0]) for one in range(len(images))])
    assert torch.allclose(baseline.image, every.mean(0), atol=1e-6)
    image = every[:1]
    tree = hvit.explain.block_shapley(classifier.model, image, 0, depth=1, baseline=baseline)[0][0]
    assert tree.removal
    assert tree.removal.baseline == "the mean training image"
    with torch.inference_mode():
        assert tree.removal.before.logit == pytest.approx(float(classifier.model(baseline.image[None])[0, 0]), abs=1e-6)
    with pytest.raises(UserError, match="no run folder: give the folder of the run, or another baseline"):
        training_mean(hiera_run / "weights.safetensors", classifier)


def test_blocks_are_removed_from_a_model_that_began_with_masked_pretraining(hiera_run: Path, tmp_path: Path) -> None:
    classifier, recipe = open_classifier(hiera_run, "cpu"), read_recipe(hiera_run)
    assert usual_absent(hiera_run, classifier) == "exchanged"
    for name, expected in (("hiera_micro_32", "exchanged"), ("mae_hiera_micro_32", "removed")):
        weights = tmp_path / f"{name}.safetensors"
        save_weights(hvit.create_model(name), weights)
        write_recipe(replace(recipe, weights=str(weights)), hiera_run)
        assert usual_absent(hiera_run, classifier) == expected
    weights.unlink()
    assert usual_absent(hiera_run, classifier) == "exchanged"
    nest: Classifier = replace(classifier, model=hvit.create_model("nest_micro_32"))  # pyright: ignore
    assert usual_absent(hiera_run, nest) == "exchanged"
