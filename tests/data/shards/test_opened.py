"""Shards open as samples by number, with their index or without one; damaged ones are named and skipped by a rule."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from hvit.data.shards.copies import Copies
from hvit.data.shards.opened import open_places, open_shards
from hvit.data.shards.places import parts_at
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from tests.data.shards.made import label_json, picture, write_shards, write_tar

pytest.importorskip("webdataset")


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(str(tmp_path / "copies"))


def test_shards_of_another_program_open_as_samples_by_number(tmp_path: Path, copies: Copies) -> None:
    write_shards(tmp_path / "s", [3, 2])
    rows = open_shards(str(tmp_path / "s"), copies)
    assert len(rows) == 5
    assert [(one.label, one.key, one.shard) for one in (rows[0], rows[3])] == [
        (0, "sample0000", "000000.tar"), (1, "sample0000", "000001.tar")]  # fmt: skip
    assert [rows[number].content for number in range(5)] == [picture(number) for number in range(5)]
    assert rows.name(3) == "000001.tar/sample0000"
    with pytest.raises(IndexError):
        rows[5]


def test_opened_shards_can_be_sent_to_another_process(tmp_path: Path, copies: Copies) -> None:
    write_shards(tmp_path / "s", [2])
    rows = pickle.loads(pickle.dumps(open_shards(str(tmp_path / "s"), copies)))
    assert rows[1].content == picture(1)


@pytest.mark.parametrize("named", ["{0}/00000{{0..1}}.tar", "{0}/000000.tar::{0}/000001.tar", "file://{0}/000000.tar"])
def test_shards_are_named_by_patterns(tmp_path: Path, copies: Copies, named: str) -> None:
    write_shards(tmp_path, [2, 2, 2])
    assert len(open_shards(named.format(tmp_path), copies)) == (2 if "file" in named else 4)


def test_a_second_look_is_not_taken(tmp_path: Path, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "s", [3])
    first = open_shards(str(tmp_path / "s"), copies).index
    monkeypatch.setattr("hvit.data.shards.opened.scan", None)
    again = open_shards(str(tmp_path / "s"), copies).index
    assert np.array_equal(first.offsets, again.offsets)
    assert first.shards == again.shards


def labels(folder: Path, copies: Copies, kind: str = "folders", **options: object) -> tuple[tuple[str, ...], list]:
    places = [place for part in parts_at(str(folder)).values() for place in part]
    found = open_places(places, copies, LabelOptions(table="-", **options), kind).index  # pyright: ignore
    assert found.spec is not None
    assert found.labels is not None
    return found.spec.names, found.labels.tolist()


@pytest.mark.parametrize(
    ("members", "options", "expected"),
    [
        ({"cls": [b"7", b"3", b"7"]}, {}, (("3", "7"), [1, 0, 1])),
        ({"cls": [b"dog", b"cat", b"dog"]}, {}, (("cat", "dog"), [1, 0, 1])),
        ({"json": [label_json(label=one) for one in (5, 2, 5)]}, {}, (("2", "5"), [1, 0, 1])),
        ({"json": [label_json(classes=one) for one in (["a"], ["b", "a"], [])]}, {},
         (("a", "b"), [[1, 0], [1, 1], [0, 0]])),
        ({"json": [label_json(age=one) for one in (1.5, 2.5, 4)]}, {"label_columns": ("age",)},
         (("label",), [[1.5], [2.5], [4.0]])),
        ({"txt": [b"x", b"y", b"x"]}, {"label_columns": ("txt",)}, (("x", "y"), [0, 1, 0])),
        ({"cls": [b"1", b"3", b"2"]}, {"task": "ordinal"}, (("1", "2", "3"), [0, 2, 1])),
    ],
)  # fmt: skip
def test_labels_of_other_programs(
    tmp_path: Path, copies: Copies, members: dict[str, list[bytes]], options: dict, expected: tuple
) -> None:
    listed = [(f"{number}.{ending}", contents[number]) for number in range(3) for ending, contents in members.items()]
    images = [(f"{number}.png", picture(number)) for number in range(3)]
    write_tar(tmp_path / "s" / "a.tar", sorted([*listed, *images]))
    assert labels(tmp_path / "s", copies, **options) == expected


def test_more_than_a_hundred_class_numbers_are_classes_nevertheless(tmp_path: Path, copies: Copies) -> None:
    write_shards(tmp_path / "s", [150], classes=150)
    names, found = labels(tmp_path / "s", copies)
    assert names == tuple(map(str, range(150)))
    assert found == list(range(150))


def test_shards_without_labels_are_one_unlabelled_set(tmp_path: Path, copies: Copies) -> None:
    write_tar(tmp_path / "s" / "a.tar", [(f"{number}.png", picture(number)) for number in range(3)])
    assert labels(tmp_path / "s", copies, "auto") == (("unlabelled",), [0, 0, 0])
    assert labels(tmp_path / "s", copies, "none") == (("unlabelled",), [0, 0, 0])
    with pytest.raises(UserError, match=r"no sample of the shards has a label.*--data.labels none"):
        labels(tmp_path / "s", copies)


def test_samples_that_cannot_be_used_are_named_and_skipped_up_to_a_number(tmp_path: Path, copies: Copies) -> None:
    write_tar(
        tmp_path / "s" / "a.tar",
        [("0.png", picture(0)), ("0.cls", b"1"), ("1.png", picture(1)), ("2.cls", b"0"), ("3.png", picture(3)),
         ("3.cls", b"0")],
    )  # fmt: skip
    rows = open_shards(str(tmp_path / "s"), copies)
    assert [rows[number].key for number in range(len(rows))] == ["0", "3"]
    with pytest.raises(
        UserError, match="2 samples of the shards cannot be used, and at most 1 may be skipped"
    ) as error:
        open_shards(str(tmp_path / "s"), copies, most_skipped=1)
    assert "a.tar: 2 has no image" in str(error.value)
    assert "a.tar/1 has no label" in str(error.value)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [("nowhere", "does not exist"), ("s/{0..9", "braces that do not fit"),
     ("{0..99999999999}.tar", "more than 1,000,000"), ("{0..9999}{0..9999}.tar", "more than 1,000,000"),
     ("s/a.tar.gz", "is compressed"), ("::", "names no shards"), ("empty", "holds no shards"),
     ("s/000000.tar::s/000000.tar", "twice"), ("s/7.tar", "no such file"), ("text", "is no folder"),
     ("text.tar", "no tar file")],
)  # fmt: skip
def test_what_is_no_shard_is_refused_in_one_sentence(
    tmp_path: Path, copies: Copies, monkeypatch: pytest.MonkeyPatch, named: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_shards(tmp_path / "s", [1])
    Path("empty").mkdir()
    Path("text").write_text("text")
    Path("text.tar").write_text("text " * 300)
    with pytest.raises(UserError, match=sentence):
        open_shards(named, copies)


def test_a_shard_that_was_cut_after_it_was_opened_is_no_bad_image(tmp_path: Path, copies: Copies) -> None:
    write_shards(tmp_path / "s", [4])
    rows = open_shards(str(tmp_path / "s"), copies)
    path = tmp_path / "s" / "000000.tar"
    path.write_bytes(path.read_bytes()[:1100])
    with pytest.raises(UserError, match="shorter than its index says"):
        rows.value(3)
    path.unlink()
    with pytest.raises(UserError, match="there is no such file"):
        rows.value(0)
