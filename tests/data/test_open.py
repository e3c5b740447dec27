"""Any data are opened by their configuration, and only for a model that takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit.data.clips.settings import ClipData
from hvit.data.images.digits import DigitsData
from hvit.data.open import FolderData, moved, open_data, with_full_paths
from hvit.errors import UserError


def test_a_model_and_data_of_another_kind_are_refused(clip_folder: Path) -> None:
    with pytest.raises(UserError, match="are clips, and the model takes images"):
        open_data(ClipData(root=str(clip_folder)), 0, 3)
    with pytest.raises(UserError, match=r"takes clips of 16 frames, and the data \(folder\) are images"):
        open_data(FolderData(root=str(clip_folder)), 0, 3, 16)


def test_data_of_a_user_move_and_embedded_ones_do_not() -> None:
    assert moved(FolderData(root="here"), "there") == FolderData(root="there")
    assert moved(FolderData(root="here"), None) == FolderData(root="here")
    with pytest.raises(UserError, match="omit it"):
        moved(DigitsData(), "there")


def test_lists_and_tables_that_lie_in_the_folder_of_the_data_move_with_it(tmp_path: Path) -> None:
    for name in ("train.txt", "groups.csv"):
        (tmp_path / name).write_text("")
    before = ClipData(
        root="/gone", train_list="/gone/train.txt", held_out_list="/gone/val.txt", class_names="/lists/names.txt",
        folds=2, group="/gone/groups.csv",
    )  # fmt: skip
    now = moved(before, str(tmp_path))
    assert now == ClipData(
        root=str(tmp_path), train_list=str(tmp_path / "train.txt"), held_out_list="/gone/val.txt",
        class_names="/lists/names.txt", folds=2, group=str(tmp_path / "groups.csv"),
    )  # fmt: skip
    table = FolderData(table="/gone/train.txt")
    assert moved(table, str(tmp_path)) == FolderData(root=str(tmp_path), table=str(tmp_path / "train.txt"))


def test_a_file_of_groups_has_a_full_path_and_an_expression_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groups.csv").write_text("")
    data = FolderData(root="photos", folds=2, group="groups.csv")
    assert with_full_paths(data).group == str(tmp_path / "groups.csv")
    assert with_full_paths(replace(data, group=r"patient_\d+")).group == r"patient_\d+"
    assert with_full_paths(replace(data, group="a|" * 999)).group == "a|" * 999


def test_paths_hold_wherever_a_run_is_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = with_full_paths(ClipData(root="clips", train_list="~/list.txt", cache="none"))
    assert data == ClipData(
        root=str(tmp_path / "clips"), train_list=str(Path("~/list.txt").expanduser().resolve()), cache="none"
    )
    assert with_full_paths(ClipData(root="clips", cache="kept")).cache == str(tmp_path / "kept")
    assert with_full_paths(DigitsData()) == DigitsData()


def test_only_colour_and_grey_are_opened() -> None:
    with pytest.raises(UserError, match="in_channels cannot be 2"):
        open_data(DigitsData(), 0, 2)
