"""A recipe with a model of another family, for the same data: `--model.family` in place of the recipe's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted
from hvit.models.catalogue import ModelConfig, entry, list_models
from hvit.models.timm_encoder import TimmConfig
from hvit.recipe import Recipe

FAMILIES: dict[str, type] = {kind.__dataclass_fields__["family"].default: kind for kind in get_args(ModelConfig)}
_MICRO = {"mvit": "mvitv2"}
_BOTH = ("mvit", "hiera")


def with_family(recipe: Recipe, words: Sequence[str]) -> Recipe:
    """The recipe with the model that `--model.family FAMILY` asks for, or as it is where the words ask for none.

    The model gets the input size and channels of the recipe's, and the classes of the data; of our families it is the
    small one where the recipe's is small and there is one for its input, else the family's default. Of timm,
    `--model.name` and `--model.settings` say which. Raises UserError for families that do not exist, and for recipes
    that are not of classification.
    """
    family = _value(words, "--model.family")
    before = recipe.model
    if family is None or family == before.family:
        return recipe
    if family not in FAMILIES:
        meant = did_you_mean(family, FAMILIES)
        raise UserError(f"--model.family must be one of {', '.join(FAMILIES)}; got {quoted(family)}{meant}")
    if not isinstance(before, tuple(FAMILIES.values())):
        raise UserError(
            f"--model.family {family} is for recipes of classification, and {recipe.name} has a model of the family "
            f"{before.family}"
        )
    takes_clips = len(before.input_size) == 3
    if family not in _BOTH and takes_clips != (family == "clip_baseline"):
        what = "clips" if takes_clips else "images"
        raise UserError(f"{recipe.name} trains on {what}, and the family {family} does not take them")
    given: dict[str, Any] = {"input_size": before.input_size, "in_channels": before.in_channels, "num_classes": None}
    if family == "timm":
        name = _value(words, "--model.name")
        if name is None:
            raise UserError("--model.family timm needs the model's name there, such as --model.name resnet18")
        model = TimmConfig(**given, name=name, settings=_value(words, "--model.settings") or "")
        return replace(recipe, model=model)
    if family == "clip_baseline" and (name := _value(words, "--model.name")) is not None:
        given["name"] = name
    small = _small(family, before.input_size)
    model = replace(entry(small).config, **given) if small else FAMILIES[family](**given)
    return replace(recipe, model=model)


def _small(family: str, size: tuple[int, ...]) -> str | None:
    """The small model of a family for an input size. For clips any small one, as the defaults are of images."""
    names = list_models(f"{_MICRO.get(family, family)}_micro_*")
    exact = f"{_MICRO.get(family, family)}_micro_{'x'.join(map(str, size[:-1]))}"
    return next((name for name in names if name == exact or len(size) == len(entry(name).config.input_size) == 3), None)


def _value(words: Sequence[str], option: str) -> str | None:
    """What follows an option, the last time it is given."""
    found = None
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option:
            found = value if equals else next(iter(words[place + 1 : place + 2]), None)
    return found
