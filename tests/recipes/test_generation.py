"""The recipes of generation train, and the baselines differ from NesT in the generator alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit import recipes
from hvit.data.images.digits import DigitsData
from hvit.data.images.folders import FolderData
from hvit.models.build import build_empty, count_parameters
from hvit.models.gan.config import GanConfig
from hvit.runs.generation import Generation
from hvit.tasks import generate
from hvit.verbs import train
from tests.recipes.kinds import leave_out, one_per_kind

GENERATION = [name for name in recipes.list_recipes() if isinstance(recipes.get_recipe(name).model, GanConfig)]


@pytest.mark.parametrize("name", one_per_kind(GENERATION))
def test_a_recipe_of_generation_shrinks_to_two_steps(
    name: str, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pictures and page are tested in test_generation.py, and take longer than the two steps.
    leave_out(monkeypatch, "save_in_both_themes", "write_report")
    monkeypatch.setattr(Generation, "finish", lambda *_: None)
    monkeypatch.setattr(generate, "keep_samples", lambda *_, **__: None)
    recipe = recipes.get_recipe(name)
    game = recipe.model
    assert isinstance(game, GanConfig)
    dims = (8,) * len(game.generator.dims)
    heads = {"heads": (1,) * len(dims), "depths": (1,) * len(dims)} if hasattr(game.generator, "heads") else {}
    generator = replace(game.generator, dims=dims, latent_dim=8, **heads)
    discriminator = replace(game.discriminator, dims=(4,) * len(game.discriminator.dims))
    data = recipe.data if isinstance(recipe.data, DigitsData) else FolderData(root=str(photo_folder), labels="auto")
    loop = replace(recipe.loop, batch_size=4, max_steps=2, workers=0, epochs=1, device="cpu")
    small = replace(game, generator=generator, discriminator=discriminator)
    scores = train.train(replace(recipe, model=small, data=data, loop=loop), tmp_path / "run")
    assert scores["distance"] > 0
    assert scores["split"] == game.reference.replace("_", " ")
    assert (tmp_path / "run/weights.safetensors").exists()


def test_the_baselines_of_generation_differ_in_the_generator_alone() -> None:
    for size in ("digits_32", "micro_cifar10", "cifar10_32", "imagenet_64"):
        nest, conv = (recipes.get_recipe(f"{kind}_gan_{size}") for kind in ("nest", "conv"))
        assert isinstance(nest.model, GanConfig)
        model = replace(conv.model, generator=nest.model.generator)
        assert replace(conv, name=nest.name, summary=nest.summary, model=model) == nest
        # With the published pixel shuffle NesT has as many parameters as its baseline; a convolution adds some.
        published = replace(nest.model.generator, deaggregation="pixel_shuffle")
        counts = [count_parameters(build_empty(one)) for one in (published, conv.model.generator)]
        assert counts[1] == pytest.approx(counts[0], rel=0.01)
