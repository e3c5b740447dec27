"""Images of more than 8 bits, written by hand, and what is read of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hvit.data.grey import GreyRange
from hvit.data.images.reading import read_image

RAMP = np.arange(800).reshape(20, 40) / 799


def tiff(path: Path, pages: list[dict[int, Any]], order: str = "<") -> Path:
    """Writes a TIFF: each page has numbers for its tags, and its pixels as bytes under 273."""
    body, nexts = bytearray(b"II*\0" if order == "<" else b"MM\0*"), []
    body += b"\0\0\0\0"
    nexts.append(4)
    for page in pages:
        raw = page[273]
        place = len(body)
        body += raw + b"\0" * (len(raw) % 2)
        tags: list[tuple[int, tuple[int, ...]]] = []
        for tag, value in sorted({**page, 273: place, 279: len(raw)}.items()):
            tags.append((tag, value if isinstance(value, tuple) else (value,)))
        entries = b""
        for tag, values in tags:
            kind = 4 if max(values) > 65535 or tag in (273, 279) else 3
            content = struct.pack(f"{order}{len(values)}{'I' if kind == 4 else 'H'}", *values)
            if len(content) > 4:
                where = len(body)
                body += content
                content = struct.pack(f"{order}I", where)
            entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
        struct.pack_into(f"{order}I", body, nexts[-1], len(body))
        body += struct.pack(f"{order}H", len(tags)) + entries
        nexts.append(len(body))
        body += bytes(4)
    path.write_bytes(body)
    return path


def page(values: np.ndarray, bits: int, **tags: Any) -> dict[int, Any]:
    names = {"photometric": 262, "format": 339, "subfile": 254, "samples": 277, "orientation": 274, "extra": 338}
    found = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: 1, 277: 1, 278: values.shape[0]}
    return found | {273: values.tobytes()} | {names[name]: value for name, value in tags.items()}


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Values in as few bits as they have, rows beginning at a byte."""
    digits = (values.astype(np.int64)[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1)


def packed_page(values: np.ndarray, bits: int, **tags: Any) -> dict[int, Any]:
    found = page(values, bits, **tags)
    return found | {273: packed(values, bits).tobytes()}


def png(
    path: Path, pixels: np.ndarray, colour: int, key: tuple[int, ...] = (), depth: int = 16, width: int = 0
) -> Path:
    """Writes a PNG, (rows, columns) or (rows, columns, channels).

    key: what is transparent. width: where the columns are packed bytes.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = pixels.astype(">u2") if depth == 16 else pixels.astype(np.uint8)
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width or pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    content = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def grey(path: Path, grey_range: GreyRange = "auto") -> np.ndarray:
    return np.asarray(read_image(path, 1, grey_range)).astype(int)


def is_ramp(pixels: np.ndarray, inverted: bool = False) -> bool:
    wanted = 255 * (1 - RAMP if inverted else RAMP)
    return bool(np.abs(pixels - wanted).max() < 1.5)


def scaled(top: float, kind: str) -> np.ndarray:
    return np.rint(RAMP * top).astype(kind)


def around_zero(kind: str) -> np.ndarray:
    return (scaled(2e6, "i8") - 10**6).astype(kind)


def stack(path: Path, count: int = 3, **tags: Any) -> Path:
    pages = [page(np.full((6, 8), 60 * (number + 1), "u1"), 8) for number in range(count)]
    for number, each in enumerate(pages[1:], 1):
        each |= {254: tags.get("subfile", 0)} if number else {}
    return tiff(path, pages)


FILES: dict[str, Callable[[Path], Path]] = {
    "16 bits": lambda path: tiff(path, [page(scaled(65535, "<u2"), 16)]),
    "16 bits, big-endian": lambda path: tiff(path, [page(scaled(65535, ">u2"), 16)], ">"),
    "12 bits in 16": lambda path: tiff(path, [page(scaled(4095, "<u2"), 16)]),
    "12 bits in 16, big-endian": lambda path: tiff(path, [page(scaled(4095, ">u2"), 16)], ">"),
    "10 bits in 16": lambda path: tiff(path, [page(scaled(1023, "<u2"), 16)]),
    "14 bits in 16": lambda path: tiff(path, [page(scaled(16383, "<u2"), 16)]),
    "8 bits in 16": lambda path: tiff(path, [page(scaled(255, "<u2"), 16)]),
    "12 bits packed": lambda path: tiff(path, [packed_page(scaled(4095, "u2"), 12)]),
    "signed 16, positive": lambda path: tiff(path, [page(scaled(4095, "<i2"), 16, format=2)]),
    "signed 16, both": lambda path: tiff(path, [page(scaled(3000, "<i2") - 1000, 16, format=2)]),
    "signed 8": lambda path: tiff(path, [page((scaled(200, "i2") - 100).astype("i1"), 8, format=2)]),
    "32 bits of 12": lambda path: tiff(path, [page(scaled(4095, "<u4"), 32)]),
    "32 bits, all": lambda path: tiff(path, [page(scaled(4294967295, "<u4"), 32)]),
    "signed 32": lambda path: tiff(path, [page(around_zero("<i4"), 32, format=2)]),
    "signed 32, big-endian": lambda path: tiff(path, [page(around_zero(">i4"), 32, format=2)], ">"),
    "real, 0 to 1": lambda path: tiff(path, [page(RAMP.astype("<f4"), 32, format=3)]),
    "real, beyond": lambda path: tiff(path, [page((RAMP * 5000 - 1000).astype("<f4"), 32, format=3)]),
    "real, big-endian": lambda path: tiff(path, [page(RAMP.astype(">f4"), 32, format=3)], ">"),
    "png of 16": lambda path: png(path, scaled(65535, "u2"), 0),
    "png of 12 in 16": lambda path: png(path, scaled(4095, "u2"), 0),
    "png of 12 in 16, colour": lambda path: png(path, scaled(4095, "u2")[..., None].repeat(3, 2), 2),
    "png of 12 in 16, opaque": lambda path: png(
        path, np.dstack([scaled(4095, "u2"), np.full((20, 40), 65535)]), 4
    ),
    "png of 12 in 16, colour, opaque": lambda path: png(
        path, np.dstack([*[scaled(4095, "u2")] * 3, np.full((20, 40), 65535)]), 6
    ),
}  # fmt: skip


def make_deep_folder(root: Path) -> Path:
    """Two classes of images with 12 bits, those of the first class dark."""
    for name, top in (("dark", 900), ("light", 4000)):
        (root / "deep" / name).mkdir(parents=True)
        for number in range(5):
            png(root / "deep" / name / f"{number}.png", scaled(top - number, "u2"), 0)
    return root / "deep"
