"""Tables become splits: statistics of numbers, subsets, weights and notes; of clips, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.data.clips.settings import ClipData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from tests.data.images.made import make_pictures, open_folder
from tests.data.tables.made import make_table, open_table, refusal, rows


def test_numbers_have_the_statistics_of_the_training_labels(tmp_path: Path) -> None:
    splits = open_table(make_table(tmp_path, rows(*(f"{number}.5" for number in range(10)))))
    assert splits.labels.mean == pytest.approx((float(splits.train.labels.mean()),))
    assert splits.labels.std == pytest.approx((float(splits.train.labels.std()),))
    assert splits.has_labels
    _, target = splits.train.read(0, 0)
    assert isinstance(target, np.ndarray)
    assert target.shape == (1,)


def test_a_table_of_class_folders_gives_what_the_folders_give(tmp_path: Path) -> None:
    make_pictures(tmp_path / "cat", 10)
    make_pictures(tmp_path / "dog", 5, first=100)
    lines = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(tmp_path.glob("*/*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    by_table, by_folder = open_table(tmp_path / "labels.csv"), open_folder(tmp_path)

    def content(splits: Splits) -> list[tuple[str, int]]:
        parts = (splits.train, splits.held_out)
        return [(part.name(index), int(part.labels[index])) for part in parts for index in range(len(part))]

    assert content(by_table) == content(by_folder)


def test_class_folders_can_be_balanced(tmp_path: Path) -> None:
    make_pictures(tmp_path / "cat", 10)
    make_pictures(tmp_path / "dog", 5, first=100)
    splits = open_folder(tmp_path, balance="weights")
    assert splits.train.weights is not None
    assert splits.train.weights.tolist() == pytest.approx([0.75] * 8 + [1.5] * 4)
    assert open_folder(tmp_path).train.weights is None
    assert open_folder(tmp_path, balance="sampling").train.chances is not None


def test_groups_on_both_sides_of_a_given_split_are_named(tmp_path: Path) -> None:
    text = rows("cat,train,a", "dog,train,b", "cat,val,a", "dog,val,c", header="path,label,split,who")
    notes = " ".join(open_table(make_table(tmp_path, text), group_column="who").notes)
    assert "1 groups are in both parts of the split that the table names" in notes


def test_tables_have_folds_with_whole_groups(tmp_path: Path) -> None:
    text = rows("cat,a", "dog,b", "cat,c", "dog,d", "cat,e", header="path,label,who")
    table = make_table(tmp_path, text)
    parts = [open_table(table, folds=2, fold=fold, group_column="who").held_out for fold in (1, 2)]
    names = [{part.name(index) for index in range(len(part))} for part in parts]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 10
    known = [set(part.groups or ()) for part in parts]
    assert all(len(part.groups or ()) == len(part) for part in parts)
    assert (known[0] | known[1], known[0] & known[1]) == ({"a", "b", "c", "d", "e"}, set())
    table = make_table(tmp_path, rows("0.5", "1.5", "2.5"))
    numbers = [open_table(table, folds=2, fold=fold).held_out.labels[:, 0].tolist() for fold in (1, 2)]
    assert all(set(fold) == {0.5, 1.5, 2.5} for fold in numbers), "folds are even in what is predicted"
    assert sum(map(len, numbers)) == 10


def test_test_rows_stay_out_of_folds(tmp_path: Path) -> None:
    for third in ("val", "train"):
        text = rows("cat,train", "dog,train", f"cat,{third}", f"dog,{third}", "cat,test", header="path,label,split")
        splits = [open_table(make_table(tmp_path, text), folds=2, fold=fold) for fold in (1, 2)]
        assert [[one.test.name(index) for index in range(2)] for one in splits if one.test] == [
            ["004.png", "009.png"]
        ] * 2
        assert sum(len(one.held_out) for one in splits) == 8
        assert "rows that say" not in " ".join(splits[0].notes)


def test_a_class_of_the_test_part_alone_is_refused(tmp_path: Path) -> None:
    text = rows("cat,train", "dog,train", "cat,val", "dog,val", "cow,test", header="path,label,split")
    assert "occurs in held-out samples only" in refusal(make_table(tmp_path, text))


def test_weights_of_zero_are_refused(tmp_path: Path) -> None:
    table = make_table(tmp_path, rows("cat,0", "dog,0", header="path,label,w"))
    assert "the weights of all training samples are 0" in refusal(table, weight_column="w")


def test_a_table_without_labels_is_an_unlabelled_set(tmp_path: Path) -> None:
    table = make_table(tmp_path, rows("cat", "dog"))
    assert not open_table(table, labels="none").has_labels
    assert "balance weights is for classes" in refusal(table, labels="none", balance="weights")


def test_clips_have_tables_too(tmp_path: Path) -> None:
    lines = []
    for number in range(10):
        np.save(tmp_path / f"{number}.npy", np.full((6, 8, 8, 3), number * 20, np.uint8))
        lines.append(f"{number}.npy,{number}.5")
    (tmp_path / "labels.csv").write_text("\n".join(["clip,speed", *lines]))
    splits = open_data(ClipData(table=str(tmp_path / "labels.csv"), stride=1, cache="none"), 0, 3, num_frames=4)
    assert (splits.labels.kind, len(splits.train), len(splits.held_out)) == ("regression", 9, 1) or len(
        splits.train
    ) == 8
    clip, target = splits.held_out.read_view(0, 0, 1)
    assert (np.asarray(clip).shape, np.asarray(target).shape) == ((4, 8, 8, 3), (1,))
