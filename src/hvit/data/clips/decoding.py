"""From a video file, a folder of frames or an array to the wanted frames, or to one sentence that says why not.

Frame number i of a clip is what is on the screen in the middle of the i-th of its equal intervals, so clips of variable
frame rate play at their true speed.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from hvit.data.clips import videos
from hvit.data.clips.videos import ClipFacts
from hvit.data.grey import GreyRange
from hvit.data.images.held import HeldClip
from hvit.data.images.listing import is_image_name, show
from hvit.data.images.memory import MOST_MEMORY
from hvit.data.images.reading import look_at, read_image
from hvit.data.regular_files import NotRegularError, Refusal, check_regular, entries_of, is_folder, system_reason
from hvit.errors import UserError

Source = Path | np.ndarray | HeldClip
"""A video file, a folder of frames, a .npy file, an array (frames, height, width, channels) uint8 in memory, or a clip
that a program holds."""

SHORT_SIDE = 512
"""Shorter side in pixels to which frames are scaled down before a model's preprocessing, where nobody asks for more."""


def is_clip_name(path: Path) -> bool:
    """Whether a file's name ends like a video's or an array's."""
    return path.suffix.lower() in (*videos.VIDEO_SUFFIXES, ".npy")


def probe(source: Source, frame_rate: float = 30.0, whole: bool = False, page: int | None = None) -> ClipFacts:
    """Looks at a clip: its header and first frame, or all of it.

    frame_rate: frames per second of folders of frames and arrays, which do not say theirs. whole: whether every frame
    is decoded, as far as that takes 8 seconds, to see that it can be. page: of frames that are files of several pages.
    Raises UserError, naming the file and the reason, if it cannot be read.
    """
    if isinstance(source, HeldClip):
        source = source.array()
    if isinstance(source, np.ndarray):
        return _array_facts(_checked(source, "the array"), frame_rate)
    with _one_sentence(source):
        if is_folder(source):
            files = frame_files(source)
            if not files:
                raise Refusal("it is a folder without images")
            first = read_image(files[0], page=page)
            for file in files[1:] if whole else []:
                look_at(file, True, page=page)
            return ClipFacts(len(files), frame_rate, 0.0, first.height, first.width)
        _refuse_what_is_no_file(source)
        if source.suffix.lower() == ".npy":
            return _array_facts(_load_array(source), frame_rate)
        return videos.probe_video(source, whole)


def read_frames(
    source: Source,
    indices: np.ndarray,
    facts: ClipFacts,
    short_side: int = 0,
    grey_range: GreyRange = "auto",
    page: int | None = None,
) -> np.ndarray:
    """Some frames of a clip, upright: (number of indices, height, width, channels) uint8; one channel for grey arrays.

    indices: from 0 to facts.frames - 1, in any order, the same one as often as wanted. facts: what `probe` says.
    short_side: frames whose shorter side is longer are scaled down to it; 0 for never. grey_range, page: how frames
    that are image files are read.
    Raises UserError, naming the file and the reason, if it cannot be read.
    """
    wanted, places = np.unique(indices, return_inverse=True)
    height, width = fitted(facts.height, facts.width, short_side)
    if isinstance(source, HeldClip):
        source = source.array()
    if isinstance(source, np.ndarray):
        return _scaled(_checked(source, "the array")[wanted], height, width)[places]
    with _one_sentence(source):
        memory = 3 * len(indices) * height * width
        if memory > MOST_MEMORY:
            raise Refusal(
                f"{len(indices)} of its frames of {height:,} x {width:,} pixels take {memory / 1e9:.1f} GB, and at "
                f"most {MOST_MEMORY / 1e9:g} GB are used: make them smaller, or choose a smaller --data.short-side"
            )
        if is_folder(source):
            files = frame_files(source)
            _refuse_fewer_frames(len(files), wanted, facts)
            frames = (read_image(files[index], 3, grey_range, page) for index in wanted)
            clip = np.stack([np.asarray(_sized(frame, height, width)) for frame in frames])
            return clip[places]
        _refuse_what_is_no_file(source)
        if source.suffix.lower() == ".npy":
            array = _load_array(source)
            _refuse_fewer_frames(len(array), wanted, facts)
            # A frame at a time: all at once, before they are scaled down, may be gigabytes.
            clip = np.concatenate([_scaled(array[index : index + 1], height, width) for index in wanted])
        else:
            times = facts.start + (wanted + 0.5) / facts.rate
            clip = videos.read_video(source, times.tolist(), facts, height, width)
    return clip[places]


def _refuse_fewer_frames(frames: int, wanted: np.ndarray, facts: ClipFacts) -> None:
    if frames <= wanted[-1]:
        raise Refusal(f"it has {frames} frames, and had {facts.frames} when it was first looked at")


def fitted(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of a frame whose shorter side is at most so long (0 for as it is), in the same proportions."""
    shorter = min(height, width)
    if not short_side or shorter <= short_side:
        return height, width
    return round(height * short_side / shorter), round(width * short_side / shorter)


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # Damaged files make decoders raise almost anything.
    except Exception as error:
        raise UserError(f"cannot read {show(path)}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    # Names instead of classes: PyAV may not be installed.
    kind = type(error).__name__
    if isinstance(error, Refusal):
        return str(error)
    if kind in ("ExitError", "TimeoutError"):
        return videos.TOO_SLOW.format(videos.LONGEST_READ)
    if kind == "DecoderNotFoundError":
        return "its codec is unknown"
    if kind == "InvalidDataError" or getattr(error, "errno", None) == errno.EINVAL:
        return "it is damaged, cut off or no video of a known kind"
    if isinstance(error, OSError) and (error.strerror or isinstance(error, NotRegularError)):
        return system_reason(error)
    return f"it is damaged or of an unknown kind ({' '.join(show(str(error)).split()).rstrip('.') or kind})"


def _refuse_what_is_no_file(path: Path) -> None:
    check_regular(path.stat())


def frame_files(folder: Path) -> list[Path]:
    """The images in a folder by the numbers in their names: frame2 comes before frame10."""
    files = [Path(entry.path) for entry in entries_of(folder) if not entry.name.startswith(".")]
    return sorted((file for file in files if is_image_name(file)), key=_by_number)


def _by_number(file: Path) -> list[str]:
    return [part.zfill(20) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


def _load_array(path: Path) -> np.ndarray:
    with np.errstate(over="ignore"):  # a shape that no file has is refused anyway
        array = _checked(np.load(path, mmap_mode="r", allow_pickle=False), show(path))
    if array.shape[1] * array.shape[2] > videos.MAXIMUM_FRAME_PIXELS:
        raise Refusal(videos.TOO_LARGE.format(videos.MAXIMUM_FRAME_PIXELS))
    return array


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    """The array as (frames, height, width, channels)."""
    frames = array[..., None] if array.ndim == 3 else array
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] not in (1, 3) or not frames.size:
        raise UserError(
            f"cannot read {name} as a clip: it must be (frames, height, width) or (frames, height, width, 1 or 3) of "
            f"uint8, and is {array.shape} of {array.dtype}."
        )
    return frames


def _array_facts(array: np.ndarray, frame_rate: float) -> ClipFacts:
    return ClipFacts(array.shape[0], frame_rate, 0.0, array.shape[1], array.shape[2])


def _scaled(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    if frames.shape[1:3] == (height, width):
        return frames
    pictures = [Image.fromarray(frame.squeeze(2) if frame.shape[2] == 1 else frame) for frame in frames]
    resized = np.stack([np.asarray(_sized(picture, height, width)) for picture in pictures])
    return resized.reshape(len(frames), height, width, -1)


def _sized(picture: Image.Image, height: int, width: int) -> Image.Image:
    return picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BICUBIC)
