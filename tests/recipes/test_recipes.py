"""Every recipe builds, says what it is, round-trips through JSON and shrinks to two steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hvit import recipes
from hvit.cli.main import main
from hvit.data.images.folders import FolderData
from hvit.data.open import CifarData, ClipData, FashionData
from hvit.errors import UserError
from hvit.models.baselines import ResnetConfig
from hvit.models.build import build
from hvit.models.gan.config import GanConfig
from hvit.models.masked.config import MaskedConfig
from hvit.models.probe import ProbeConfig
from hvit.models.weights.save import save_weights
from hvit.recipe import Recipe, read_recipe, with_classes_of_the_data, write_recipe
from hvit.runs.kinds import kind_of
from hvit.verbs import train
from tests.recipes.kinds import leave_out, one_per_kind


def test_no_line_of_the_list_is_cut_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["recipes"])
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 2 * len(recipes.list_recipes())
    assert not [line for line in lines if line.endswith("…")]


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_comes_back_from_json_as_it_was(name: str, tmp_path: Path) -> None:
    recipe = recipes.get_recipe(name)
    write_recipe(recipe, tmp_path)
    assert read_recipe(tmp_path) == recipe


DRAWN = ("nest_micro_digits", "mvitv2_micro_cifar10", "hiera_micro_mae_cifar10", "hiera_micro_actions")
"""Recipes whose pictures and page are drawn, too."""


ELSEWHERE = (GanConfig, ProbeConfig)
"""Models of recipes that test_generation.py and tests/runs/test_probing.py run."""
TRAINED = [name for name in recipes.list_recipes() if not isinstance(recipes.get_recipe(name).model, ELSEWHERE)]


@pytest.mark.parametrize("name", one_per_kind(TRAINED))
def test_a_recipe_shrinks_to_two_steps(
    name: str, tmp_path: Path, photo_folder: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, is_published = with_classes_of_the_data(recipes.get_recipe(name)), "micro" not in name
    is_drawn = name in DRAWN
    if not is_drawn:  # pictures and page take longer than the two steps
        leave_out(
            monkeypatch, "save_in_both_themes", "draw_samples", "draw_mistakes", "draw_feature_map", "write_report"
        )
    whole = recipe.model
    encoder = whole.encoder if isinstance(whole, MaskedConfig) else whole
    levels = len(encoder.depths)
    dims = tuple(8 * 2**level for level in range(levels))
    heads = {"heads": (1,) * levels} if hasattr(encoder, "heads") else {}
    model = replace(encoder, depths=(1,) * levels, dims=dims, **heads)
    takes_clips = len(encoder.input_size) == 3
    if takes_clips and is_published:  # clips of full size take long, and show nothing more
        model = replace(model, input_size=(8, 64, 64))
    if isinstance(whole, MaskedConfig):
        model = replace(whole, encoder=model, decoder_depth=1, decoder_dim=8, decoder_heads=1)
    if isinstance(recipe.data, (CifarData, FashionData, FolderData)):
        data = FolderData(root=str(photo_folder))
    elif isinstance(recipe.data, ClipData):
        segments = recipe.data.sampling == "segments"
        data = ClipData(root=str(clip_folder), sampling=recipe.data.sampling, temporal_views=1 if segments else 2)
    else:
        data = replace(recipe.data, **({"num_train": 8, "num_held_out": 8} if takes_clips else {}))
    weights = None
    if recipe.weights is not None:
        weights = str(tmp_path / "start.safetensors")
        size = model.input_size if takes_clips else (224, 224)
        save_weights(build(replace(model, input_size=size, num_classes=2)), weights)  # pyright: ignore[reportArgumentType]
    distill = recipe.distill
    if distill.teachers:
        teacher = build(ResnetConfig(input_size=(32, 32), num_classes=2, dims=(8,) * 4, depths=(1,) * 4))
        save_weights(teacher, tmp_path / "teacher.safetensors")
        distill = replace(distill, teachers=(str(tmp_path / "teacher.safetensors"),))
    loop = replace(recipe.loop, batch_size=max(2, recipe.loop.repeats), max_steps=2, workers=0, epochs=1, device="cpu")
    recipe = replace(recipe, model=model, data=data, loop=loop, weights=weights, distill=distill)
    scores = train.train(recipe, tmp_path / "run")
    assert 0.0 <= scores["nearest_neighbours" if isinstance(whole, MaskedConfig) else "top1"] <= 1.0
    assert not isinstance(whole, MaskedConfig) or (tmp_path / "run/pictures/reconstructions.png").stat().st_size > 5_000
    if takes_clips and not isinstance(whole, MaskedConfig):
        assert len((tmp_path / "run" / "clips.jsonl").read_text().splitlines()) == scores["count"]
        assert scores["views"] == [data.temporal_views, 1] if isinstance(data, ClipData) else [1, 1]
    assert not is_drawn or (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["nest_micro_digits", "mvitv2_small_ssv2", "hiera_base_k400_mae"])
def test_a_recipe_json_from_before_a_field_was_added_opens_with_its_default(name: str, tmp_path: Path) -> None:
    recipe = recipes.get_recipe(name)
    write_recipe(recipe, tmp_path)
    fields = json.loads((tmp_path / "recipe.json").read_text())
    added = {
        "optimize": ("start_learning_rate_per_256", "nesterov"),
        "augment": ("side", "rand_augment_fill", "rand_augment_interpolation"),
    }
    for section, names in added.items():
        for field in names:
            del fields[section][field]
    (tmp_path / "recipe.json").write_text(json.dumps(fields))
    usual = Recipe(name="", summary="", model=recipe.model, data=recipe.data)
    defaults = {
        section: replace(
            getattr(recipe, section), **{field: getattr(getattr(usual, section), field) for field in names}
        )
        for section, names in added.items()
    }
    assert read_recipe(tmp_path) == replace(recipe, **defaults)


@pytest.mark.parametrize("work", [train.plan, lambda recipe: train.train(recipe, Path("run"))], ids=["plan", "train"])
@pytest.mark.parametrize("name", ["hiera_base_imagenet_finetune", "mvitv2_base_imagenet_384"])
def test_fine_tuning_is_refused_without_weights_instead_of_starting_from_nothing(
    name: str, work: Callable[[Recipe], object], tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = with_classes_of_the_data(recipes.get_recipe(name))
    small = replace(recipe.model, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), heads=(1, 1, 1, 1))
    with pytest.raises(UserError, match=f"no weights file .*{recipe.weights}"):
        work(replace(recipe, model=small, data=FolderData(root=str(photo_folder))))
    assert not list(tmp_path.iterdir())


def test_an_unknown_recipe_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match="nest_micro_digits"):
        recipes.get_recipe("nest_micro_digit")


@pytest.mark.parametrize("weights", ["nowhere", "a" * 10_000, "a\0b"])
def test_a_run_whose_first_weights_are_nowhere_is_refused_in_one_sentence(weights: str) -> None:
    recipe = replace(recipes.get_recipe("nest_micro_digits"), weights=weights)
    with pytest.raises(UserError, match="there is no weights file"):
        train.new_model(recipe, kind_of(recipe.model))
