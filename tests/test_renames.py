"""Old names of fields, values and options are read as their present ones, with one warning line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from hvit import renames
from hvit.bounds import leaves
from hvit.cli.generate import GenerateArguments
from hvit.models.catalogue import config_from_json, entry
from hvit.models.masked.config import MaskedConfig
from hvit.recipe import RECIPE, as_json, changed_fields, read_recipe, write_recipe
from hvit.recipes import get_recipe, list_recipes

Run = Callable[..., tuple[int, str, str]]
GAN = get_recipe("nest_gan_digits_32")


def with_old_names(folder: Path) -> Path:
    """A run folder whose recipe has an old name."""
    write_recipe(GAN, folder)
    text = (folder / RECIPE).read_text()
    assert "consistency_augment" in text
    (folder / RECIPE).write_text(text.replace("consistency_augment", "consistency_variations"))
    return folder


def test_a_recipe_with_old_names_is_read_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_recipe(with_old_names(tmp_path)) == GAN
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "consistency_variations is now consistency_augment" in said[0]


def test_an_old_name_is_no_changed_field(tmp_path: Path) -> None:
    before = json.loads((with_old_names(tmp_path) / RECIPE).read_text())
    assert changed_fields(before, GAN) == ()


def test_old_options_work_with_one_line(hvit: Run) -> None:
    status, _, err = hvit(
        "train", GAN.name, "--model.consistency-variations", "color", "--model.consistency", "-1", "--dry-run"
    )
    assert (status, err.splitlines()[0]) == (
        2,
        "hvit: --model.consistency-variations is now --model.consistency-augment",
    )
    _, _, err = hvit("generate", "nowhere", "--walks=3")
    assert err.splitlines()[0] == "hvit: --walks is now --interpolations"


def test_old_values_are_replaced_in_options_files_and_weights(hvit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(renames.VALUES, "aggregation_plane", {"picture": "image"})
    tree, replaced = renames.rename({"a": [{"aggregation_plane": "picture"}], "name": "picture"})
    assert tree == {"a": [{"aggregation_plane": "image"}], "name": "picture"}
    assert replaced == ["aggregation_plane picture is now image"]
    config = entry("nest_micro_32").config
    stored = as_json(get_recipe("nest_micro_digits"))["model"] | {"aggregation_plane": "picture"}
    assert config_from_json(json.dumps({"config": stored})).family == config.family
    options = ("--model.aggregation-plane", "picture", "--model.input-size", "30")
    _, _, err = hvit("train", "nest_micro_digits", *options, "--dry-run")
    assert err.splitlines()[0] == "hvit: --model.aggregation-plane picture is now image"


def test_masking_is_now_encoding_sparse_or_dense(hvit: Run) -> None:
    recipe = get_recipe("hiera_micro_mae_cifar10")
    stored = as_json(recipe)["model"]
    assert stored.pop("encoding") == "sparse"
    for old, present in (("keep", "sparse"), ("fill", "dense")):
        config = config_from_json(json.dumps({"config": stored | {"masking": old}}))
        assert isinstance(config, MaskedConfig)
        assert config.encoding == present
    _, _, err = hvit("train", recipe.name, "--model.masking", "fill", "--model.mask-unit", "3", "3", "--dry-run")
    assert err.splitlines()[:2] == [
        "hvit: --model.masking is now --model.encoding",
        "hvit: --model.encoding fill is now dense",
    ]


def test_both_names_at_once_are_refused_as_before() -> None:
    tree = {"consistency_variations": [], "consistency_augment": []}
    assert renames.rename(tree) == (tree, [])


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "9" * 10_000, '{"heads": 1}'])
def test_what_has_no_old_name_is_unchanged(text: str) -> None:
    assert renames.rename_json(text) == (text, [])


def test_new_names_exist_and_old_ones_do_not() -> None:
    known = {name.rpartition(".")[2] for recipe in list_recipes() for name, _ in leaves(get_recipe(recipe))}
    assert set(renames.FIELDS.values()) <= known
    assert set(renames.VALUES) <= known
    assert not set(renames.FIELDS) & known
    options = {field.name for field in fields(GenerateArguments)}
    assert set(renames.OPTIONS.values()) <= options
    assert not set(renames.OPTIONS) & options
