"""A recipe's header agrees with the recipe, and its command is understood."""

from __future__ import annotations

import pytest

from hvit import recipes
from hvit.cli.main import main
from hvit.data.images.digits import DigitsData
from hvit.data.open import MovingDigitsData
from hvit.recipe import Recipe
from hvit.verbs import train


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_and_its_header_agree(name: str) -> None:
    recipe, header = recipes.get_recipe(name), recipes.header(name)
    assert recipe.name == name
    assert name in header.command.split()
    assert header.summary == recipe.summary
    assert all(value for key, value in vars(header).items() if key != "departures")
    assert not any(mark in value for value in vars(header).values() for mark in ("{", "}", "  ", "None"))
    needs_data = not isinstance(recipe.data, (DigitsData, MovingDigitsData))
    assert ("--data.root DIR" in header.command) == needs_data
    assert ("--weights" in header.command) == (recipe.weights is not None)
    if header.cost.startswith("not measured; ") and " epochs of " in header.cost:
        assert header.cost.split()[2] == f"{recipe.loop.epochs:,}"


COMMANDS = {recipes.header(name).command.replace(name, ""): name for name in recipes.list_recipes()}
"""A recipe for every form of command."""


class Understood(Exception):
    """Raised where training would begin."""


@pytest.mark.parametrize("name", COMMANDS.values())
def test_the_command_of_a_header_is_understood(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(recipe: Recipe, *_: object, **__: object) -> None:
        raise Understood(recipe.name)

    monkeypatch.setattr(train, "train", stop)
    words = recipes.header(name).command.split()
    with pytest.raises(Understood, match=name):
        main(words[words.index("hvit") + 1 :])


def test_published_recipes_say_where_they_depart_from_their_source() -> None:
    """And only they: our own have none."""
    ours = [name for name in recipes.list_recipes() if recipes.header(name).source.startswith("ours")]
    for name in recipes.list_recipes():
        assert bool(recipes.header(name).departures) == (name not in ours or name == "conv_gan_imagenet_64"), name
    assert len(ours) < len(recipes.list_recipes()) / 2, "most are published"
