"""--parquet answers any number of images to a folder, says how many could not be read, and by which status it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]

pytest.importorskip("pyarrow")


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(photo_folder, tmp_path / "photos")
    return tmp_path / "photos"


def test_predict_to_a_folder_counts_what_could_not_be_read(hvit: Run, colour_run: Path, photos: Path) -> None:
    out = photos.parent / "out"
    status, text, errors = hvit("predict", colour_run, photos, "--parquet", out, "--device", "cpu")
    count = len(list(photos.rglob("*.png")))
    assert (status, text.strip(), errors.count("cannot read")) == (0, f"{count} images, {count} answered: {out}", 0)
    (photos / "red" / "0.png").write_bytes(b"no image")
    status, text, errors = hvit("predict", colour_run, photos, "--parquet", photos.parent / "new", "--json")
    assert (status, errors.count("cannot read")) == (2, 1)
    answer = json.loads(text)
    assert (answer["images"], answer["answered"], answer["errors"]) == (count, count - 1, 1)
    again = hvit("predict", colour_run, photos, "--parquet", photos.parent / "new")
    assert again[0] == 2, "the same call says the same"
    assert "1 could not be read (column error)" in again[1]


def test_a_process_of_torchrun_does_its_part_and_leaves_the_others_at_work(
    hvit: Run, colour_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "red" / "0.png").write_bytes(b"no image")
    monkeypatch.setattr("hvit.verbs.batch.CHUNK", 5)
    out = photos.parent / "out"
    for rank, finished in ((1, False), (0, True)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert hvit("predict", colour_run, photos, "--parquet", out)[0] == 0, "torchrun would end the others"
        assert (out / "_manifest.json").exists() is finished
    assert json.loads((out / "_manifest.json").read_text())["errors"] == 1


def test_embed_to_a_folder_reads_a_table_of_paths(hvit: Run, colour_run: Path, photos: Path) -> None:
    files = sorted(photos.rglob("*.png"))[:3]
    table = photos.parent / "list.csv"
    table.write_text("path\n" + "".join(f"{file}\n" for file in files))
    out = photos.parent / "out"
    assert hvit("embed", colour_run, table, "--parquet", out)[0] == 0
    assert json.loads((out / "_manifest.json").read_text())["output"] == "features"


def test_two_ways_at_once_are_refused(hvit: Run, colour_run: Path, photos: Path) -> None:
    for verb, options, words in (
        ("predict", ("--csv", "a.csv"), "--csv and --parquet are two ways"),
        ("predict", ("--tiles", "8"), "--tiles and --parquet are two ways"),
        ("embed", ("--out", "a.npy"), "--out is one file"),
    ):
        status, _, errors = hvit(verb, colour_run, photos, "--parquet", photos.parent / "out", *options)
        assert status == 2
        assert words in errors
    status, _, errors = hvit("embed", colour_run, "--parquet", photos.parent / "out")
    assert status == 2
    assert "--parquet needs images" in errors
