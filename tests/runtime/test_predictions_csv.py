"""Predictions as a CSV file: a row for each image, whole or absent."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hvit.runtime.predictions_csv import csv_of_answers, flat, written


def test_each_answer_is_a_row_with_ranked_classes_and_what_else_it_says(tmp_path: Path) -> None:
    path = tmp_path / "out" / "answers.csv"
    classes = [{"class": 'a, "b"', "index": 0, "probability": 0.9}, {"class": "c", "index": 1, "probability": 0.1}]
    more = {"unsure": False, "labels": ["a", "c"], "over_time": [{"start": 0}]}
    with csv_of_answers(path) as add:
        add({"file": "x\ny.png", "classes": classes, **more})
        add({"file": "\udcff.png", "classes": classes[:1]})
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
    assert rows == [
        ["file", "class_1", "probability_1", "class_2", "probability_2", "unsure", "labels"],
        ["x\ny.png", 'a, "b"', "0.9", "c", "0.1", "False", "a|c"],
        ["\\udcff.png", 'a, "b"', "0.9", "", "", "", ""],
    ]
    assert flat({"file": "x", "values": {"height": 1.5, "width": 2}}) == {"file": "x", "height": 1.5, "width": 2}


def test_a_table_that_fails_is_absent_and_one_without_answers_has_its_first_row(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    with pytest.raises(ZeroDivisionError), csv_of_answers(path) as add:
        add({"file": 1 / 0})
    assert list(tmp_path.iterdir()) == []
    with csv_of_answers(path):
        pass
    assert path.read_text() == "file\n"


def test_answers_pass_and_the_file_is_complete_after_the_last(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    answers = written([{"file": "a"}, {"file": "b"}], path)
    assert next(answers) == {"file": "a"}
    assert not path.exists()
    assert list(answers) == [{"file": "b"}]
    assert path.read_text() == "file\na\nb\n"
    stopped = written([{"file": "c"}, {"file": "d"}], path)
    next(stopped)
    stopped.close()
    assert path.read_text() == "file\na\nb\n"
