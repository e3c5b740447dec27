"""Files that a table names: missing, doubled, far away or without a label."""

from __future__ import annotations

from pathlib import Path

from tests.data.images.made import files
from tests.data.tables.made import make_table, open_table, refusal, rows


def test_missing_files_and_labels_are_counted_and_named_or_refused(tmp_path: Path) -> None:
    table = make_table(tmp_path, rows("cat", "dog") + "gone.png,cat\n", count=10)
    table.write_text(table.read_text().replace("002.png,cat", "002.png,"))
    splits = open_table(table)
    text = " ".join(splits.notes)
    assert "1 of the table's files does not exist and will be skipped:" in text
    assert "gone.png (line 12)" in text
    assert "1 row has no label and will be skipped:" in text
    assert len(splits.train) + len(splits.held_out) == 9
    assert "Correct the table, or train with --data.unreadable skip" in refusal(table, unreadable="stop")


def test_a_file_of_several_classes_may_have_a_row_for_each(tmp_path: Path) -> None:
    table = make_table(tmp_path, rows("cat", "dog") + "000.png,dog\n")
    splits = open_table(table, task="multi")
    labels = {
        name: tuple(label)
        for part in (splits.train, splits.held_out)
        for name, label in zip(files(part), part.labels.tolist(), strict=True)
    }
    assert labels["000.png"] == (1, 1)
    assert labels["001.png"] == (0, 1)
    assert "1 row of the table lists a file that is listed before" in " ".join(splits.notes)


def test_paths_may_lead_out_of_the_folder_and_are_counted(tmp_path: Path) -> None:
    inner = tmp_path / "tables"
    inner.mkdir()
    make_table(tmp_path, "")
    lines = [f"../{number:03}.png,{'cat' if number % 2 else 'dog'}" for number in range(10)]
    table = inner / "labels.csv"
    table.write_text("\n".join(["path,label", *lines]))
    splits = open_table(table)
    assert "10 paths of the table lead out of" in " ".join(splits.notes)
    assert splits.train.name(0).startswith("..")


def test_strange_paths_are_missing_files_and_no_crash(tmp_path: Path) -> None:
    table = make_table(tmp_path, rows("cat", "dog") + f"{'x' * 5000}.png,cat\nC:\\data\\a.png,dog\n")
    assert "2 of the table's files do not exist" in " ".join(open_table(table).notes)


def test_weights_have_the_mean_1_and_the_split_column_decides(tmp_path: Path) -> None:
    text = rows("cat,train,1", "dog,train,3", "cat,test,1", "dog,val,1", header="path,label,split,importance")
    splits = open_table(make_table(tmp_path, text), weight_column="importance")
    assert files(splits.held_out) == ["003.png", "007.png"]
    assert splits.train.weights is not None
    assert splits.train.weights.tolist() == [0.5, 1.5] * 3
    assert splits.test is not None
    assert files(splits.test) == ["002.png", "006.png"]
    assert "scored on those that say test, which choose nothing" in " ".join(splits.notes)


def test_the_root_is_where_paths_start_from(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    make_table(tmp_path / "images", "x")
    table = tmp_path / "labels.csv"
    table.write_text(rows("cat", "dog"))
    assert "none of the 10 files" in refusal(table)
    assert len(open_table(table, root=str(tmp_path / "images")).train) == 8
