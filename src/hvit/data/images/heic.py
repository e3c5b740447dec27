"""HEIC images, as phones take them: opened by pillow-heif where the extra `heic` is installed."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from hvit.data.regular_files import Refusal

_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def open_heic(file: BinaryIO) -> Image.Image | None:
    """The opened, not yet decoded image in a HEIC file; None for a file of another kind, which Pillow does not know.

    Raises Refusal where pillow-heif is not installed.
    """
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp" or head[8:12] not in _BRANDS:
        return None
    try:
        from pillow_heif import HeifImageFile  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Refusal("it is a HEIC image, which needs pillow-heif: pip install 'hvit[heic]'") from None
    return HeifImageFile(file)
