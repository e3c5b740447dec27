"""The micro recipes of three families are comparable: they differ in the model alone."""

from __future__ import annotations

from dataclasses import replace

from hvit import recipes


def test_the_micro_recipes_differ_in_the_model_alone() -> None:
    for data in ("cifar10", "folder"):
        nest, mvitv2, hiera = (recipes.get_recipe(f"{family}_micro_{data}") for family in ("nest", "mvitv2", "hiera"))
        for recipe in (mvitv2, hiera):
            assert replace(recipe, name=nest.name, summary=nest.summary, model=nest.model) == nest
            assert recipe.model.input_size == nest.model.input_size
