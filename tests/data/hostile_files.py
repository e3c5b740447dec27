"""Small files that would cost much: memory, time, or a process that waits for ever."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(count: int) -> bytes:
    """So many zero bytes, compressed by zlib: one block again and again, which takes no time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(count & ((1 << 20) - 1))) + packer.flush()
    return b"\x78\x01" + block * (count >> 20) + rest + struct.pack(">I", (count % 65521) << 16 | 1)


def png(width: int, height: int, depth: int, colour: int, *extra: bytes, data: bytes | None = None) -> bytes:
    """A black PNG. extra: chunks before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (width * channels * depth + 7) // 8
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zeros(row * height) if data is None else data)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def tiff(entries: dict[int, tuple[int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """A TIFF of one page. entries: tag -> (kind, value); data lies at byte 8. following: where another page is."""
    place = 8 + len(data) + len(data) % 2
    found = struct.pack("<H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        found += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", place) + data.ljust(place - 8, b"\0") + found + struct.pack("<I", following)


def tiff_tags(
    width: int, height: int, bits: int = 8, compression: int = 1, size: int = 0
) -> dict[int, tuple[int, int]]:
    return {
        256: (4, width), 257: (4, height), 258: (3, bits), 259: (3, compression), 262: (3, 1), 273: (4, 8), 277: (3, 1),
        278: (4, height), 279: (4, size),
    }  # fmt: skip


def jpeg_of_many_passes(path: Path, passes: int) -> None:
    """A progressive JPEG whose last pass is there again and again."""
    Image.new("L", (4000, 4000)).save(path, "JPEG", progressive=True)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * passes + b"\xff\xd9")


def write_all(folder: Path) -> Iterator[Path]:
    """Writes every file; the largest has some hundred KB."""
    # Headers that promise much, and little behind them.
    contents = {
        "huge.png": png(60_000, 60_000, 8, 2, data=zlib.compress(b"")),
        "wide.png": png(2**31 - 1, 1, 8, 0, data=zlib.compress(b"")),
        "huge.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(9) + b"\x02\x00;",
        "huge.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "huge.ppm": b"P6 100000 100000 255\n",
        "plain.pgm": b"P2 13000 13000 255\n" + b"0 " * 50_000,
        "slow.pgm": b"P5 13000 13000 4095\n" + bytes(1000),
        "huge.tif": tiff(tiff_tags(2**31, 2**31)),
        "tile.tif": tiff(
            {**tiff_tags(10, 10, compression=8), 322: (4, 65_536), 323: (4, 65_536), 324: (4, 8), 325: (4, 100)},
            zeros(100_000),
        ),
        "circle.tif": tiff(tiff_tags(2, 2, size=4), bytes(4), following=12),
        # Little behind a header that is just allowed, or was.
        "black_rgb.png": png(13_300, 13_300, 8, 2),
        "black_rgba.png": png(13_300, 13_300, 8, 6),
        "black_allowed.png": png(10_500, 10_500, 8, 2),
        "black_rgba_allowed.png": png(10_500, 10_500, 8, 6),
        "black_grey.png": png(13_300, 13_300, 8, 0),
        "black_bits.png": png(13_300, 13_300, 1, 0),
        "black_16.png": png(12_200, 12_200, 16, 0),
        "black_16_rgb.png": png(8_600, 8_600, 16, 2),
        "deflated.tif": tiff(tiff_tags(12_000, 12_000, compression=8, size=10**6), zeros(144_000_000)),
        # Long texts and profiles, many chunks.
        "text.png": png(4, 4, 8, 0, png_chunk(b"zTXt", b"a\0\0" + zeros(400_000_000))),
        "texts.png": png(4, 4, 8, 0, *[png_chunk(b"zTXt", b"a\0\0" + zeros(1_000_000))] * 300),
        "profile.png": png(4, 4, 8, 0, png_chunk(b"iCCP", b"a\0\0" + zeros(400_000_000))),
        "exif.png": png(
            4, 4, 8, 0, png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + b"\x0f\x01\x02\0\xff\xff\xff\x7f" * 40)
        ),
        "chunks.png": png(4, 4, 8, 0, png_chunk(b"teXt", b"") * 20_000),
        "behind.png": png(4, 4, 8, 0, data=zeros(400_000_000)),
    }
    pages = b"".join(
        struct.pack("<HHHIIHHIII", 2, 256, 3, 1, 2, 257, 3, 1, 2, 8 + 30 * (number + 1)) for number in range(20_000)
    )
    contents["pages.tif"] = b"II*\0\x08\0\0\0" + pages
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name
    for name, options in {
        "black.webp": {"lossless": True},
        "progressive.jpg": {"progressive": True},
        "black.jpg": {},
    }.items():
        Image.new("RGB", (9_000, 9_000)).save(folder / name, **options)
        yield folder / name
    jpeg_of_many_passes(folder / "passes.jpg", 3000)
    yield folder / "passes.jpg"
    frames = [Image.new("L", (40, 40), number % 256) for number in range(400)]
    frames[0].save(folder / "long.gif", save_all=True, append_images=frames[1:])
    yield folder / "long.gif"
    # What is no file.
    os.mkfifo(folder / "pipe.png")
    yield folder / "pipe.png"
    (folder / "nowhere.png").symlink_to(folder / "none")
    yield folder / "nowhere.png"
    (folder / "circle.png").symlink_to(folder / "circle.png")
    yield folder / "circle.png"
    (folder / "device.png").symlink_to("/dev/zero")
    yield folder / "device.png"
    (folder / "folder.png").mkdir()
    yield folder / "folder.png"
    with socket.socket(socket.AF_UNIX) as plug:
        try:
            plug.bind(str(folder / "socket.png"))
        except OSError:  # a path that is too long for a socket
            return
    yield folder / "socket.png"


def write_clips(folder: Path) -> Iterator[Path]:
    """The same for clips."""
    header = np.lib.format.magic(1, 0)
    for name, shape in (("huge.npy", (10**6, 10**4, 10**4, 3)), ("many.npy", (2**62, 1, 1, 3))):
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        (folder / name).write_bytes(header + struct.pack("<H", len(text)) + text + bytes(100))
        yield folder / name
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 4, 4), }".ljust(117) + b"\n"
    (folder / "objects.npy").write_bytes(header + struct.pack("<H", len(text)) + text + b"cos\nsystem\n")
    yield folder / "objects.npy"
    os.mkfifo(folder / "pipe.mp4")
    yield folder / "pipe.mp4"
    (folder / "device.mp4").symlink_to("/dev/zero")
    yield folder / "device.mp4"
