"""Probing on the command line: a plan that leaves nothing, and a run whose heads are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import hvit as package
from hvit.models.weights.save import save_weights

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes = {"input_size": 16, "num_classes": 3, "dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)}
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_weights(package.create_model("resnet_micro_32", **sizes), path, classes=("a", "b", "c"))
    return path


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    hvit: Run, encoder: Path, photo_folder: Path, tmp_path: Path
) -> None:
    status, out, plan = hvit("probe", encoder, "--root", photo_folder, "--dry-run")
    assert (status, out) == (0, "")
    assert "features of 12 images" in " ".join(plan.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_pictures")
def test_heads_are_compared_in_a_table(hvit: Run, encoder: Path, photo_folder: Path, tmp_path: Path) -> None:
    status, out, err = hvit("probe", encoder, "--root", photo_folder, "--heads", "neighbours", "--device", "cpu")
    assert status == 0, err
    assert all(word in out for word in ("held-out accuracy", "linear", "neighbours"))
    assert (tmp_path / "runs" / "probe" / "weights.safetensors").is_file()


def test_what_cannot_be_probed_is_one_sentence(hvit: Run, photo_folder: Path, tmp_path: Path) -> None:
    for given, sentence in (([], "hvit probe needs"), (["nowhere", "--root", photo_folder], "nowhere")):
        status, _, err = hvit("probe", *given)
        assert status == 2
        assert sentence in err
        assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
