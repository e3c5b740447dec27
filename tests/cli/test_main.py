"""The command line as its users meet it: verbs, help, answers, and one sentence for what cannot be used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hvit.cli.main import VERBS
from hvit.data.images.folders import FolderData
from hvit.models.build import build
from hvit.models.nest.config import NestConfig
from hvit.models.weights.save import save_weights
from hvit.recipes import get_recipe
from hvit.verbs.train import train

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A run on a folder of two classes."""
    folder = tmp_path_factory.mktemp("run") / "colours"
    recipe = get_recipe("nest_micro_folder")
    loop = replace(recipe.loop, epochs=1, batch_size=4, workers=0, device="cpu")
    train(replace(recipe, data=FolderData(root=str(photo_folder)), loop=loop), folder)
    return folder


def test_help_explains_every_verb_and_every_verb_explains_itself(hvit: Run) -> None:
    status, out, _ = hvit("--help")
    assert status == 0
    for verb in VERBS:
        assert verb in out
        status, text, _ = hvit(verb, "--help")
        assert status == 0
        assert "usage" in text


def test_train_help_lists_the_fields_of_a_recipe_with_their_sentences(hvit: Run) -> None:
    status, out, _ = hvit("train", "nest_micro_digits", "--help")
    assert status == 0
    for text in ("--model.dims", "--optimize.clip-norm", "--loop.batch-size", "--data.canvas", "Stochastic-depth"):
        assert text in out


def test_models_and_recipes_are_listed_as_tables_and_as_json(hvit: Run) -> None:
    _, table, _ = hvit("models", "nest_tiny*")
    assert "nest_tiny_224" in table
    assert "17.06 M" in table
    _, lines, _ = hvit("models", "nest_tiny_224", "--json")
    assert json.loads(lines)["parameters"] == 17_057_608
    _, lines, _ = hvit("recipes", "nest*digits", "--json")
    assert [json.loads(line)["name"] for line in lines.splitlines()] == ["nest_micro_digits"]


def test_a_dry_run_prints_the_plan_and_leaves_nothing(hvit: Run, tmp_path: Path) -> None:
    status, _, plan = hvit("train", "nest_micro_digits", "--dry-run")
    assert status == 0
    assert "568,010 parameters" in plan
    assert list(tmp_path.iterdir()) == []


def test_predict_names_the_classes_of_files_and_folders(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    status, out, _ = hvit("predict", colour_run, photo_folder, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(answers) == 12
    assert {one["class"] for one in answers[0]["classes"]} == {"red", "blue"}
    assert sum(one["probability"] for one in answers[0]["classes"]) == pytest.approx(1, abs=1e-4)
    status, out, _ = hvit("predict", colour_run / "weights.safetensors", photo_folder / "red" / "0.png", "--top-k", "1")
    assert status == 0
    assert "0.png: " in out


def test_explain_writes_pictures_and_reports_the_paths(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    picture = photo_folder / "red" / "0.png"
    other = photo_folder / "blue" / "0.png"
    status, out, _ = hvit("explain", colour_run, picture, other, "--json", "--out", "why")
    assert status == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [len(tree["path"]) for tree in answers[0]["trees"]] == [2, 2]
    assert len({name for answer in answers for name in answer["pictures"]}) == 4
    assert answers[0]["trees"][0]["paths"] == [answers[0]["trees"][0]["path"]]
    assert answers[0]["trees"][0]["removal"]["form"] == "exact for all blocks"
    assert answers[0]["trees"][0]["method"] == "block_shapley"
    page = Path("why/index.html").read_text(encoding="utf-8")
    assert page.count("0.png") >= 2
    for name in answers[0]["pictures"]:
        with Image.open(name) as drawn:
            assert drawn.width > 300
    status, out, _ = hvit("explain", colour_run, picture, "--classes", "blue", "--methods", "gradcat")
    assert status == 0
    assert "blue" in out
    assert "left" in out or "right" in out
    assert "The page: explanations/index.html" in out
    every = ("gradcat", "cam", "gradcam", "gradcam++")
    status, out, _ = hvit("explain", colour_run, picture, "--methods", *every, "--level", "-2", "--beam", "3", "--json")
    assert status == 0
    assert [len(tree["paths"]) for tree in json.loads(out)["trees"]] == [3, 3]
    status, _, err = hvit("explain", colour_run, picture, "--methods", "rollout")
    assert status == 2
    assert "this model cannot be explained by rollout; choose from block_shapley, gradcat, cam" in err


def test_evaluate_prints_a_row_for_every_class(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    status, out, _ = hvit("evaluate", colour_run)
    assert status == 0
    assert "red" in out
    assert "blue" in out
    for line in out.splitlines():
        if line.startswith(("│ red", "│ blue")):
            assert all(cell.strip() for cell in line.strip("│").split("│")), "every column of the table is filled"
    status, out, _ = hvit("evaluate", colour_run / "weights.safetensors", "--root", photo_folder, "--json")
    assert status == 0
    assert {row["name"] for row in json.loads(out)["per_class"]} == {"red", "blue"}


def test_report_writes_the_page_anew(hvit: Run, colour_run: Path) -> None:
    (colour_run / "report.html").unlink()
    status, _, _ = hvit("report", colour_run)
    assert status == 0
    assert "nest_micro_64" in (colour_run / "report.html").read_text().replace("<wbr>", "")


def test_official_flax_weights_predict_without_naming_the_model(hvit: Run, fixtures: Path, photo_folder: Path) -> None:
    weights = fixtures / "nest_flax_fixture" / "imagenet_like" / "ckpt-1.flax"
    status, out, err = hvit("predict", weights, photo_folder / "red" / "0.png", "--top-k", "2")
    assert status == 0, err
    assert "class " in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dance"], "no verb 'dance'"),
        (["train", "nest_micro_digit"], "no recipe called"),
        (["train", "--epochs", "3"], "name a recipe first"),
        (["train", "nest_micro_folder"], "--data.root"),
        (["train", "nest_micro_folder", "--data.root", "nowhere"], "nowhere"),
        (["train", "nest_micro_digits", "--model.input-size", "30", "30"], "multiples of 8"),
        (["train", "nest_micro_digits", "--loop.batch-size", "0"], "batch_size"),
        (["train", "nest_micro_digits", "--weights", "nowhere.safetensors", "--out", "x"], "nowhere.safetensors"),
        (["train", "nest_micro_digits", "--no-such-field", "1"], "no-such-field"),
        (["train", "nest_micro_digits", "--loop.epochs", "many"], "many"),
        (["resume", "nowhere"], "no run folder"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere", "photo.jpg"], "photo.jpg"),
        (["models", "inception*"], "no model matches"),
        (["recipes", "inception*"], "no recipe matches"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_2(hvit: Run, arguments: list[str], sentence: str) -> None:
    status, out, err = hvit(*arguments)
    assert status == 2
    assert sentence in " ".join((out + err).split())
    assert "Traceback" not in out + err


def test_wrong_questions_to_good_weights_are_refused(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    picture = photo_folder / "red" / "0.png"
    for arguments, sentence in (
        (["explain", colour_run, picture, "--classes", "green"], "no class 'green'"),
        (["explain", colour_run, picture, "--top-k", "9"], "four classes at most"),
        (["predict", colour_run, picture, "--top-k", "0"], "--top-k must be 1 or more"),
        (["evaluate", colour_run, "--data", "digits"], "has 2 classes"),
        (["predict", photo_folder, picture], "weights"),
    ):
        status, _, err = hvit(*arguments)
        assert status == 2, arguments
        assert sentence in err


def test_weights_that_are_no_weights_are_refused(hvit: Run, tmp_path: Path, photo_folder: Path) -> None:
    picture = photo_folder / "red" / "0.png"
    for name, content in (("empty.pth", b""), ("text.safetensors", b"hello, I am text"), ("zeros.flax", bytes(100))):
        (tmp_path / name).write_bytes(content)
        status, _, err = hvit("predict", tmp_path / name, picture)
        assert status == 2
        assert name in err


def test_bad_files_are_named_and_the_readable_ones_answered(hvit: Run, colour_run: Path, shared_data: Path) -> None:
    names = sorted(path.name for path in (shared_data / "bad_inputs").iterdir() if path.suffix != ".mp4")
    files = [shared_data / "bad_inputs" / name for name in names]
    status, out, err = hvit("predict", colour_run, *files, "--json")
    answered = {Path(json.loads(line)["file"]).name for line in out.splitlines()}
    refused = {"truncated.jpg", "zero_byte.png", "text_renamed.jpg", "corrupt_crc.png", "bomb_30000x30000.png"}
    assert status == 2
    assert answered == set(names) - refused
    assert len(err.splitlines()) == len(refused)
    assert all(any(name in line for line in err.splitlines()) for name in refused)
    status, out, err = hvit("explain", colour_run, *files, "--methods", "gradcat", "--top-k", "1", "--json")
    assert status == 2
    assert {Path(json.loads(line)["file"]).name for line in out.splitlines()} == answered
    refusals = [line for line in err.splitlines() if line.startswith("hvit: ")]  # progress may be printed, too
    assert len(refusals) == len(refused)
    assert all(any(name in line for line in refusals) for name in refused)
    page = Path("explanations/index.html").read_text(encoding="utf-8")
    assert all((name in page) == (name in answered) for name in names)


def test_of_unreadable_files_alone_no_older_page_is_refusals(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    Path("broken.jpg").write_bytes(b"")
    status, out, _ = hvit("explain", colour_run, photo_folder / "red" / "0.png")
    assert status == 0
    assert "The page: " in out
    status, out, err = hvit("explain", colour_run, "broken.jpg")
    assert status == 2
    assert "broken.jpg: the file is empty" in err
    assert "The page: " not in out


def test_a_training_folder_with_bad_files_is_reported_before_training(
    hvit: Run, photo_folder: Path, tmp_path: Path, shared_data: Path
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photo_folder, root)
    for name in ("truncated.jpg", "zero_byte.png", "cmyk.jpg", "gray_16bit.png", "exif_rotated_6.jpg"):
        shutil.copy(shared_data / "bad_inputs" / name, root / "red" / name)
    fields = ["--loop.epochs", "1", "--loop.batch-size", "4", "--loop.workers", "0", "--data.root", root]
    status, _, plan = hvit("train", "nest_micro_folder", *fields, "--out", tmp_path / "run")
    assert status == 0
    before_training = plan.split("epoch 1")[0]
    assert "truncated.jpg" in before_training
    assert "zero_byte.png" in before_training
    assert "cmyk.jpg" not in before_training
    status, _, err = hvit("train", "nest_micro_folder", *fields, "--data.unreadable", "stop", "--out", tmp_path / "b")
    assert status == 2
    assert "truncated.jpg" in err


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m hvit models --json | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=600)
    assert json.loads(done.stdout)["name"] == "nest_tiny_224"
    assert "Traceback" not in done.stderr


def test_help_answers_without_loading_torch() -> None:
    code = "import sys; from hvit import cli; cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600).returncode == 0


@pytest.mark.usefixtures("no_pictures")
def test_fine_tuning_at_another_resolution_from_the_command_line(hvit: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"patch_size": (1, 1), "dims": (8, 16), "heads": (2, 2), "depths": (1, 1)}
    start = build(NestConfig(input_size=(8, 8), in_channels=1, num_classes=10, **sizes))
    save_weights(start, tmp_path / "start.safetensors")
    fields = [
        *("--model.input-size", "16", "16", "--model.patch-size", "1", "1", "--model.dims", "8", "16"),
        *("--model.heads", "2", "2", "--model.depths", "1", "1", "--data.canvas", "16", "--loop.workers", "0"),
        *("--loop.max-steps", "1", "--loop.batch-size", "8", "--loop.device", "cpu"),
    ]
    status, _, err = hvit("train", "nest_micro_digits", *fields, "--weights", "start.safetensors", "--out", "run")
    assert status == 0, err
    assert "positions" in err


def test_the_environment_of_a_run_names_versions_and_no_host(colour_run: Path) -> None:
    environment = json.loads((colour_run / "environment.json").read_text())
    assert torch.__version__.startswith(environment["torch"])
    versions = {"hvit", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "python"}
    machine = {"processes", "device", "device_name", "cpu_cores", "torch_threads", "system"}
    assert environment.keys() == {"command"} | versions | machine
