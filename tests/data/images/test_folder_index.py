"""An index lists a folder as walking it does, as long as no folder has changed, and opens without looking at files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from hvit.data.identity import describe_changes, identity_of
from hvit.data.images import folder_index, folders
from hvit.data.images.folder_sets import FolderSet
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from hvit.errors import UserError
from tests.data.images.made import make_pictures, open_folder

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


def listed(splits: Splits) -> list[object]:
    """Everything that training sees of a data set but its pixels."""
    parts = [splits.train, splits.held_out, *([splits.test] if splits.test else [])]
    return [splits.classes, *((list(one.files), one.labels.tolist(), [one.name(0)]) for one in parts)]  # type: ignore


@pytest.mark.parametrize("fields", [{}, {"labels": "none"}, {"labels": "auto"}, {"split_seed": 3}, {"folds": 2}])
def test_an_index_gives_the_splits_that_listing_gives(
    two_classes: Path, elsewhere: Path, fields: dict[str, object]
) -> None:
    (two_classes / "cat" / "notes.txt").write_text("no image")
    plain = open_folder(two_classes, **fields)
    index = str(elsewhere / "made" / "photos.parquet")
    written, read = (open_folder(two_classes, index=index, **fields) for _ in range(2))
    assert listed(plain) == listed(written) == listed(read)
    assert identity_of(written) == identity_of(read)
    assert set(plain.notes) == set(read.notes)


def test_train_val_and_test_folders_are_in_an_index(tmp_path: Path, elsewhere: Path) -> None:
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            make_pictures(tmp_path / "photos" / part / name, 3, first=10 * len(part))
    index = elsewhere / "photos.parquet"
    plain, _, read = (open_folder(tmp_path / "photos", index=one) for one in ("", str(index), str(index)))
    assert listed(plain) == listed(read)
    table = parquet.read_table(index)
    assert table.column("path")[0].as_py() == b"train/cat/050.png"
    assert set(table.column("part").to_pylist()) == {"train", "held_out", "test"}
    assert table.column("class").to_pylist().count("dog") == 9


def test_another_split_seed_holds_out_others_from_the_same_index(two_classes: Path, elsewhere: Path) -> None:
    index = str(elsewhere / "photos.parquet")
    open_folder(two_classes, index=index)
    assert listed(open_folder(two_classes, index=index, split_seed=5)) == listed(open_folder(two_classes, split_seed=5))


def test_an_indexed_folder_is_neither_listed_nor_looked_at(
    two_classes: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = str(elsewhere / "photos.parquet")
    open_folder(two_classes, index=index)

    def never(*_: object) -> None:
        raise AssertionError("the folder was listed")

    monkeypatch.setattr(folder_index, "list_folder", never)
    monkeypatch.setattr(os, "scandir", never)
    monkeypatch.setattr(folders, "shared_content_notes", never)
    splits = open_folder(two_classes, index=index, check="none", grey_range="full")
    assert len(splits.train) == 12


def test_a_file_that_is_added_makes_the_index_anew(two_classes: Path, elsewhere: Path) -> None:
    index = str(elsewhere / "photos.parquet")
    before = open_folder(two_classes, index=index)
    make_pictures(two_classes / "dog", 1, first=200)
    os.utime(two_classes / "dog", ns=(1, 1))  # whatever the file system's clock says
    after = open_folder(two_classes, index=index)
    assert len(after.train) + len(after.held_out) == len(before.train) + len(before.held_out) + 1
    assert any("was made anew" in note and "dog has changed" in note for note in after.notes)
    assert describe_changes(identity_of(before), identity_of(after))
    assert not any("was made anew" in note for note in open_folder(two_classes, index=index).notes)


def test_an_index_of_other_labels_is_made_anew(two_classes: Path, elsewhere: Path) -> None:
    index = str(elsewhere / "photos.parquet")
    open_folder(two_classes, index=index)
    splits = open_folder(two_classes, index=index, labels="none")
    assert splits.classes == ("unlabelled",)
    assert any("of labels folders, and these are none" in note for note in splits.notes)


def test_a_plan_writes_no_index(two_classes: Path, elsewhere: Path) -> None:
    index = elsewhere / "photos.parquet"
    config = FolderData(root=str(two_classes), index=str(index))
    splits = open_data(config, 0, remember=False)
    assert not index.exists()
    assert any("the first run writes it" in note for note in splits.notes)
    open_data(config, 0)
    again = open_data(config, 0, remember=False)
    assert listed(again) == listed(splits)


def test_the_folder_may_be_moved_with_its_times(two_classes: Path, elsewhere: Path) -> None:
    index = str(elsewhere / "photos.parquet")
    identity = identity_of(open_folder(two_classes, index=index))
    moved = elsewhere / "moved"
    shutil.copytree(two_classes, moved)  # keeps the times of folders
    splits = open_folder(moved, index=index)
    assert not any("was made anew" in note for note in splits.notes)
    assert identity_of(splits) == identity
    assert isinstance(splits.train, FolderSet)
    assert splits.train.file(0).is_relative_to(moved)


def test_of_many_images_some_headers_are_looked_at(
    two_classes: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST_DECODED", 5)
    monkeypatch.setattr(folders, "LOOKED_AT", 4)
    (two_classes / "cat" / "000.png").write_bytes(b"")  # the first one is looked at
    index = str(elsewhere / "photos.parquet")
    splits = open_folder(two_classes, index=index)
    assert any("headers of 4 of 15 images" in note for note in splits.notes)
    assert any("1 image of 4 cannot be read" in note for note in splits.notes)
    assert len(splits.train) + len(splits.held_out) == 14
    assert listed(open_folder(two_classes, check="sample")) == listed(splits)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"path,label\na.png,cat\n"])
def test_what_is_no_index_is_refused_and_stays(two_classes: Path, elsewhere: Path, content: bytes) -> None:
    index = elsewhere / "photos.parquet"
    index.write_bytes(content)
    with pytest.raises(UserError, match=r"photos\.parquet is no index of images"):
        open_folder(two_classes, index=str(index))
    assert index.read_bytes() == content


def test_another_table_of_parquet_is_refused(two_classes: Path, elsewhere: Path) -> None:
    import pyarrow as pa

    index = elsewhere / "photos.parquet"
    parquet.write_table(pa.table({"path": ["a.png"]}), index)
    with pytest.raises(UserError, match="is no index of images"):
        open_folder(two_classes, index=str(index))


def test_an_index_whose_counts_are_wrong_is_refused(two_classes: Path, elsewhere: Path) -> None:
    import json

    index = elsewhere / "photos.parquet"
    open_folder(two_classes, index=str(index))
    table = parquet.read_table(index)
    for change in ({"bytes": 5}, {"parts": [[["cat", 99]], [], []]}, {"bytes": 10**15}):
        facts = json.loads(table.schema.metadata[b"hvit"]) | change
        parquet.write_table(table.replace_schema_metadata({"hvit": json.dumps(facts)}), index)
        with pytest.raises(UserError, match="damaged"):
            open_folder(two_classes, index=str(index))


def test_an_index_inside_of_what_it_lists_is_refused(two_classes: Path) -> None:
    for folder in (two_classes, two_classes / "cat"):
        with pytest.raises(UserError, match="lies in a folder that it would list"):
            open_folder(two_classes, index=str(folder / "photos.parquet"))
        assert not (folder / "photos.parquet").exists()


def test_a_table_and_an_index_together_are_refused() -> None:
    with pytest.raises(UserError, match="table and index both list"):
        FolderData(root="photos", table="labels.csv", index="photos.parquet")


def test_without_pyarrow_an_index_is_refused(
    two_classes: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match="needs pyarrow"):
        open_folder(two_classes, index=str(elsewhere / "photos.parquet"))


def test_an_open_index_keeps_no_object_for_each_image(two_classes: Path, elsewhere: Path) -> None:
    index = str(elsewhere / "photos.parquet")
    open_folder(two_classes, index=index)
    splits = open_folder(two_classes, index=index)
    assert isinstance(splits.train, FolderSet)
    assert isinstance(splits.held_out, FolderSet)
    assert splits.train.files.text is splits.held_out.files.text
    assert splits.train.files.starts.dtype == np.int64
