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


def test_blocks_are_divided_as_often_as_asked(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    image, asked = photo_folder / "red" / "0.png", ("--methods", "block_shapley", "--top-k", "1", "--budget", "900")
    for depth in (1, 3):
        status, out, _ = hvit("explain", colour_run, image, "--depth", str(depth), *asked, "--json")
        assert status == 0
        (tree,) = json.loads(out.splitlines()[0])["trees"]
        assert [len(level) for level in tree["values"]] == [2, 4, 8][:depth]
    for depth in ("0", "-1", "20"):
        status, _, err = hvit("explain", colour_run, image, "--depth", depth)
        assert status == 2
        assert "depth must be 1 or more, with blocks of a pixel or more" in err
    status, _, err = hvit("explain", colour_run, image, "--depth", "2", "--methods", "cam")
    assert status == 2
    assert "--depth is for block_shapley only" in err
    status, _, err = hvit("explain", colour_run, image, "--depth", "2", "--check", "10")
    assert status == 2


def test_gradcat_takes_other_gradients(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    image = photo_folder / "red" / "0.png"
    status, out, _ = hvit("explain", colour_run, image, "--methods", "gradcat", "--gradient", "libra", "--json")
    assert status == 0
    answer = json.loads(out.splitlines()[0])
    assert answer["pictures"] == ["explanations/0_gradcat_libra.png"]
    assert {tree["method"] for tree in answer["trees"]} == {"gradcat_libra"}
    status, out, _ = hvit("explain", colour_run, image, "--methods", "gradcat", "--json")
    usual = json.loads(out.splitlines()[0])["trees"]
    assert [tree["logit"] for tree in usual] == [tree["logit"] for tree in answer["trees"]]
    assert [tree["values"] for tree in usual] != [tree["values"] for tree in answer["trees"]]
    both = ("--methods", "block_shapley", "gradcat", "--gradient", "libra")
    status, out, _ = hvit("explain", colour_run, image, *both)
    assert status == 0
    assert "GradCAT, LibraGrad" in Path("explanations/index.html").read_text()


def test_other_gradients_are_refused_for_other_methods(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    for asked in (("--methods", "cam"), ("--check", "10")):
        status, out, err = hvit("explain", colour_run, photo_folder, "--gradient", "libra", *asked)
        assert (status, out) == (2, "")
        assert "--gradient is for gradcat only: omit it, or add gradcat to --methods" in err
