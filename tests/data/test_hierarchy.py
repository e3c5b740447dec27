"""Classes of several levels: what stands under what is read from columns or folders, and contradictions are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hvit.data.clips.settings import ClipData
from hvit.data.hierarchy import Hierarchy
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from hvit.errors import UserError
from tests.data.tables.made import make_table, open_table, refusal, rows

GENERA = {"fox": "vulpes", "wolf": "canis", "jackal": "canis"}
LEVELS = ("genus", "species")


def chains(*chains: tuple[str, ...], classes: tuple[str, ...] | None = None) -> list[Any]:
    hierarchy = Hierarchy(("family", "genus", "species")[-len(chains[0]) :])
    for chain in chains:
        hierarchy.add(chain)
    return [(level.name, level.classes, level.of)
            for level in hierarchy.levels(classes or sorted({chain[-1] for chain in chains}))]  # fmt: skip


def test_levels_say_what_each_class_stands_under() -> None:
    found = chains(
        ("dogs", "canis", "wolf"), ("dogs", "vulpes", "fox"), ("cats", "felis", "cat"), ("", "canis", "wolf")
    )
    assert found == [
        ("family", ("cats", "dogs"), (0, 1, 1)),
        ("genus", ("canis", "felis", "vulpes"), (1, 2, 0)),
        ("species", ("cat", "fox", "wolf"), (0, 1, 2)),
    ]


def test_contradictions_are_named() -> None:
    with pytest.raises(UserError, match=r"a species stands under one genus.*under two: wolf \(canis and lupus\)"):
        chains(("canis", "wolf"), ("lupus", "wolf"))
    with pytest.raises(UserError, match=r"a genus stands under one family.*canis \(dogs and cats\)"):
        chains(("dogs", "canis", "wolf"), ("cats", "canis", "jackal"))
    with pytest.raises(UserError, match="no genus is given for the species fox"):
        chains(("canis", "wolf"), ("", "fox"))


def folder_of(root: Path, parts: tuple[str, ...] = ("",), count: int = 4) -> Path:
    for part in parts:
        for species, genus in GENERA.items():
            place = root / part / genus / species
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (number, len(species), len(part))).save(place / f"{number}.png")
    return root


def opened(root: Path, **fields: Any) -> Splits:
    return open_data(FolderData(root=str(root), label_levels=LEVELS, **fields), 0, in_channels=3)


def test_class_folders_in_class_folders_are_levels(tmp_path: Path) -> None:
    splits = opened(folder_of(tmp_path, ("train", "val", "test")))
    genus, species = splits.labels.levels
    assert (splits.classes, splits.labels.kind) == (("fox", "jackal", "wolf"), "single")
    assert (genus.name, genus.classes, genus.of) == ("genus", ("canis", "vulpes"), (1, 0, 0))
    assert (species.name, species.classes) == ("species", splits.classes)
    assert splits.test is not None
    assert len(splits.test) == len(splits.train) == 12


def test_one_genus_alone_and_stray_images_are_read_and_named(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "vulpes" / "fox" / "0.png").rename(tmp_path / "vulpes" / "stray.png")
    splits = opened(tmp_path, val_fraction=0.5)
    assert "1 image outside any class folder" in " ".join(splits.notes)
    assert len(splits.train) + len(splits.held_out) == 11


def test_an_index_keeps_the_levels(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    root = folder_of(tmp_path / "images")
    first, again = (opened(root, index=str(tmp_path / "index.parquet")) for _ in range(2))
    assert first.labels.levels == again.labels.levels == opened(root).labels.levels
    other = open_data(FolderData(root=str(root), index=str(tmp_path / "index.parquet")), 0, in_channels=3)
    assert other.classes == ("canis", "vulpes")


def test_folders_that_are_not_deep_enough_or_contradict_are_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    with pytest.raises(UserError, match="asks for folders in folders, 3 deep"):
        open_data(FolderData(root=str(root), label_levels=("family", *LEVELS)), 0, in_channels=3)
    (root / "canis" / "fox").mkdir()
    Image.new("RGB", (8, 8)).save(root / "canis" / "fox" / "0.png")
    with pytest.raises(UserError, match=r"fox \(canis and vulpes\)"):
        opened(root)


def test_columns_of_a_table_are_levels(tmp_path: Path) -> None:
    cells = [f"{genus},{species}" for species, genus in GENERA.items()]
    table = make_table(tmp_path, rows(*cells, header="path,genus,species", count=12), count=12)
    splits = open_table(table, label_levels=LEVELS)
    assert splits.labels.levels[0].of == (1, 0, 0)
    assert "genus; species: genus (2) > species (3), as label_levels says." in " ".join(splits.notes)
    folds = open_table(table, label_levels=LEVELS, folds=2, fold=1)
    assert folds.labels.levels == splits.labels.levels
    assert "no column 'genu' (label_levels); did you mean 'genus'" in refusal(table, label_levels=("genu", "species"))
    make_table(tmp_path, rows(*cells, "canis,fox", header="path,genus,species"))
    assert "fox (vulpes and canis)" in refusal(table, label_levels=LEVELS)


def test_class_folders_of_clips_are_levels(tmp_path: Path) -> None:
    import numpy as np

    for species, genus in GENERA.items():
        for number in range(3):
            place = tmp_path / genus / species
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{number}.npy", np.full((4, 8, 8, 3), number, np.uint8))
    splits = open_data(ClipData(root=str(tmp_path), label_levels=LEVELS, cache="none"), 0, in_channels=3, num_frames=2)
    assert (splits.classes, splits.labels.levels[0].of) == (("fox", "jackal", "wolf"), (1, 0, 0))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"label_levels": ("genus",)}, "must be two or more different names"),
        ({"label_levels": ("a", "a")}, "must be two or more different names"),
        ({"label_levels": LEVELS, "task": "multi", "table": "a.csv"}, "is for one class a sample, and task is multi"),
        ({"label_levels": LEVELS, "label_columns": ("a",), "table": "a.csv"}, "and label_columns (a) cannot be given"),
        ({"label_levels": LEVELS, "labels": "none"}, "labels none uses none"),
        ({"label_levels": LEVELS, "shards": "x"}, "and shards (x) cannot be given"),
    ],
)
def test_options_that_do_not_fit_levels_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        FolderData(**fields)
