"""Every recipe builds, says what it is, round-trips through JSON and shrinks to two steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hvit import recipes
from hvit.cli.main import main
from hvit.data.images.digits import DigitsData
from hvit.data.images.folders import FolderData
from hvit.data.open import CifarData, ClipData, FashionData, MovingDigitsData
from hvit.errors import UserError
from hvit.models.build import build, build_empty, count_parameters
from hvit.models.gan.config import GanConfig
from hvit.models.masked.config import MaskedConfig
from hvit.models.probe import ProbeConfig
from hvit.models.weights.save import save_weights
from hvit.recipe import Recipe, read_recipe, with_classes_of_the_data, write_recipe
from hvit.runs.generation import Generation
from hvit.runs.kinds import kind_of
from hvit.tasks import generate
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


GENERATION = [name for name in recipes.list_recipes() if isinstance(recipes.get_recipe(name).model, GanConfig)]
PROBES = [name for name in recipes.list_recipes() if isinstance(recipes.get_recipe(name).model, ProbeConfig)]
"""Recipes without steps; tests/runs/test_probing.py runs them."""


def one_per_kind(names: list[str]) -> list[object]:
    """The recipes, slow where an earlier one is of the same builder, kind of data and family."""
    seen: set[tuple[object, ...]] = set()
    marked: list[object] = []
    for name in names:
        recipe, is_micro = recipes.get_recipe(name), "micro" in name
        whole = recipe.model
        network = whole.generator if isinstance(whole, GanConfig) else whole
        builder = type(whole).__name__ if isinstance(whole, (GanConfig, MaskedConfig)) or not is_micro else "classifier"
        sampling = getattr(recipe.data, "sampling", "")
        kinds = {(builder, is_micro, type(recipe.data), sampling, recipe.weights is None), (type(network),)}
        marked.append(name if kinds - seen else pytest.param(name, marks=pytest.mark.slow))
        seen |= kinds
    return marked


DRAWN = ("nest_micro_digits", "mvitv2_micro_cifar10", "hiera_micro_mae_cifar10", "hiera_micro_actions")
"""Recipes whose pictures and page are drawn, too."""


def leave_out(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes functions do nothing where a module of runs or verbs has imported them."""
    modules = [module for name, module in sys.modules.items() if name.startswith(("hvit.runs", "hvit.verbs"))]
    for name in names:
        places = [place for place in modules if name in vars(place) and vars(place)[name].__module__ != place.__name__]
        assert places, f"nothing imports {name}"
        for place in places:
            monkeypatch.setattr(place, name, lambda *_, **__: None)


TRAINED = [name for name in recipes.list_recipes() if name not in (*GENERATION, *PROBES)]


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
    loop = replace(recipe.loop, batch_size=max(2, recipe.loop.repeats), max_steps=2, workers=0, epochs=1, device="cpu")
    scores = train.train(replace(recipe, model=model, data=data, loop=loop, weights=weights), tmp_path / "run")
    assert 0.0 <= scores["nearest_neighbours" if isinstance(whole, MaskedConfig) else "top1"] <= 1.0
    assert not isinstance(whole, MaskedConfig) or (tmp_path / "run/pictures/reconstructions.png").stat().st_size > 5_000
    if takes_clips and not isinstance(whole, MaskedConfig):
        assert len((tmp_path / "run" / "clips.jsonl").read_text().splitlines()) == scores["count"]
        assert scores["views"] == [data.temporal_views, 1] if isinstance(data, ClipData) else [1, 1]
    assert not is_drawn or (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", one_per_kind(GENERATION))
def test_a_recipe_of_generation_shrinks_to_two_steps(
    name: str, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pictures and page are tested in test_generation.py, and take longer than the two steps.
    leave_out(monkeypatch, "save_in_both_themes", "write_report")
    monkeypatch.setattr(Generation, "finish", lambda *_: None)
    monkeypatch.setattr(generate, "keep_samples", lambda *_, **__: None)
    recipe = recipes.get_recipe(name)
    game = recipe.model
    assert isinstance(game, GanConfig)
    dims = (8,) * len(game.generator.dims)
    heads = {"heads": (1,) * len(dims), "depths": (1,) * len(dims)} if hasattr(game.generator, "heads") else {}
    generator = replace(game.generator, dims=dims, latent_dim=8, **heads)
    discriminator = replace(game.discriminator, dims=(4,) * len(game.discriminator.dims))
    data = recipe.data if isinstance(recipe.data, DigitsData) else FolderData(root=str(photo_folder), labels="auto")
    loop = replace(recipe.loop, batch_size=4, max_steps=2, workers=0, epochs=1, device="cpu")
    small = replace(game, generator=generator, discriminator=discriminator)
    scores = train.train(replace(recipe, model=small, data=data, loop=loop), tmp_path / "run")
    assert scores["distance"] > 0
    assert scores["split"] == game.reference.replace("_", " ")
    assert (tmp_path / "run/weights.safetensors").exists()


def test_the_baselines_of_generation_differ_in_the_generator_alone() -> None:
    for size in ("digits_32", "micro_cifar10", "cifar10_32", "imagenet_64"):
        nest, conv = (recipes.get_recipe(f"{kind}_gan_{size}") for kind in ("nest", "conv"))
        assert isinstance(nest.model, GanConfig)
        model = replace(conv.model, generator=nest.model.generator)
        assert replace(conv, name=nest.name, summary=nest.summary, model=model) == nest
        # With the published pixel shuffle NesT has as many parameters as its baseline; a convolution adds some.
        published = replace(nest.model.generator, deaggregation="pixel_shuffle")
        counts = [count_parameters(build_empty(one)) for one in (published, conv.model.generator)]
        assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_published_recipes_say_where_they_depart_from_their_source() -> None:
    """And only they: our own have none."""
    ours = [name for name in recipes.list_recipes() if recipes.header(name).source.startswith("ours")]
    for name in recipes.list_recipes():
        assert bool(recipes.header(name).departures) == (name not in ours or name == "conv_gan_imagenet_64"), name
    assert len(ours) < 30


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


def test_the_micro_recipes_differ_in_the_model_alone() -> None:
    for data in ("cifar10", "folder"):
        nest, mvitv2, hiera = (recipes.get_recipe(f"{family}_micro_{data}") for family in ("nest", "mvitv2", "hiera"))
        for recipe in (mvitv2, hiera):
            assert replace(recipe, name=nest.name, summary=nest.summary, model=nest.model) == nest
            assert recipe.model.input_size == nest.model.input_size


def test_an_unknown_recipe_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match="nest_micro_digits"):
        recipes.get_recipe("nest_micro_digit")


@pytest.mark.parametrize("weights", ["nowhere", "a" * 10_000, "a\0b"])
def test_a_run_whose_first_weights_are_nowhere_is_refused_in_one_sentence(weights: str) -> None:
    recipe = replace(recipes.get_recipe("nest_micro_digits"), weights=weights)
    with pytest.raises(UserError, match="there is no weights file"):
        train.new_model(recipe, kind_of(recipe.model))
