"""Small videos for the tests of this room, made where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.data.sets import ImageSet
from tests.data.deep_files import make_deep_folder

MakeVideo = Callable[..., Path]


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """Writes a video: make_video(path, frames (count, height, width, 3) uint8, rate=25, times=None, keys=12,
    shape=None).

    times: the moments at which the frames appear, in milliseconds, for variable frame rates. keys: frames from one key
    frame to the next. shape: width of a pixel as a multiple of its height. The frames decode almost as they were.
    """
    av = pytest.importorskip("av")

    def make(
        path: Path,
        frames: np.ndarray,
        rate: int = 25,
        times: Sequence[int] | None = None,
        keys: int = 12,
        shape: Fraction | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "1", "g": str(keys)})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
            if shape is not None:
                stream.codec_context.sample_aspect_ratio = shape
            if times is not None:
                stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            for number, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[number], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture(scope="session")
def numbered() -> Callable[..., np.ndarray]:
    """Frames of which number n is of grey level 4 n: numbered(count, height=32, width=48)."""

    def make(count: int, height: int = 32, width: int = 48) -> np.ndarray:
        levels = (4 * np.arange(count)).astype(np.uint8)
        return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()

    return make


@pytest.fixture
def deep_folder(tmp_path: Path) -> Path:
    """Two classes of images with 12 bits, those of the first class dark."""
    return make_deep_folder(tmp_path)


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """The small digits that are trained on."""
    return open_data(DigitsData(), 0, 1).train
