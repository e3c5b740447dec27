"""Images and clips in every known format, changed in their bytes, chunks, tags and boxes."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from fuzz_mutations import (
    as_json,
    boxes,
    changed_bytes,
    changed_chunks,
    changed_tree,
    jpeg_segments,
    odd_value,
    png_chunks,
    png_of,
)
from PIL import Image

from hvit.data.clips.collections import CACHE
from hvit.data.clips.decoding import probe, read_frames
from hvit.data.clips.settings import ClipData
from hvit.data.images.reading import look_at, read_image, read_reduced
from hvit.data.open import open_data

_FRAMES = 8


def valid_images() -> dict[str, bytes]:
    """A small image in every format and mode that is read, with orientation, transparency and frames."""
    random_state = np.random.default_rng(0)
    colour = Image.fromarray(random_state.integers(0, 255, (20, 28, 3), dtype=np.uint8))
    alpha = colour.convert("RGBA")
    alpha.putalpha(colour.convert("L"))
    deep = Image.fromarray(random_state.integers(0, 65535, (20, 28), dtype=np.uint16))
    real = Image.fromarray(random_state.random((20, 28), dtype=np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [colour.rotate(90 * turn) for turn in (1, 2)]}
    images: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png": (colour, "PNG", {}),
        "png grey": (colour.convert("L"), "PNG", {}),
        "png alpha": (alpha, "PNG", {"exif": exif}),
        "png palette": (colour.convert("P"), "PNG", {"transparency": 3}),
        "png deep": (deep, "PNG", {}),
        "png bits": (colour.convert("1"), "PNG", {}),
        "apng": (colour, "PNG", frames),
        "jpeg": (colour, "JPEG", {"exif": exif}),
        "jpeg grey": (colour.convert("L"), "JPEG", {}),
        "jpeg progressive": (colour, "JPEG", {"progressive": True}),
        "jpeg cmyk": (colour.convert("CMYK"), "JPEG", {}),
        "tiff": (colour, "TIFF", {}),
        "tiff lzw": (alpha, "TIFF", {"compression": "tiff_lzw"}),
        "tiff deflate": (deep, "TIFF", {"compression": "tiff_deflate"}),
        "tiff real": (real, "TIFF", {}),
        "tiff bits": (colour.convert("1"), "TIFF", {"compression": "group4"}),
        "tiff jpeg": (colour, "TIFF", {"compression": "jpeg"}),
        "tiff pages": (deep, "TIFF", {"save_all": True, "append_images": [deep, deep]}),
        "gif": (colour.convert("P"), "GIF", {}),
        "gif frames": (colour.convert("P"), "GIF", frames | {"transparency": 2}),
        "webp": (colour, "WEBP", {}),
        "webp lossless": (alpha, "WEBP", {"lossless": True, "exif": exif}),
        "webp frames": (colour, "WEBP", frames),
        "bmp": (colour, "BMP", {}),
        "bmp palette": (colour.convert("P"), "BMP", {}),
        "ppm": (colour, "PPM", {}),
        "pgm": (deep, "PPM", {}),
        "avif": (colour, "AVIF", {}),
    }
    made = {}
    for name, (image, kind, options) in images.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made[name] = buffer.getvalue()
    return made


class Images:
    """Image files; read in colour and in grey, in full and reduced."""

    def __init__(self, folder: Path) -> None:
        self.valid = list(valid_images().items())

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        name, content = draw.choice(self.valid)
        path = folder / f"image.{name.split()[0]}"
        path.write_bytes(self.change(draw, name, content))
        channels, way = draw.choice((1, 3)), draw.randrange(4)
        levels = draw.choice(("auto", "auto", "full", "percentile", (0.0, 4095.0)))
        page = draw.choice((1, 1, 2, None)) if "pages" in name or "frames" in name else None

        def read() -> None:
            if way == 0:
                look_at(path, whole=channels == 3, grey_range=levels, page=page)
            if way == 1:
                read_reduced(path, channels, lambda width, height: (width // 3 + 1, height // 3 + 1), levels, page)
                return
            image = read_image(path, channels, levels, page)
            assert image.mode == ("RGB" if channels == 3 else "L"), image.mode

        return read

    def change(self, draw: random.Random, name: str, content: bytes) -> bytes:
        """The content changed in a way that suits its format, or in any bytes."""
        if draw.random() < 0.35:
            return changed_bytes(draw, content, [(0, 64), (0, 400)])
        if "png" in name:
            return png_of(self.change_png(draw, png_chunks(content)))
        if name.startswith("jpeg"):
            return b"".join(changed_chunks(draw, jpeg_segments(content)))
        if name.startswith("tiff"):
            return _changed_tags(draw, content)
        if name.startswith("avif"):
            return changed_bytes(draw, content, boxes(content))
        if name.startswith("webp"):
            return b"".join(changed_chunks(draw, _riff_chunks(content)))
        return changed_bytes(draw, content, [(0, 54)])

    def change_png(self, draw: random.Random, chunks: list[bytes]) -> list[bytes]:
        """Other sizes, depths and colours in the header, chunks of kinds that change how pixels are read, and any."""
        if draw.random() < 0.4:
            width, height = (draw.choice((0, 1, 20, 28, 4000, 13_000, 60_000, 2**31)) for _ in range(2))
            rest = bytes((draw.choice((1, 2, 4, 8, 16)), draw.choice((0, 2, 3, 4, 6)), 0, 0, draw.choice((0, 1))))
            chunks = [b"IHDR" + struct.pack(">II", width, height) + rest, *chunks[1:]]
        if draw.random() < 0.4:
            kinds = (b"tRNS", b"gAMA", b"PLTE", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iTXt", b"IDAT")
            chunks.insert(draw.randrange(1, len(chunks) + 1), draw.choice(kinds) + draw.randbytes(draw.choice((1, 26))))
        return changed_chunks(draw, chunks) if draw.random() < 0.6 else chunks


def _changed_tags(draw: random.Random, content: bytes) -> bytes:
    """A TIFF with other entries in its first directory."""
    made = bytearray(content)
    start = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[start : start + 2], "little")
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = start + 2 + 12 * draw.randrange(max(1, count))
        way = draw.randrange(5)
        value = draw.choice((0, 1, 2, 3, 8, 16, 32, 65_535, 2**31 - 1, 2**32 - 1, start, 20_000))
        if way == 0:
            tags = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 338, 339, 347)
            made[at : at + 2] = struct.pack("<H", draw.choice(tags))
        elif way == 1:
            made[at + 2 : at + 4] = struct.pack("<H", draw.choice((1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 99)))
        elif way == 2:
            made[at + 4 : at + 8] = struct.pack("<I", value)
        elif way == 3:
            made[at + 8 : at + 12] = struct.pack("<I", value)
        else:
            made[start + 2 + 12 * count : start + 6 + 12 * count] = struct.pack("<I", value)
    return bytes(made)


def _riff_chunks(content: bytes) -> list[bytes]:
    chunks, place = [content[:12]], 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        chunks.append(content[place : place + 8 + length + length % 2])
        place += 8 + length + length % 2
    return chunks


def valid_clips(folder: Path) -> dict[str, bytes]:
    """A short clip in some containers and codecs, and as an array."""
    frames = np.random.default_rng(0).integers(0, 255, (_FRAMES, 32, 48, 3), dtype=np.uint8)
    made = {}
    for name, codec in (
        ("mp4", "libx264"), ("mov", "mpeg4"), ("avi", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx"),
        ("mpg", "mpeg1video"), ("flv", "flv"), ("wmv", "wmv2"),
    ):  # fmt: skip
        if codec not in av.codecs_available:
            continue
        path = folder / f"valid.{name}"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            stream.codec_context.thread_count = 1
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        made[name] = path.read_bytes()
    for name, array in (("npy", frames), ("grey.npy", frames[..., 0])):
        buffer = io.BytesIO()
        np.save(buffer, array)
        made[name] = buffer.getvalue()
    return made


class Clips:
    """Clip files and folders of frames; looked at as before training, and some of their frames read."""

    def __init__(self, folder: Path) -> None:
        self.valid = list(valid_clips(folder).items())
        self.images = list(valid_images().items())

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        name, content = draw.choice(self.valid)
        path = folder / f"clip.{name}"
        if draw.random() < 0.1:
            path = folder / "frames"
            path.mkdir()
            for number in range(4):
                kind, image = draw.choice(self.images)
                image = changed_bytes(draw, image) if draw.random() < 0.2 else image
                (path / f"{number}.{kind.split()[0].replace('apng', 'png')}").write_bytes(image)
        elif name.endswith("npy"):
            path.write_bytes(_changed_array(draw, content))
        else:
            hot = boxes(content) if name in ("mp4", "mov") else [(0, 600), (0, 100), (len(content) - 300, len(content))]
            path.write_bytes(changed_bytes(draw, content, hot))
        whole, short_side = draw.random() < 0.5, draw.choice((0, 16))
        wanted = np.array([draw.randrange(_FRAMES) for _ in range(4)])

        def read() -> None:
            facts = probe(path, whole=whole)
            clip = read_frames(path, np.minimum(wanted, facts.frames - 1), facts, short_side)
            assert clip.dtype == np.uint8, clip.dtype
            assert clip.shape[0] == 4, clip.shape

        return read


def _changed_array(draw: random.Random, content: bytes) -> bytes:
    """A .npy file with other words in its header, or any bytes changed."""
    if draw.random() < 0.5:
        return changed_bytes(draw, content, [(0, 128)])
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].decode()
    shape = draw.choice(
        ("(8, 32, 48, 3)", "(8, 32, 48, 4)", "(2, 3)", "()", "(-1, 32, 48, 3)", "(10**9, 32, 48, 3)", "(0, 32, 48, 3)",
         "(4611686018427387904, 4, 4, 3)", "(8, 0, 48, 3)", repr(odd_value(draw))[:3000])
    )  # fmt: skip
    kind = draw.choice(
        ("'|u1'", "'|u1'", "'|O'", "'<f4'", "'|V3'", "'<U9'", "[('a', '|u1')]", repr(odd_value(draw))[:500])
    )
    made = f"{{'descr': {kind}, 'fortran_order': {draw.choice(('False', 'True', '3'))}, 'shape': {shape}, }}\n"
    raw = (made if draw.random() < 0.9 else header[:-9]).encode("latin-1", "replace")
    return content[:8] + struct.pack("<H", len(raw) & 0xFFFF) + raw + content[10 + length :]


class Collections:
    """Folders of clips with what is remembered of them, lists of clips, names of classes, lists of frames."""

    def __init__(self, folder: Path) -> None:
        self.given = folder / "clips"
        for number in range(8):
            place = self.given / ("left", "right")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{number}.npy", np.full((6, 8, 10, 3), 20 * number, np.uint8))
        open_data(ClipData(root=str(self.given)), 0, 3, 4)
        self.remembered = (self.given / CACHE).read_text()
        templates = ("Moving [something] left", "Moving [something]")
        self.lists = {
            "train.csv": "\n".join(f"{('left', 'right')[n % 2]}/{n}.npy {n % 2}" for n in range(8)),
            "train.json": json.dumps([{"id": str(n), "template": templates[n % 2]} for n in range(8)]),
            "names.txt": "one\ntwo\n",
            "names.json": json.dumps({"Moving something left": "0", "Moving something": 1}),
            "frames.csv": "original_vido_id video_id frame_id path labels\n"
            + "\n".join(f'{n} 0 {k} left/{n}.npy/{k}.jpg ""' for n in range(8) for k in range(2)),
        }

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        here = folder / "clips"
        shutil.copytree(self.given, here)
        lists = dict(self.lists)
        changed = draw.choice(list(lists))
        lists[changed] = self.change(draw, changed, lists[changed])
        for name, text in lists.items():
            (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        if draw.random() < 0.3:
            (here / CACHE).write_text(self.change(draw, CACHE, self.remembered), errors="surrogateescape")
            fields = {}
        elif changed.endswith("json"):
            fields = {"train_list": str(folder / "train.json"), "class_names": str(folder / "names.json")}
            fields |= {"train_frames": str(folder / "frames.csv")} if draw.random() < 0.3 else {}
        elif changed == "frames.csv":
            fields = {
                name: str(folder / f"{file}")
                for name, file in (("train_list", "train.json"), ("train_frames", changed))
            }
            fields["class_names"] = str(folder / "names.json")
        else:
            fields = {"train_list": str(folder / "train.csv")}
            fields |= {"class_names": str(folder / "names.txt")} if changed == "names.txt" else {}
        return lambda: open_data(ClipData(root=str(here), **fields), 0, 3, 4).train.read(0, 0)  # pyright: ignore

    def change(self, draw: random.Random, name: str, text: str) -> str:
        """JSON with another tree, lines with other words, or any bytes."""
        kind = draw.randrange(3)
        if kind == 0:
            return changed_bytes(draw, text.encode()).decode("utf-8", "surrogateescape")
        if name.endswith("json"):
            return as_json(changed_tree(draw, json.loads(text)))
        lines = text.split("\n")
        place = draw.randrange(len(lines))
        words = lines[place].split(" ")
        words[draw.randrange(len(words))] = str(odd_value(draw))[:10_000].encode("utf-8", "replace").decode()
        lines[place] = " ".join(words)
        return "\n".join(lines)
