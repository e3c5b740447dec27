"""What a folder of images has is listed by class, and what decides the split hangs on names alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hvit.data.images.folder_listing import list_folder, split_draws
from hvit.data.images.paths import PathList
from hvit.data.layout import split_name
from hvit.randomness import derive_seed
from tests.data.images.made import make_pictures


def test_images_are_listed_by_class_and_other_files_counted(tmp_path: Path) -> None:
    make_pictures(tmp_path / "dog", 2)
    make_pictures(tmp_path / "cat" / "indoors", 1)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    entered: list[Path] = []
    listing = list_folder(str(tmp_path), "folders", lambda folder, _: entered.append(folder))
    train, held_out, test = listing.parts
    assert {name: [str(one.relative_to(tmp_path)) for one in files] for name, files in train.items()} == {
        "cat": ["cat/indoors/000.png"],
        "dog": ["dog/000.png", "dog/001.png"],
    }
    assert (held_out, test, dict(listing.ignored)) == ({}, {}, {".txt": 1})
    assert entered == [tmp_path, tmp_path / "cat", tmp_path / "cat" / "indoors", tmp_path / "dog"]
    assert len(listing.files()) == 3


def test_what_decides_the_split_is_the_name_seen_from_the_folder() -> None:
    folder = Path("photos/train")
    names = ["cat/a.png", "cat/\x01.png", "dog/ü.png"]
    expected = [derive_seed(3, f"split/{split_name(folder / name, folder)}") for name in names]
    assert split_draws(PathList.of_names(folder, names), folder, 3).tolist() == expected
    from_above = PathList.of_names(Path("photos"), [f"train/{name}" for name in names])
    assert np.array_equal(split_draws(from_above, folder, 3), expected)
