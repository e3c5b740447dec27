"""Runs of generation from data to page, and samples on demand: what is promised of them holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hvit.cli.printing import notes
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import build
from hvit.models.gan.config import build_generator
from hvit.models.gan.sampling import draw_latents, generate_images, to_bytes
from hvit.models.nest.config import NestConfig
from hvit.models.weights.save import save_weights
from hvit.progress import FilesDone
from hvit.recipe import read_recipe, write_recipe
from hvit.runs.kinds import kind_of
from hvit.training.journal import read_journal
from hvit.verbs import evaluate, generate, train
from hvit.verbs.generate import Sampler
from tests.verbs.small_generator import NEST, RECIPE, pixels

ON_THE_COMMAND_LINE = [
    *("--data.canvas", "8", "--model.r1-weight", "1", "--model.r1-every", "4", "--loop.epochs", "2"),
    *("--model.generator.output-size", "8", "8", "--model.generator.latent-dim", "6", "--model.generator.dims", "16"),
    *("8", "--model.generator.heads", "2", "1", "--model.generator.depths", "1", "1", "--loop.batch-size", "256"),
    *("--model.discriminator.input-size", "8", "8", "--model.discriminator.dims", "4", "8", "--loop.workers", "0"),
    *("--optimize.learning-rate-per-256", "8e-3", "--optimize.final-learning-rate-per-256", "8e-3"),
    *("--optimize.average-decay", "0.9", "--loop.checkpoint-steps", "3", "--loop.device", "cpu"),
    *("--loop.evaluate-every", "1"),
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps on 8 x 8 digits, evaluated with an untrained classifier of them."""
    root = tmp_path_factory.mktemp("generation")
    torch.manual_seed(0)
    config = NestConfig(
        input_size=(8, 8), in_channels=1, num_classes=10, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1)
    )
    preprocess = asdict(Preprocess((8, 8), (0.3,), (0.3,), 1.0))
    save_weights(build(config), root / "extractor.safetensors", classes=tuple("0123456789"), preprocess=preprocess)
    recipe = replace(RECIPE, model=replace(RECIPE.model, extractor=str(root / "extractor.safetensors")))
    train.train(recipe, root / "run")
    return root / "run"


def sampler(num_classes: int = 3, names: tuple[str, ...] = ("red", "green", "blue")) -> Sampler:
    torch.manual_seed(0)
    return Sampler(build_generator(replace(NEST, num_classes=num_classes)), "small", names)


def test_a_run_leaves_samples_interpolations_neighbours_scores_and_its_page(digits_run: Path) -> None:
    names = {path.stem for path in (digits_run / "pictures").glob("*.png")}
    assert names == {"training_images", "samples", "samples_over_time", "interpolation", "neighbours"}
    assert [path.name for path in sorted((digits_run / "samples").iterdir())] == [
        "step_000000005.png",
        "step_000000010.png",
    ]
    scores = json.loads((digits_run / "scores.json").read_text())
    assert scores["measure"] == "Frechet distance in custom nest features"
    assert 0 <= scores["recognised"] <= 1
    assert scores["memorisation"].keys() == {"sample_to_training", "held_out_to_training"}
    whole = build_generator(replace(NEST, num_classes=10))
    assert scores["model"]["parameters"] == sum(parameter.numel() for parameter in whole.parameters())
    page = (digits_run / "report.html").read_text(encoding="utf-8")
    for words in ("Samples", "Training", "Memorisation", "Frechet distance in custom nest features"):
        assert words in page
    for words in ("Held-out accuracy", "What it gets right", "Why it decides", "FID"):
        assert words not in page


def test_the_journal_has_the_loss_of_every_phase_and_all_scores(digits_run: Path) -> None:
    rows = read_journal(digits_run / "journal.jsonl")
    first, second = (row for row in rows if row["kind"] == "train")
    for row in (first, second):
        assert row["loss"] == row["discriminate_loss"]
        assert row["generate_loss"] > 0
    assert first["penalise_loss"] > 0
    reported = [row for row in rows if row["kind"] == "evaluate"]
    assert [row["step"] for row in reported] == [5, 10]
    assert {"distance", "precision", "recall", "diversity", "distinctness", "recognised"} <= reported[0].keys()


def test_what_goes_wrong_is_told_at_once_and_stays_in_journal_and_page(
    tmp_path: Path, hvit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvit.tasks.generate._LEAST_DIVERSITY", 100.0)
    fields = [*ON_THE_COMMAND_LINE, "--loop.max-steps", "1"]
    status, out, err = hvit("train", "nest_gan_digits_32", *fields, "--out", "run")
    assert status == 0
    for reported in (err, out):  # while it learns, and at the end
        assert reported.count("warning: the generated images are nearly all alike") == 1
    (row,) = (row for row in read_journal(tmp_path / "run" / "journal.jsonl") if row["kind"] == "evaluate")
    assert row["collapsed"]
    assert "nearly all alike" in row["warning"]
    assert "Warning: the generated images are nearly all alike" in (tmp_path / "run" / "report.html").read_text()


def test_evaluating_a_run_gives_the_scores_that_it_ended_with(hvit: Run, digits_run: Path) -> None:
    ended = json.loads((digits_run / "scores.json").read_text())
    status, out, _ = hvit("evaluate", digits_run, "--json", "--device", "cpu")
    assert status == 0
    scores = json.loads(out)
    for name in ("distance", "distance_of_halves", "precision", "recall", "diversity", "distinctness", "recognised"):
        assert scores[name] == pytest.approx(ended[name], rel=1e-4), name
    _, out, _ = hvit("evaluate", digits_run, "--device", "cpu")
    assert f"Frechet distance in custom nest features: {scores['distance']:.3g} from 450 held-out images" in out
    assert "between halves of the real ones" in out
    assert f"kernel distance in custom nest features: {scores['kernel_distance']:.3g} from held-out images" in out
    assert f"recognised as the class that was asked for: {100 * scores['recognised']:.1f} %" in out


def test_generators_are_scored_with_the_data_of_their_run_alone(digits_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        evaluate.evaluate(digits_run / "weights.safetensors")
    with pytest.raises(UserError, match="was trained on digits"):
        evaluate.evaluate(digits_run, "cifar10", "cifar")
    (tmp_path / "weights.safetensors").write_bytes((digits_run / "weights.safetensors").read_bytes())
    write_recipe(replace(RECIPE, model=replace(RECIPE.model, generator=replace(NEST, depths=(2, 1)))), tmp_path)
    with pytest.raises(UserError, match=r"not those of its recipe\.json"):
        evaluate.evaluate(tmp_path)


def test_generate_writes_a_grid_and_interpolations_enlarged_by_whole_pixels(hvit: Run, digits_run: Path) -> None:
    status, out, _ = hvit("generate", digits_run, "--num", "20", "--interpolations", "3", "--out", "made")
    assert status == 0
    assert "20 samples of 8 x 8 by custom nest_generator, seed 0, of 0, 1, 2" in out
    grid, rows = pixels("made/samples.png"), pixels("made/interpolations.png")
    assert grid.shape == (2 * 66 - 2, 10 * 66 - 2), "two rows of ten classes, two pixels between samples"
    assert rows.shape == (3 * 66 - 2, 8 * 66 - 2)
    last = grid[-64:, -64:]
    assert (last == last[::8, ::8].repeat(8, 0).repeat(8, 1)).all(), "every pixel is eight times as large"
    assert (grid[64:66] == 96).all()
    assert sorted(path.name for path in Path("made").iterdir()) == ["interpolations.png", "samples.png"]
    assert str(Path("made/interpolations.png")) in out


def test_each_sample_is_a_file_in_its_true_size_and_json_tells_its_class(hvit: Run, digits_run: Path) -> None:
    fields = ["--num", "5", "--classes", "3", "8", "--each", "--interpolations", "0", "--json", "--seed", "4"]
    status, out, _ = hvit("generate", digits_run, *fields)
    assert status == 0
    reported = json.loads(out)
    assert (reported["seed"], reported["count"], reported["interpolations"]) == (4, 5, None)
    assert reported["classes"] == ["3", "8", "3", "8", "3"]
    assert [Path(name).name for name in reported["files"]] == [f"sample_{number:04d}.png" for number in range(1, 6)]
    grid = pixels(reported["samples"])
    for number, name in enumerate(reported["files"]):
        assert pixels(name).shape == (8, 8)
        assert (pixels(name) == grid[:64:8, number * 66 : number * 66 + 64 : 8]).all()
    assert not Path("generated/interpolations.png").exists()


def test_the_same_seed_gives_the_same_samples_however_many_are_asked_for(hvit: Run, digits_run: Path) -> None:
    for name, fields in (
        ("few", ["--num", "3"]),
        ("many", ["--num", "40"]),
        ("other", ["--num", "3", "--seed", "1"]),
    ):
        hvit("generate", digits_run, *fields, "--each", "--interpolations", "1", "--out", name)
    for number in (1, 2, 3):
        file = f"sample_{number:04d}.png"
        assert Path("few", file).read_bytes() == Path("many", file).read_bytes() != Path("other", file).read_bytes()
    assert Path("few/interpolations.png").read_bytes() == Path("many/interpolations.png").read_bytes()
    assert len(list(Path("many").glob("sample_*.png"))) == 40


def test_samples_are_of_the_class_that_was_asked_for_by_name_or_number() -> None:
    one = sampler()
    assert one.class_numbers(["blue", "0", "2"]) == [2, 0, 2]
    assert one.class_numbers([]) == [0, 1, 2]
    numbered = sampler(names=("1", "2", "0"))
    assert numbered.class_numbers(["0", "#0", "1"]) == [2, 0, 0], "a number is a name where names are numbers"
    latents = torch.cat([draw_latents(one.generator.config, 1, 7, "sample", place) for place in range(5)])
    for classes in ([2], [1, 0]):
        labels = torch.tensor([classes[place % len(classes)] for place in range(5)])
        expected = to_bytes(generate_images(one.generator, latents, labels)).astype(int)
        made = np.stack(list(one.samples(5, 7, classes)))
        assert np.abs(made - expected).max() <= 1
        other = np.stack(list(one.samples(5, 7, [(label + 1) % 3 for label in classes])))
        assert np.abs(made - other.astype(int)).max() > 5


def test_an_interpolation_has_one_class_and_changes_step_by_step() -> None:
    one = sampler()
    rows = np.stack(list(one.interpolations(2, 0, [1, 2]))).astype(int).reshape(2, 8, -1)
    for row, label in enumerate((1, 2)):
        first, last = draw_latents(one.generator.config, 2, 0, "walk", row)
        ends = to_bytes(generate_images(one.generator, torch.stack([first, last]), torch.tensor([label] * 2))).reshape(
            2, -1
        )
        assert np.abs(rows[row, [0, -1]] - ends).max() <= 1
        steps = np.abs(np.diff(rows[row], axis=0)).mean(axis=1)
        assert steps.max() < np.abs(rows[row, 0] - rows[row, -1]).mean()


def test_what_makes_no_images_is_refused(hvit: Run, digits_run: Path, tmp_path: Path) -> None:
    save_weights(build_generator(replace(NEST, out_channels=2)), tmp_path / "two.safetensors")
    broken = build_generator(NEST)
    with torch.no_grad():
        next(broken.parameters()).fill_(3e38)  # images of such weights overflow
    save_weights(broken, tmp_path / "broken.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "file").touch()
    for arguments, sentence in (
        ((digits_run.parent / "extractor.safetensors",), "makes no images"),
        (("nowhere",), "nowhere"),
        (("two.safetensors",), "2 channels"),
        (("broken.safetensors", "--each"), "diverged"),
        (("text.safetensors",), "text.safetensors"),
        ((digits_run, "--out", "file/inside"), "cannot be written"),
    ):
        status, _, err = hvit("generate", *arguments)
        assert status == 2, arguments
        assert sentence in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "generated").exists()
    status, _, err = hvit("predict", digits_run, "file")
    assert status == 2
    assert "holds a generator, which makes images" in err


def test_of_many_single_files_the_grid_shows_the_first(
    hvit: Run, digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_MOST_PIXELS", 12 * 64 * 64)
    status, out, _ = hvit("generate", digits_run, "--num", "20", "--each", "--interpolations", "1")
    assert status == 0
    assert "(the first 12)" in out
    assert pixels("generated/samples.png").shape == (2 * 66 - 2, 10 * 66 - 2)
    assert len(list(Path("generated").glob("sample_*.png"))) == 20


def test_progress_counts_every_sample(tmp_path: Path) -> None:
    done: list[None] = []
    generate.generate(sampler(), tmp_path, 7, interpolations=0, done=lambda: done.append(None))
    assert len(done) == 7
    with FilesDone(7, notes, ("generating", "generated", "samples")) as progress:
        progress.step()
    assert progress.done == 1


@pytest.mark.usefixtures("no_pictures", "one_thread")
@pytest.mark.long
def test_a_run_of_generation_killed_in_mid_epoch_resumes_bit_for_bit(
    tmp_path: Path, train_and_kill: Callable[..., None]
) -> None:
    folder = tmp_path / "broken"
    fields = [*ON_THE_COMMAND_LINE, "--loop.epochs", "3", "--loop.evaluate-every", "3"]
    train_and_kill(folder, "nest_gan_digits_32", *fields)
    recipe = read_recipe(folder)
    train.resume(folder)
    train.train(recipe, tmp_path / "whole")
    one, other = (load_file(path / "weights.safetensors") for path in (tmp_path / "whole", folder))
    assert all(torch.equal(one[name], other[name]) for name in one)
    ends = [
        [{**row, "seconds": 0} for row in read_journal(path / "journal.jsonl") if row["kind"] == "evaluate"]
        for path in (tmp_path / "whole", folder)
    ]
    assert ends[0] == ends[1]


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures", "one_thread")
def test_two_processes_train_the_networks_that_one_trains(
    tmp_path: Path, train_in_two_processes: Callable[..., str]
) -> None:
    # Adam with a small epsilon makes as much of the rounding of small gradients as of the gradients themselves.
    fields = [*ON_THE_COMMAND_LINE, "--loop.max-steps", "5", "--optimize.epsilon", "0.1", "--loop.epochs", "1"]
    printed = train_in_two_processes(tmp_path / "two", "nest_gan_digits_32", *fields)
    assert printed.count("generated images:") == 1, "only the first process prints"
    recipe = read_recipe(tmp_path / "two")
    train.train(recipe, tmp_path / "one")
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=2e-5), name
    start = train.new_model(replace(recipe, model=recipe.model.with_classes(10)), kind_of(recipe.model))[0].state_dict()
    assert max((one[name] - start[name]).abs().max() for name in one) > 1e-3, "they have trained"
