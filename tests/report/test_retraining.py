"""The command on a model card trains the same recipe, and names no path of its owner's machine."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from hvit.cli.main import main
from hvit.data.augment_settings import AugmentConfig
from hvit.data.images.folders import FolderData
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.report.retraining import retraining_command, without_paths


def test_the_command_on_the_card_is_the_same_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = get_recipe("nest_micro_folder")
    recipe = replace(
        usual, seed=7, data=FolderData(root="/home/anna/photos", val_fraction=0.3), crop=0.9,
        augment=AugmentConfig(flip=0.1), optimize=replace(usual.optimize, betas=(0.8, 0.9)),
        loop=replace(usual.loop, epochs=3, channels_last=not usual.loop.channels_last),
    )  # fmt: skip
    words = shlex.split(retraining_command(recipe))
    assert words[:3] == ["hvit", "train", "nest_micro_folder"]
    assert "YOUR_ROOT" in words
    seen: list[Recipe] = []
    monkeypatch.setattr("hvit.verbs.train.plan", lambda one: seen.append(one) or {"plan": "none"})
    main([*words[1:], "--dry-run"])
    (again,) = seen
    assert replace(again, data=replace(again.data, root="/home/anna/photos"), model=recipe.model) == recipe
    assert replace(again.model, num_classes=recipe.model.num_classes) == recipe.model


def test_the_command_of_a_probe_names_what_it_starts_from() -> None:
    photos = replace(get_recipe("photos"), data=FolderData(root="/home/anna/photos"))
    started = replace(photos, weights="teacher", crop=0.9, interpolation="bicubic")
    assert retraining_command(started) == "hvit train photos --data.root YOUR_ROOT --weights teacher"
    probe = replace(started, name="probe", weights="/home/anna/encoder.safetensors")
    assert retraining_command(probe) == "hvit probe YOUR_WEIGHTS --root YOUR_ROOT"


def test_paths_of_the_machine_are_taken_out_and_nothing_else() -> None:
    assert without_paths("from /home/anna/x y.pth, then") == "from … y.pth, then"
    assert without_paths({"root": "C:\\Users\\anna", "more": ["~/photos", "runs/x", 3]}) == {
        "root": "…", "more": ["…", "runs/x", 3],
    }  # fmt: skip
    for text in ("https://huggingface.co/anna/x", "1 / 2", "timm/nest", "hf:anna/x@main", "and/or", "12 images/s"):
        assert without_paths(text) == text
