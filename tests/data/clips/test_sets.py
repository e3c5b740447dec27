"""Clips are read a few frames at a time; what fails is replaced in training and named in testing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hvit.data.clips.sets import ClipSet
from hvit.data.sampling import Sampling
from hvit.errors import UserError
from tests.data.clips.made import first_level, names, open_clips


def test_a_clip_that_fails_in_training_is_replaced_by_the_next_readable_one_with_a_warning(
    two_classes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train = open_clips(two_classes).train
    assert isinstance(train, ClipSet)
    last = len(train) - 1
    replacement = first_level(train, 1, draw=7)
    for index in (last, 0):
        Path(str(train.source(index))).write_bytes(b"")  # as if the disk had failed after the check
    for _ in range(2):
        assert (first_level(train, last, draw=7), train.read(last, 7)[1]) == (replacement, 0)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "warning"]
    assert "the file is empty" in lines[0]
    shutil.rmtree(two_classes)
    with pytest.raises(UserError, match="can be read any more"):
        train.read(0, draw=0)


def test_a_held_out_clip_that_fails_is_an_error_that_names_it(two_classes: Path) -> None:
    held_out = open_clips(two_classes).held_out
    assert isinstance(held_out, ClipSet)
    Path(str(held_out.source(1))).unlink()
    held_out.read(0, draw=0)
    for read in (lambda: held_out.read(1, draw=1), lambda: held_out.read_view(1, 3, 5)):
        with pytest.raises(UserError, match=r"no such file.* It is a held-out clip") as caught:
            read()
        assert names(held_out)[1] in str(caught.value)


def test_draws_choose_the_frames_of_training_and_views_those_of_testing() -> None:
    clip = np.arange(100, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    arguments = [clip, clip], np.array([0, 1]), Sampling(4, 2)
    train, test = ClipSet(*arguments, learns=True, seed=3), ClipSet(*arguments)
    levels = [first_level(train, 0, draw) for draw in range(300)]
    # A span is 8 frames long, and the last start 92.
    assert (min(levels), max(levels)) == (0, 91)
    assert levels == [first_level(train, 0, draw) for draw in range(300)]
    assert levels != [first_level(ClipSet(*arguments, learns=True), 0, draw) for draw in range(300)]
    seen = train.read(1, 5)[0][:, 0, 0, 0].astype(int)
    assert (seen[0], seen[-1] - seen[0]) == (levels[5], 7)
    assert [first_level(test, 0, draw) for draw in (0, 9)] == [46, 46]
    assert [int(test.read_view(1, view, 5)[0][0, 0, 0, 0]) for view in range(5)] == [0, 23, 46, 69, 92]
    assert test.read_view(1, 0, 5)[1] == 1
