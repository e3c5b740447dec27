"""Images of more than 8 bits a channel are read from black to white by one stated rule, in training and afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from hvit.data.grey import GreyRange
from hvit.data.images.reading import read_image
from hvit.data.open import ClipData, FolderData
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.recipe import read_recipe, write_recipe
from hvit.recipes import get_recipe
from hvit.runs.kinds import kind_of
from hvit.training.distribute import processes
from hvit.verbs import train
from tests.data.deep_files import FILES, grey, page, scaled, tiff


@pytest.mark.parametrize(
    ("rule", "white"), [("full", 65535), ((0.0, 8190.0), 8190), ((1000, 2000), 2000), ("percentile", 4095)]
)
def test_the_range_can_be_chosen(tmp_path: Path, rule: GreyRange, white: float) -> None:
    file = FILES["12 bits in 16"](tmp_path / "ramp.tif")
    black = 1000 if rule == (1000, 2000) else 0
    wanted = np.clip((scaled(4095, "f8") - black) / (white - black), 0, 1) * 255
    assert np.abs(grey(file, rule) - wanted).max() < (2 if rule == "percentile" else 0.51)


def test_full_refuses_what_it_does_not_hold(tmp_path: Path) -> None:
    for name in ("signed 16, both", "real, beyond", "32 bits, all"):
        with pytest.raises(UserError, match="its grey values reach from"):
            grey(FILES[name](tmp_path / "ramp.tif"), "full")


@pytest.mark.parametrize("rule", ["auto", "full", "percentile", (0.0, 1.0)])
def test_pixels_that_are_no_numbers_are_black_and_infinite_ones_saturate(tmp_path: Path, rule: GreyRange) -> None:
    values = np.linspace(0, 1, 40, dtype="<f4").reshape(4, 10)
    values[0, :3] = np.nan, np.inf, -np.inf
    values[1, 0] = 0.0
    pixels = grey(tiff(tmp_path / "nan.tif", [page(values, 32, format=3)]), rule)
    assert pixels[0, :3].tolist() == [0, 255, 0]
    assert pixels[-1, -1] == 255
    values[:] = np.nan
    assert not grey(tiff(tmp_path / "nan.tif", [page(values, 32, format=3)]), rule).any()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_any_frame_of_an_animation_can_be_chosen(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), (0, 100 * number, 0)) for number in range(3)]
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    greens = [np.asarray(read_image(tmp_path / f"a.{suffix}", page=number))[0, 0, 1] for number in (None, 1, 2, 3)]
    assert greens == [0, 0, 100, 200]
    with pytest.raises(UserError, match="fewer than 4 pages"):
        read_image(tmp_path / f"a.{suffix}", page=4)
    frames[0].save(tmp_path / f"one.{suffix}")
    assert np.asarray(read_image(tmp_path / f"one.{suffix}", page=3))[0, 0, 1] == 0


@pytest.mark.parametrize("config", [FolderData, ClipData])
@pytest.mark.parametrize(
    ("typed", "value"),
    [(["auto"], "auto"), (["full"], "full"), (["percentile"], "percentile"), (["0", "4095"], (0.0, 4095.0)),
     (["-1000", "2000.5"], (-1000.0, 2000.5))],
)  # fmt: skip
def test_the_field_is_typed_in_words_or_two_numbers_and_survives_json(
    config: Any, typed: list[str], value: Any
) -> None:
    parsed = tyro.cli(config, args=["--grey-range", *typed])
    assert parsed.grey_range == value
    kinds = TypeAdapter(config, config=None)
    assert kinds.validate_json(json.dumps(asdict(parsed)), strict=True) == parsed
    preprocess = Preprocess((8, 8), (0.5,), (0.5,), grey_range=value, page=2)
    assert Preprocess(**json.loads(json.dumps(asdict(preprocess)))) == preprocess


def test_json_with_another_range_is_refused() -> None:
    for wrong in ('"dark"', "[1]", "[1, 2, 3]", '["0", "4095"]', "[0, true]", "12", "null"):
        with pytest.raises((ValidationError, UserError)):
            TypeAdapter(FolderData).validate_json(f'{{"grey_range": {wrong}}}', strict=True)


@pytest.mark.parametrize("wrong", ["dark", (1,), (2, 1), (0, float("nan")), (0, float("inf")), 12, None, ("0", "1")])
def test_impossible_ranges_are_refused(wrong: Any) -> None:
    for make in (lambda: FolderData(grey_range=wrong), lambda: Preprocess((8, 8), (0.5,), (0.5,), grey_range=wrong)):
        with pytest.raises(UserError, match="grey_range must be auto, full, percentile, or two numbers"):
            make()
    with pytest.raises(UserError, match="page must be"):
        FolderData(page=0)


def test_a_recipe_from_before_the_field_reads_its_files_as_it_did(tmp_path: Path) -> None:
    for name in ("nest_micro_folder", "hiera_micro_mae_clips"):
        recipe = get_recipe(name)
        write_recipe(recipe, tmp_path)
        assert read_recipe(tmp_path) == recipe
        chosen = replace(recipe, data=replace(recipe.data, grey_range=(0.0, 4095.0), page=2))  # pyright: ignore
        write_recipe(chosen, tmp_path)
        assert read_recipe(tmp_path) == chosen
        fields = json.loads((tmp_path / "recipe.json").read_text())
        del fields["data"]["grey_range"], fields["data"]["page"]
        (tmp_path / "recipe.json").write_text(json.dumps(fields))
        assert read_recipe(tmp_path).data == replace(recipe.data, grey_range="full", page=1)  # pyright: ignore
    assert Preprocess((8, 8), (0.5,), (0.5,)).grey_range == "full"


def test_a_run_passes_its_range_and_page_on_to_its_weights(deep_folder: Path) -> None:
    recipe = get_recipe("nest_micro_folder")
    recipe = replace(recipe, data=FolderData(root=str(deep_folder), page=1))
    with processes("cpu") as ranks:
        preprocess = train.prepare(recipe, kind_of(recipe.model), ranks).preprocess
    assert (preprocess.grey_range, preprocess.page) == ((0.0, 4095.0), 1)
