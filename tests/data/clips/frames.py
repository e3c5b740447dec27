"""Frames of grey levels that say their numbers, read and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hvit.data.clips.decoding import probe, read_frames
from hvit.errors import UserError

Numbered = Callable[..., np.ndarray]
MakeVideo = Callable[..., Path]


def numbers(clip: np.ndarray) -> list[int]:
    """The numbers of frames that were made by `numbered`."""
    return np.rint(clip.mean((1, 2, 3)) / 4).astype(int).tolist()


def read(path: Path, *indices: int, **fields: int) -> np.ndarray:
    return read_frames(path, np.array(indices), probe(path), **fields)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith("cannot read ")
    assert message.count("\n") == 0
    return message
