"""What is known of clips is found out once, remembered until a file changes, and made anew when it is damaged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit.data.clips import collections
from hvit.data.clips import index as clip_index
from hvit.data.clips import sets as clip_sets
from hvit.data.clips.sets import ClipSet
from hvit.data.clips.settings import ClipData
from hvit.data.clips.videos import ClipFacts
from hvit.recipes import get_recipe
from hvit.verbs import train
from tests.data.clips.made import make_clips, names, open_clips, refusal


def test_what_was_found_out_is_remembered_until_a_file_changes(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    usual = clip_index.probe

    def watched(source: Path, *rest: Any) -> ClipFacts:
        looked.append(source.stem)
        return usual(source, *rest)

    monkeypatch.setattr(clip_index, "probe", watched)
    (two_classes / "wave" / "bad.npy").write_text("bad")

    def look(**fields: Any) -> int:
        looked.clear()
        open_clips(two_classes, **fields)
        return len(looked)

    assert look(check="header") == 16
    assert look(check="header") == 0
    assert look() == 16  # the headers do not say whether all decodes
    assert look() == look(check="header") == 0
    make_clips(two_classes / "jump", 1, frames=33)
    os.utime(two_classes / "jump" / "clip001.npy", ns=(1, 1))
    splits = open_clips(two_classes)
    assert sorted(looked) == ["clip000", "clip001"]
    assert "bad.npy" in splits.notes[0]
    place = (names(splits.train) + names(splits.held_out)).index("clip000")
    changed = splits.train if place < len(splits.train) else splits.held_out
    assert isinstance(changed, ClipSet)
    assert changed.facts(place % len(splits.train)).frames == 33
    assert look(frame_rate=12) == 16
    cache = two_classes / collections.CACHE
    assert json.loads(cache.read_text())["clips"]["jump/clip000.npy"][3][0] == 33
    for damaged in ("", "[]", '{"kind": "hvit clips 1"}', cache.read_text().replace("[33", '["x", 33')):
        cache.write_text(damaged)
        assert look(frame_rate=12) == 16


def test_the_memory_moves_with_the_clips_or_lies_where_it_should(
    two_classes: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_clips(two_classes)
    moved = two_classes.rename(tmp_path_factory.mktemp("new") / "clips")
    monkeypatch.setattr(clip_index, "probe", lambda *_: pytest.fail("looked again"))
    assert len(open_clips(moved).train) == 12
    monkeypatch.undo()
    (moved / collections.CACHE).unlink()
    other = tmp_path_factory.mktemp("cache") / "deep" / "index.json"
    open_clips(moved, cache=str(other))
    assert other.is_file()
    other.unlink()
    open_clips(moved, cache="none")
    assert not (moved / collections.CACHE).exists()


def test_data_that_nobody_may_write_beside_are_opened_without_a_memory(two_classes: Path) -> None:
    (two_classes / "file").touch()
    assert len(open_clips(two_classes, cache=str(two_classes / "file" / "index.json")).train) == 12
    assert (two_classes / "file").read_bytes() == b""


def test_what_was_found_out_before_an_interrupt_is_kept(two_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = clip_index.probe
    monkeypatch.setattr(clip_index.os, "cpu_count", lambda: 1)
    make_clips(two_classes / "wave", 40, first=50)

    def interrupted(source: Path, *rest: Any) -> ClipFacts:
        if source.stem == "clip089":
            raise KeyboardInterrupt
        return usual(source, *rest)

    monkeypatch.setattr(clip_index, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_clips(two_classes)
    remembered = json.loads((two_classes / collections.CACHE).read_text())["clips"]
    assert "jump/clip000.npy" in remembered
    assert "wave/clip089.npy" not in remembered


def test_clips_that_were_not_checked_are_looked_at_once_when_they_are_read(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = open_clips(two_classes, check="none").train
    one = train.read(3, 0)[0]
    assert np.array_equal(one, open_clips(two_classes).train.read(3, 0)[0])
    monkeypatch.setattr(clip_sets, "probe", lambda *_: pytest.fail("looked again"))
    assert np.array_equal(train.read(3, 0)[0], one)


def test_a_plan_writes_nothing_not_even_an_index(two_classes: Path) -> None:
    before = sorted(two_classes.rglob("*"))
    lines = train.plan(replace(get_recipe("hiera_micro_mae_clips"), data=ClipData(root=str(two_classes))))
    assert "clips" in lines["data"]
    assert sorted(two_classes.rglob("*")) == before
    open_clips(two_classes)
    assert (two_classes / collections.CACHE).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"no json", b"[]", b"{}", b'{"clips": []}', b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b"null",
        b'{"kind": 1, "clips": {"a": 1}}',
    ],
)  # fmt: skip
def test_a_damaged_index_is_made_anew_and_it_is_said(two_classes: Path, content: bytes) -> None:
    open_clips(two_classes)
    good = (two_classes / collections.CACHE).read_bytes()
    (two_classes / collections.CACHE).write_bytes(content)
    assert (
        f"{two_classes / collections.CACHE} is damaged, so all clips were looked at again."
        in open_clips(two_classes).notes
    )
    assert (two_classes / collections.CACHE).read_bytes() == good
    assert "damaged" not in " ".join(open_clips(two_classes).notes)


@pytest.mark.parametrize(
    "entry",
    [
        [1], "text", None, {}, [1, 2, True, [1, 2, 3]], [1.5, 2, True, "x"], [1, 2, 1, "x"], [1, 2, True, None],
        [1, 2, True, ["8", 30, 0, 4, 4]], [1, 2, True, [0, 30, 0, 4, 4]], [1, 2, True, [8, 1e999, 0, 4, 4]],
        [1, 2, True, [8, 0, 0, 4, 4]], [1, 2, True, [10**12, 30, 0, 4, 4]], [1, 2, True, [8, True, 0, 4, 4]],
    ],
)  # fmt: skip
def test_an_index_with_wrong_entries_is_damaged(two_classes: Path, entry: Any) -> None:
    open_clips(two_classes)
    content = json.loads((two_classes / collections.CACHE).read_text())
    content["clips"]["jump/clip000.npy"] = entry
    (two_classes / collections.CACHE).write_text(json.dumps(content))
    assert "is damaged" in " ".join(open_clips(two_classes).notes)


def test_a_pipe_in_the_place_of_an_index_or_list_keeps_nobody_waiting(two_classes: Path) -> None:
    os.mkfifo(two_classes / collections.CACHE)
    assert len(open_clips(two_classes).train) == 12
    os.mkfifo(two_classes / "list.txt")
    assert "it is not a regular file" in refusal(two_classes, train_list=str(two_classes / "list.txt"))
