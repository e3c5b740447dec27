"""`hvit push` prints what it publishes, and the command on the card trains the same recipe."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from hvit.cli.main import main
from hvit.data.augment_settings import AugmentConfig
from hvit.data.images.folders import FolderData
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.report.card import retraining_command


def test_a_folder_and_a_dry_run_need_no_network(
    colour_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    main(["push", str(colour_run), "anna/colours", "--dry-run"])
    printed = capsys.readouterr()
    assert "Nothing was written." in printed.out
    assert "none is stated; --license names one" in printed.err
    main(["push", str(colour_run), "anna/colours", "--folder", str(out), "--license", "mit", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert (made["licence"], set(made["files"])) == ("mit", {file.name for file in out.iterdir()})
    with pytest.raises(SystemExit) as end:
        main(["push", str(colour_run), "anna/colours", "--folder", str(out), "--dry-run"])
    assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        main(["push", str(colour_run), "colours"])
    assert end.value.code == 2
    assert "is called owner/name" in capsys.readouterr().err


def test_no_option_takes_a_token(capsys: pytest.CaptureFixture[str], colour_run: Path) -> None:
    with pytest.raises(SystemExit):
        main(["push", str(colour_run), "anna/colours", "--token", "hf_secret"])
    assert "--token" in capsys.readouterr().err


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
