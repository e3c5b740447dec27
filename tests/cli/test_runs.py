"""Making and reporting runs on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hvit.models.build import build
from hvit.models.nest.config import NestConfig
from hvit.models.weights.save import save_weights

Run = Callable[..., tuple[int, str, str]]


def test_train_help_lists_the_fields_of_a_recipe_with_their_sentences(hvit: Run) -> None:
    status, out, _ = hvit("train", "nest_micro_digits", "--help")
    assert status == 0
    for text in ("--model.dims", "--optimize.clip-norm", "--loop.batch-size", "--data.canvas", "Stochastic-depth"):
        assert text in out


def test_a_dry_run_prints_the_plan_and_leaves_nothing(hvit: Run, tmp_path: Path) -> None:
    status, _, plan = hvit("train", "nest_micro_digits", "--dry-run")
    assert status == 0
    assert "568,010 parameters" in plan
    assert list(tmp_path.iterdir()) == []


def test_report_writes_the_page_anew(hvit: Run, colour_run: Path) -> None:
    (colour_run / "report.html").unlink()
    status, _, _ = hvit("report", colour_run)
    assert status == 0
    assert "nest_micro_64" in (colour_run / "report.html").read_text().replace("<wbr>", "")


@pytest.mark.long
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
