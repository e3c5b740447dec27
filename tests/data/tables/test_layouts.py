"""Every layout of labels in the guide is read as it says, or refused with the sentence that it quotes."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.tables.made import json_lines, make_table, open_table, refusal, rows

READ: list[tuple[str, str, str | bytes, dict[str, Any], str, tuple[str, ...]]] = [
    ("comma", "a.csv", rows("cat", "dog"), {}, "single", ("cat", "dog")),
    ("tab", "a.tsv", rows("cat", "dog").replace(",", "\t"), {}, "single", ("cat", "dog")),
    ("semicolon", "a.csv", rows("cat", "dog").replace(",", ";"), {}, "single", ("cat", "dog")),
    ("no header", "a.csv", rows("cat", "dog").split("\n", 1)[1], {}, "single", ("cat", "dog")),
    ("byte order mark", "a.csv", rows("chat", "élan").encode("utf-8-sig"), {}, "single", ("chat", "élan")),
    ("UTF-16", "a.csv", rows("chat", "élan").encode("utf-16"), {}, "single", ("chat", "élan")),
    ("quotes, empty lines", "a.csv", rows('"cat, grey"', "dog") + "\n\n", {}, "single", ("cat, grey", "dog")),
    ("JSON lines", "a.jsonl", json_lines({"label": "cat"}, {"label": "dog"}), {}, "single", ("cat", "dog")),
    ("few whole numbers", "a.csv", rows("3", "10"), {}, "single", ("3", "10")),
    ("whole numbers as numbers", "a.csv", rows("3", "10"), {"task": "regression"}, "regression", ("label",)),
    ("one 1 in each row", "a.csv", rows("1,0", "0,1", header="path,cat,dog"), {}, "single", ("cat", "dog")),
    ("columns of 0 and 1", "a.csv", rows("1,1", "0,1", "0,0", header="path,cat,dog"), {}, "multi", ("cat", "dog")),
    ("bars in a cell", "a.csv", rows("cat", "cat|dog", "dog", ""), {}, "multi", ("cat", "dog")),
    ("own separator", "a.csv", rows("cat dog", "dog"), {"label_separator": " "}, "multi", ("cat", "dog")),
    ("lists", "a.jsonl", json_lines({"label": ["cat", "dog"]}, {"label": []}), {}, "multi", ("cat", "dog")),
    ("decimals", "a.csv", rows("0.5", "1.5", "7"), {}, "regression", ("label",)),
    ("many whole numbers", "a.csv", rows(*map(str, range(10))), {}, "regression", ("label",)),
    (
        "several numbers", "a.csv", rows("1.5,20", "2.5,10", header="path,age,weight"),
        {"label_columns": ("age", "weight")}, "regression", ("age", "weight"),
    ),
    ("list of numbers", "a.jsonl", json_lines({"label": [0.5, 1.0]}, {"label": [1.5, 3.0]}), {}, "regression",
     ("label 1", "label 2")),
    ("ordered names", "a.csv", rows("low", "high", "middle"), {"class_order": ("low", "middle", "high")}, "ordinal",
     ("low", "middle", "high")),
    ("ordered numbers", "a.csv", rows("1", "2", "3"), {"task": "ordinal"}, "ordinal", ("1", "2", "3")),
    ("split", "a.csv", rows("cat,train", "dog,train", "cat,val", "dog,val", header="path,label,split"), {}, "single",
     ("cat", "dog")),
    ("other names", "a.csv", rows("cat", "dog", header="image_id,diagnosis").replace(".png", ""), {}, "single",
     ("cat", "dog")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "fields", "kind", "names"), [row[1:] for row in READ], ids=[one[0] for one in READ]
)
def test_a_layout_is_read(
    tmp_path: Path, file: str, text: str | bytes, fields: dict[str, Any], kind: str, names: tuple[str, ...]
) -> None:
    splits = open_table(make_table(tmp_path, text, file), **fields)
    assert (splits.labels.kind, splits.classes) == (kind, names)
    assert len(splits.train) + len(splits.held_out) == 10
    assert 1 <= len(splits.held_out) <= 5


REFUSED: list[tuple[str, str, str | bytes, dict[str, Any], str]] = [
    ("no such column", "a.csv", rows("cat", "dog"), {"label_columns": ("labell",)},
     "has no column 'labell' (label_columns); did you mean 'label'?"),
    ("empty file", "a.csv", "\n\n", {}, "is empty: expected a path and a label in every line"),
    ("header only", "a.csv", "path,label\n", {}, "has no rows: expected a path and a label in each"),
    ("ragged row", "a.csv", rows("cat", "dog") + "x.png,cat,3\n", {},
     "line 12 has 3 cells, and the first line has 2: every line needs as many"),
    ("not UTF-8", "a.csv", rows("cat", "élan").encode("latin-1"), {}, "line 3 is not UTF-8: save the table as UTF-8"),
    ("no JSON", "a.jsonl", '{"path": "000.png", "label": 1}\n{oops\n', {}, "line 2 is no JSON"),
    ("JSON that is no row", "a.jsonl", "[1, 2]\n", {}, "line 1 must be a JSON object such as"),
    ("spreadsheet", "a.xlsx", "anything", {}, "is a spreadsheet: save it as CSV"),
    ("damaged Parquet", "a.parquet", "anything", {}, "cannot be read as Parquet"),
    ("no column of paths", "a.csv", "colour,label\nred,cat\nblue,dog\n", {}, "holds names of files: name it with path_column"),
    ("several labels possible", "a.csv", rows("cat,big", "dog,small", header="path,kind,size"), {},
     "several columns could be the label: kind; size"),
    ("no label column", "a.csv", "path\n000.png\n001.png\n", {}, "there is no column but the path"),
    ("no labels at all", "a.csv", rows("", ""), {}, "every row of label is empty: the table has no labels"),
    ("one class", "a.csv", rows("cat"), {}, "all rows have the same label, cat: two classes or more are needed"),
    ("no file exists", "a.csv", rows("cat", "dog").replace(".png", ".jpg"), {},
     "none of the 10 files that"),
    ("same file, other label", "a.csv", rows("cat", "dog") + "000.png,dog\n", {},
     "is listed with different labels, cat (" ),
    ("same file in both parts", "a.csv",
     rows("cat,train", "dog,val", header="path,label,split") + "000.png,cat,val\n", {}, "is in two parts of the split"),
    ("class only held out", "a.csv",
     rows("cat,train", "dog,train", "cat,val", "cow,val", header="path,label,split"), {},
     "1 class occurs in held-out samples only, where nothing can be trained on: cow"),
    ("unknown split", "a.csv", rows("cat,train", "dog,other", header="path,label,part"), {"split_column": "part"},
     "part must be train, val or test; got 'other'"),
    ("only training rows", "a.csv", rows("cat,train", "dog,train", header="path,label,split"), {},
     "says only train: it needs rows for train and for val"),
    ("text among numbers", "a.csv", rows("0.5", "old"), {"task": "regression"}, "label must be a number; got 'old'"),
    ("constant number", "a.csv", rows("0.5"), {"task": "regression"}, "all training samples have the same label"),
    ("not 0 or 1", "a.csv", rows("1,0", "0,2", header="path,cat,dog"), {"label_columns": ("cat", "dog"), "task": "multi"},
     "dog must be 0 or 1; got '2'"),
    ("two classes, one wanted", "a.csv", rows("1,1", "0,1", header="path,cat,dog"),
     {"label_columns": ("cat", "dog"), "task": "single"}, "has 2 classes, and task single takes one: say task multi"),
    ("unknown order", "a.csv", rows("low", "high"), {"task": "ordinal"}, "is not known: give it with class_order"),
    ("class missing in the order", "a.csv", rows("low", "high"), {"class_order": ("low", "top")},
     "'high' is not in class_order (low; top)"),
    ("one group", "a.csv", rows("cat,a", "dog,a", header="path,label,who"), {"group_column": "who"},
     "has one group only; a split needs two or more"),
    ("negative weight", "a.csv", rows("cat,1", "dog,-1", header="path,label,w"), {"weight_column": "w"},
     "w must be a number from 0; got '-1'"),
    ("balanced numbers", "a.csv", rows("0.5", "1.5"), {"balance": "weights"},
     "balance weights is for classes, and the labels are numbers"),
    ("double column", "a.csv", rows("cat,a", "dog,b", header="path,label,label"), {}, "has two columns called 'label'"),
    ("null characters", "a.csv", rows("cat", "d\0g"), {}, "holds null characters, so it is no text"),
    ("number per class of many labels", "a.csv", rows("cat", "cat|dog", "dog"), {"num_per_class": 1},
     "num_per_class (1) is for one class a sample"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "fields", "sentence"), [row[1:] for row in REFUSED], ids=[one[0] for one in REFUSED]
)
def test_a_layout_is_refused_in_one_sentence(
    tmp_path: Path, file: str, text: str | bytes, fields: dict[str, Any], sentence: str
) -> None:
    found = refusal(make_table(tmp_path, text, file), **fields)
    assert sentence in found
    assert "\n" not in found


def test_the_guide_names_every_layout() -> None:
    page = Path(__file__).parents[3].joinpath("docs/guides/labels.md").read_text(encoding="utf-8")
    missing = [name for name in (*(one[0] for one in READ), *(one[0] for one in REFUSED)) if f"| {name} |" not in page]
    assert not missing
