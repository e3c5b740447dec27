"""A clip is drawn as a strip of frames with the evidence of each class, and as a moving picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.errors import UserError
from hvit.explain.drawing.clip_picture import FRAMES_SHOWN, draw_clip_maps, write_clip_gif
from tests.explain.drawing.trees import HOSTILE, texts

CLIP = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
MAPS = [np.random.default_rng(seed).normal(size=(4, 2, 3)) for seed in (1, 2)]


def test_a_strip_shows_some_frames_from_the_first_to_the_last_with_a_row_for_each_class() -> None:
    figure = draw_clip_maps(CLIP, MAPS, ["cat", HOSTILE[1]], [0.9, 0.05])
    written = [text.get_text() for text in texts(figure)]
    frames = [text for text in written if text.startswith("frame ")]
    assert len(frames) == FRAMES_SHOWN
    assert (frames[0], frames[-1]) == ("frame 1", "frame 12")
    assert len(figure.axes[0].images) == FRAMES_SHOWN * 3
    assert "cat" in written


def test_a_moving_picture_has_every_frame_next_to_its_evidence(tmp_path: Path) -> None:
    write_clip_gif(CLIP[..., :1], MAPS, tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as picture:
        assert picture.n_frames == 12  # pyright: ignore[reportAttributeAccessIssue]
        assert picture.width == pytest.approx(3 * picture.height * 48 / 32, abs=3)
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        write_clip_gif(CLIP, MAPS, tmp_path / "file" / "clip.gif")
