"""Import paths of older versions still work, with a warning that names the new place."""

from __future__ import annotations

import re
import warnings
from importlib import import_module

import pytest

from hvit.moved import NEW_PLACES
from hvit.recipes import get_recipe


def public_name(place: str) -> str:
    """A name that a module defines itself."""
    module = import_module(f"hvit.{place}")
    return next(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


@pytest.mark.parametrize("old", [old for old, places in NEW_PLACES.items() if old not in places])
def test_every_name_of_a_module_that_has_moved_is_found_with_a_warning(old: str) -> None:
    for place in NEW_PLACES[old]:
        if (old, place) == ("cli", "cli.main"):
            continue  # a module of the package that has the old name now
        name = public_name(place)
        with pytest.warns(DeprecationWarning, match=f"{re.escape(name)} is now hvit."):
            found = getattr(import_module(f"hvit.{old}"), name)
        assert found is getattr(import_module(f"hvit.{place}"), name)


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("hvit.no_such_module")


@pytest.mark.parametrize(
    ("module", "name"),
    [("classify", "nest_tiny_cifar10"), ("video", "mvit_base_k400"), ("pretrain", "hiera_huge_imagenet_mae")],
)
def test_old_functions_of_recipes_return_them(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"get_recipe\\('{name}'\\)"):
        assert getattr(import_module(f"hvit.recipes.{module}"), name)() == get_recipe(name)
    with pytest.raises(AttributeError):
        import_module(f"hvit.recipes.{module}").no_such_recipe  # noqa: B018


def test_what_an_old_module_never_had_is_refused_like_anywhere() -> None:
    with pytest.raises(AttributeError, match=r"hvit\.models\.nest"):
        import_module("hvit.models.nest").no_such_name  # noqa: B018
    with pytest.raises(ImportError):
        exec("from hvit.models.translate import no_such_name")


def test_an_old_module_takes_no_name_away_from_its_package() -> None:
    import hvit.explain

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = import_module("hvit.explain.gradcat")
        assert old.gradcat_batch is hvit.explain.gradcat_batch
    assert callable(hvit.explain.gradcat)
