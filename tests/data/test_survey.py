"""What a look at all files of a data set finds: one range of grey, and stacks of pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hvit.data import survey
from hvit.data.open import ClipData, FolderData, open_data
from tests.data.deep_files import RAMP, page, png, scaled, stack, tiff


@pytest.mark.parametrize("check", ["decode", "header", "none"])
def test_all_files_of_a_data_set_are_read_with_one_range(deep_folder: Path, check: str) -> None:
    splits = open_data(FolderData(root=str(deep_folder), check=check), 0, 1)  # pyright: ignore[reportArgumentType]
    assert splits.grey_range == (0.0, 4095.0)
    dark = splits.train.read(0, 0)[0]
    assert dark.getextrema()[1] == pytest.approx(900 * 255 / 4095, abs=1)
    note = next(note for note in splits.notes if "8 bits a channel" in note)
    assert "10 of 10 images" in note
    assert "0 is black and 4,095 white (--data.grey-range auto)" in note


def test_the_range_is_found_in_some_files_of_large_sets(deep_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "LOOKED_AT", 4)
    splits = open_data(FolderData(root=str(deep_folder), check="header"), 0, 1)
    assert splits.grey_range == (0.0, 4095.0)
    assert "(in 4 that were looked at)" in " ".join(splits.notes)


def test_a_range_that_is_hardly_used_is_said(deep_folder: Path) -> None:
    notes = " ".join(open_data(FolderData(root=str(deep_folder), grey_range="full"), 0, 1).notes)
    assert "They use 6.1% of that range, so they look flat" in notes
    notes = " ".join(open_data(FolderData(root=str(deep_folder), grey_range=(0, 4095)), 0, 1).notes)
    assert "look flat" not in notes


def test_integers_and_real_numbers_are_not_mixed_in_one_range(deep_folder: Path) -> None:
    tiff(deep_folder / "dark" / "real.tif", [page(RAMP.astype("<f4"), 32, format=3)])
    splits = open_data(FolderData(root=str(deep_folder)), 0, 1)
    assert splits.grey_range == "auto"
    assert "each is read by itself" in " ".join(splits.notes)


def test_stacks_and_animations_of_a_folder_are_said(deep_folder: Path) -> None:
    stack(deep_folder / "dark" / "stack.tif")
    frames = [Image.new("L", (8, 6), 100 * number) for number in range(2)]
    frames[0].save(deep_folder / "light" / "a.gif", save_all=True, append_images=frames[1:])
    notes = " ".join(open_data(FolderData(root=str(deep_folder)), 0, 1).notes)
    assert "stack.tif: it holds 3 pages" in notes
    assert "1 image of 12 moves: the first frame is read (--data.page for another one)" in notes
    splits = open_data(FolderData(root=str(deep_folder), page=2), 0, 1)
    assert len(splits.train) + len(splits.held_out) == 12
    assert splits.page == 2


def test_frames_of_clips_are_read_with_one_range_too(tmp_path: Path) -> None:
    for name, top in (("dark", 900), ("light", 4000)):
        for clip in range(3):
            (tmp_path / name / str(clip)).mkdir(parents=True)
            for number in range(4):
                png(tmp_path / name / str(clip) / f"{number}.png", scaled(top, "u2"), 0)
    splits = open_data(ClipData(root=str(tmp_path), cache="none"), 0, 1, 4)
    assert splits.grey_range == (0.0, 4095.0)
    assert splits.train.read(0, 0)[0].max() == pytest.approx(900 * 255 / 4095, abs=1)
    splits = open_data(ClipData(root=str(tmp_path), cache="none", grey_range=(0, 900)), 0, 1, 4)
    assert splits.train.read(0, 0)[0].max() == 255
