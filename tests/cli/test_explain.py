"""Explaining on the command line: pictures, paths and a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_of_unreadable_files_alone_no_older_page_is_refusals(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    Path("broken.jpg").write_bytes(b"")
    status, out, _ = hvit("explain", colour_run, photo_folder / "red" / "0.png")
    assert status == 0
    assert "The page: " in out
    status, out, err = hvit("explain", colour_run, "broken.jpg")
    assert status == 2
    assert "broken.jpg: the file is empty" in err
    assert "The page: " not in out


def test_the_mean_training_image_may_stand_in_the_place_of_removed_blocks(
    hvit: Run, colour_run: Path, photo_folder: Path
) -> None:
    image, asked = photo_folder / "red" / "0.png", ("--methods", "block_shapley", "--budget", "20", "--json")
    status, out, _ = hvit("explain", colour_run, image, "--baseline", "dataset", *asked)
    assert status == 0
    removal = json.loads(out.splitlines()[0])["trees"][0]["removal"]
    assert (removal["baseline"], removal["absent"]) == ("the mean training image", "exchanged")
    status, _, err = hvit("explain", colour_run / "weights.safetensors", image, "--baseline", "dataset")
    assert status == 2
    assert "is no run folder: give the folder of the run, or another baseline" in err


def test_blocks_are_not_removed_from_a_model_that_cannot(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    status, _, err = hvit("explain", colour_run, photo_folder / "red" / "0.png", "--absent", "removed")
    assert status == 2
    assert "this Nest computes all of an image" in err
    status, _, err = hvit("explain", colour_run, photo_folder, "--absent", "exchanged", "--methods", "cam")
    assert status == 2
    assert "--absent is for block_shapley only" in err
