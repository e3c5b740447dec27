"""From a file of any origin to an upright 8-bit picture, or to one sentence that says why not."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from hvit.data.sets import Needed, Reduced
from hvit.errors import UserError
from hvit.markup import shown

MAXIMUM_PIXELS = 178_956_970
"""The largest picture that is decoded, width times height: where Pillow, too, suspects a decompression bomb."""
TOO_LARGE = f"it claims to have more than {MAXIMUM_PIXELS // 10**6} million pixels, the most that is decoded"

# Formats that Pillow decodes by itself. EPS is not among them: Pillow hands it to an outside interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = tuple(turn for orientation, turn in UPRIGHT.items() if orientation >= 5)
"""The turns that exchange width and height."""


def read_image(path: str | Path, channels: int = 3) -> Image.Image:
    """Reads a picture the way a person would see it.

    It is upright (EXIF orientation applied), on white where it is transparent, 8 bits per channel (16-bit grey is
    scaled, not clipped), and the first frame if it moves. The file's content decides what it is, not its name.

    channels: 3 for a picture of mode "RGB", 1 for grey ("L").
    Raises UserError, naming the file and the reason, if it is missing, no picture, damaged, cut off or larger than
    `MAXIMUM_PIXELS`.
    """
    with _opened(path) as image:
        image.load()
        return _plain(image, "L" if channels == 1 else "RGB", _turn_to_upright(image))


def read_reduced(path: str | Path, channels: int, needed: Needed) -> Image.Image | Reduced:
    """As `read_image`; a JPEG picture is decoded at a half, a quarter or an eighth if that leaves what is needed.

    The decoder then makes fewer pixels of the same coefficients, each the mean of those it stands for, nearly.
    """
    with _opened(path) as image:
        turn = _turn_to_upright(image)
        size = _swapped_if(turn in LYING, image.size)
        # Other formats than JPEG ignore this.
        image.draft(None, _swapped_if(turn in LYING, needed(*size)))
        image.load()
        is_reduced = size != _swapped_if(turn in LYING, image.size)
        picture = _plain(image, "L" if channels == 1 else "RGB", turn)
        return Reduced(picture, size) if is_reduced else picture


def _swapped_if(swaps: bool, size: tuple[int, int]) -> tuple[int, int]:
    return (size[1], size[0]) if swaps else size


def check_header(path: str | Path) -> None:
    """Raises the UserError of `read_image` if the first bytes already show that the file cannot be read."""
    with _opened(path):
        pass


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """The pictures that some files and folders stand for.

    A file stands for itself, whatever its name; a folder for every picture in it and in its sub-folders, known by
    its suffix, in alphabetical order. Hidden files are left out, and nothing is listed twice.

    Raises UserError if a path does not exist or a folder holds no picture.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if _is_folder(path):
            pictures = [file for file in walk(path) if is_image_name(file)]
            if not pictures:
                raise UserError(f"{show(path)} holds no picture: expected files ending in {', '.join(SUFFIXES)}.")
            found.update(dict.fromkeys(pictures))
        else:
            found[path] = None
    return list(found)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise UserError(f"cannot read {show(path)}: {_reason(error)}.") from error


def is_image_name(path: Path) -> bool:
    """Whether a file's name ends like a picture's."""
    return path.suffix.lower() in SUFFIXES


def walk(folder: Path) -> Iterator[Path]:
    """Every file in a folder and its sub-folders that is not hidden, in alphabetical order.

    Links are followed, but never in a circle. Raises UserError if a folder may not be listed.
    """
    yield from _walk(folder, frozenset())


def show(path: str | Path) -> str:
    """A path as it can be printed anywhere, even if its name is not valid text or would give orders to a terminal."""
    return shown(str(path))


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot list {show(folder)}: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # `entry.is_dir()` alone raises for a link to itself.
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir()):
            yield from _walk(Path(entry.path), above | {here})
        else:
            yield Path(entry.path)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The opened, not yet decoded picture; whatever goes wrong inside becomes one sentence."""
    with quiet_pillow():
        try:
            _refuse_what_is_no_file(path)
            with Image.open(path, formats=_formats()) as image:
                if image.width * image.height > MAXIMUM_PIXELS:
                    raise _Refusal(TOO_LARGE)
                yield image
        # Damaged files make Pillow's decoders raise almost anything: OSError, SyntaxError, struct.error, KeyError ...
        except Exception as error:
            raise UserError(f"cannot read {show(path)}: {_reason(error)}.") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class _Refusal(Exception):
    """A reason, found by this file itself, not to read a picture."""


def _refuse_what_is_no_file(path: str | Path) -> None:
    state = Path(path).stat()
    if stat.S_ISDIR(state.st_mode):
        raise _Refusal("it is a folder, not a picture")
    if not stat.S_ISREG(state.st_mode):
        raise _Refusal("it is not a regular file")
    if state.st_size == 0:
        raise _Refusal("the file is empty")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "this user has no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return f"it is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture"
    if isinstance(error, Image.DecompressionBombError):
        return TOO_LARGE
    if isinstance(error, _Refusal):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"the system says: {error.strerror}"
    detail = " ".join(show(str(error)).split()).rstrip(".") or type(error).__name__
    return f"the picture is damaged, cut off or of an unknown kind ({detail})"


def _plain(image: Image.Image, mode: str, turn: Image.Transpose | None) -> Image.Image:
    """Upright, 8-bit, without transparency, in the given mode."""
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith(("I", "F")):
        image = _scaled_to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode != mode:
        return image.convert(mode)
    # A picture outlives its file by `copy`, if the file may hold more of them; of a large one that takes as long as
    # decoding it.
    return image if image.format in (None, "JPEG") else image.copy()


def _turn_to_upright(image: Image.Image) -> Image.Transpose | None:
    try:
        return UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:
        # Pixels that decoded are good pixels, even beside a damaged EXIF block.
        return None


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (0 to 65535) or of real numbers (0 to 1) as 8-bit grey."""
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise _Refusal(f"its grey values reach from {values.min()} to {values.max()}, and only 0 to {top} is known")
    return Image.fromarray(np.rint(values.astype(np.float64) * (255 / top)).astype(np.uint8))


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_before: warnings.catch_warnings | None = None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings about odd files inside the block; what matters is raised as an error instead.

    `warnings.catch_warnings` alone is not safe in threads: here the first to enter saves the filters and the last to
    leave restores them.
    """
    global _quiet_depth, _quiet_before
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_before = warnings.catch_warnings()
            _quiet_before.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_before is not None:
                _quiet_before.__exit__(None, None, None)
