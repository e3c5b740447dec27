"""Import paths of older versions still work, with a warning that names the new place."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest

from hvit.moved import NEW_PLACES
from hvit.recipes import get_recipe

PROGRAM = """
import importlib, json, sys, warnings
for old, name in json.loads(sys.argv[1]):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(importlib.import_module("hvit." + old), name)
    assert any(issubclass(one.category, DeprecationWarning) and name in str(one.message) for one in caught), (old, name)
try:
    importlib.import_module("hvit.no_such_module")
except ModuleNotFoundError:
    print("done")
"""


def public_name(place: str) -> str:
    """A name that a module defines itself."""
    module = import_module(f"hvit.{place}")
    return next(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def test_every_name_of_a_module_that_has_moved_is_found_with_a_warning() -> None:
    asked = [
        (old, public_name(place))
        for old, places in NEW_PLACES.items()
        for place in places
        if old not in places and not (old == "cli" and place == "cli.main")
    ]
    command = [sys.executable, "-c", PROGRAM, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "done", done.stderr[-2000:]


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
