"""Odd values, and files and trees with some of their parts changed: what `fuzz.py` makes its cases from."""

from __future__ import annotations

import copy
import io
import json
import pickle
import pickletools
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

MARKUP = "<b id=fuzz>&\"'"
"""Text that must appear escaped in a page."""
CONTROL = "\x1b[2J\u202e\r\n\x9b\ud800"
"""Text that must appear escaped on a terminal."""
_BOTTOMLESS = "bottomless"
ODD_NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 255, 4097, 65_535, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 10**30, -(10**18),
    0.0, -0.5, 0.5, 1.5, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
ODD_TEXTS = (
    "", " ", "7", "-1", "none", "None", "true", "../../x", "/dev/zero", "~", "a/b", "*", "é", "e\u0301", "x" * 10_000,
    "\0", MARKUP, CONTROL, "%s{0}", "1e999", "0x10", "classes", "module.module.", "__class__",
)  # fmt: skip
_INTEGERS = tuple(
    struct.pack(order + kind, value & (256**width - 1))
    for order in "<>"
    for kind, width in (("H", 2), ("I", 4), ("Q", 8))
    for value in (0, 1, 2, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
)


def odd_value(draw: random.Random) -> Any:
    """Something that JSON can hold and that is rarely right."""
    kind = draw.randrange(10)
    if kind < 4:
        return draw.choice(ODD_NUMBERS)
    if kind < 7:
        return draw.choice(ODD_TEXTS)
    if kind == 7:
        return draw.choice((None, True, False))
    if kind == 8:
        return draw.choice(([], {}, [[]], [0, 0], [-1, 2], ["a"], [None], {"": 0}, [2**40, 2**40], [1] * 5_000))
    return draw.choice((nested(draw.choice((3, 50)), draw.choice((list, dict))), _BOTTOMLESS))


def nested(depth: int, kind: type) -> Any:
    """Lists, or dicts, one inside the other."""
    tree: Any = 0
    for _ in range(depth):
        tree = [tree] if kind is list else {"a": tree}
    return tree


def as_json(tree: Any) -> str:
    """JSON, in which some places are nested more deeply than Python's own writer goes."""
    depth = 100_000
    return json.dumps(tree).replace(f'"{_BOTTOMLESS}"', "[" * depth + "]" * depth)


def changed_tree(draw: random.Random, tree: Any, odd: Callable[[random.Random], Any] = odd_value) -> Any:
    """A copy of lists and dicts with one to three changes: values, names, order, what is there at all."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return odd(draw)
        holder, key = draw.choice(places)
        _change(draw, holder, key, odd)
    return tree


def _places(tree: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    entries: Any = ()
    if isinstance(tree, dict):
        entries = list(tree.items())
    elif isinstance(tree, list):
        entries = list(enumerate(tree[:40]))
    for key, branch in entries:
        yield tree, key
        if depth < 20:
            yield from _places(branch, depth + 1)


def _change(draw: random.Random, holder: Any, key: Any, odd: Callable[[random.Random], Any]) -> None:
    value = holder[key]
    kind = draw.randrange(9)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and draw.random() < 0.5:
        near = (value + 1, value - 1, value * 2, value * 3, value / 2, 0, 1)
        holder[key] = type(value)(draw.choice(near)) if abs(value) < 1e15 else 0
    elif isinstance(value, bool) and draw.random() < 0.5:
        holder[key] = not value
    elif kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        name = odd(draw)
        holder[name if isinstance(name, str) else str(name)[:100]] = holder.pop(key)
    elif kind == 1:
        holder.insert(key, copy.deepcopy(value))
    elif kind == 2 and is_number:
        times = draw.choice((2, 3, 10, 1000, -1, 10**6))
        holder[key] = value * times + draw.choice((0, 1, -1))
    elif kind == 3:
        holder[key] = draw.choice(([value], {"a": value}, str(value)[:1000]))
    elif kind == 4:
        others = list(holder) if isinstance(holder, dict) else range(len(holder))
        holder[key] = copy.deepcopy(holder[draw.choice(list(others))])
    elif kind == 5 and isinstance(value, list):
        holder[key] = draw.choice((value * 2, value[:-1], value[::-1], [*value, odd(draw)]))
    elif kind == 5 and is_number:
        holder[key] = float(value) if abs(value) < 10**300 else 0.0
    else:
        holder[key] = odd(draw)


def changed_bytes(draw: random.Random, content: bytes, hot: Sequence[tuple[int, int]] = ()) -> bytes:
    """The content with one to eight changes. hot: parts (start, end) where most of them fall."""
    content_now = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, 8))):
        size = len(content_now)
        if not size:
            break
        start, end = draw.choice(hot) if hot and draw.random() < 0.8 else (0, size)
        start, end = max(0, min(start, size - 1)), max(1, min(end, size))
        place = draw.randrange(start, max(start + 1, end))
        length = draw.choice((1, 2, 4, 8, 16, 100, 1000))
        kind = draw.randrange(10)
        if kind == 0:
            content_now[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content_now[place] = draw.randrange(256)
        elif kind in (2, 3):
            number = draw.choice(_INTEGERS)
            content_now[place : place + len(number)] = number
        elif kind == 4:
            del content_now[place : place + length]
        elif kind == 5:
            content_now[place:place] = draw.randbytes(length)
        elif kind == 6:
            content_now[place:place] = content_now[place : place + length]
        elif kind == 7:
            content_now[place : place + length] = bytes(min(length, size - place))
        elif kind == 8 and draw.random() < 0.5:
            del content_now[place:]
        else:
            other = draw.randrange(size)
            content_now[place : place + length] = content_now[other : other + length]
    return bytes(content_now)


def changed_pickle(draw: random.Random, content: bytes) -> bytes:
    """A pickle, or several one after the other and what follows them, with some of its opcodes changed."""
    pieces, rest = _opcodes(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not pieces:
            break
        place = draw.randrange(len(pieces))
        kind = draw.randrange(8)
        if kind == 0:
            del pieces[place]
        elif kind == 1:
            pieces.insert(place, pieces[draw.randrange(len(pieces))])
        elif kind == 2:
            other = draw.randrange(len(pieces))
            pieces[place], pieces[other] = pieces[other], pieces[place]
        elif kind in (3, 4):
            integers = [at for at, piece in enumerate(pieces) if piece[:1] in b"KMJ\x8a"]
            at = draw.choice(integers or [place])
            pieces[at] = pickle_integer(draw.choice([one for one in ODD_NUMBERS if isinstance(one, int)]))
        elif kind == 5:
            names = [at for at, piece in enumerate(pieces) if piece[:1] == b"c"]
            pieces[draw.choice(names or [place])] = draw.choice(_GLOBALS)
        else:
            pieces.insert(place, draw.choice(_OPCODES))
    return b"".join(pieces) + rest


def _opcodes(content: bytes) -> tuple[list[bytes], bytes]:
    pieces, start = [], 0
    while start < len(content):
        stream = io.BytesIO(content[start:])
        try:
            places = [at or 0 for _, _, at in pickletools.genops(stream)]
        except Exception:
            break
        pieces += [content[start + at : start + end] for at, end in pairwise([*places, stream.tell()])]
        start += stream.tell()
    return pieces, content[start:]


def pickle_integer(value: int) -> bytes:
    """The opcode that puts an integer on a pickle's stack."""
    return pickle.dumps(value, 2)[2:-1]


_GLOBALS = tuple(
    f"c{name}\n".encode()
    for name in (
        "os\nsystem", "posix\nsystem", "builtins\neval", "builtins\nbytearray", "builtins\ngetattr", "builtins\nset",
        "_codecs\nencode", "collections\nOrderedDict", "collections\nCounter", "torch\nFloatStorage",
        "torch\nQInt8Storage", "torch\nSize", "torch\ndevice", "torch._utils\n_rebuild_tensor_v2",
        "torch._utils\n_rebuild_parameter", "torch._utils\n_rebuild_sparse_tensor", "torch._utils\n_rebuild_qtensor",
        "torch._utils\n_rebuild_meta_tensor_no_storage", "torch._utils\n_rebuild_wrapper_subclass",
        "torch._tensor\n_rebuild_from_type_v2", "torch.nn.parameter\nParameter", "torch.storage\nUntypedStorage",
        "torch.storage\n_load_from_bytes", "argparse\nNamespace", "numpy\ndtype", "numpy\nndarray",
        "numpy._core.multiarray\nscalar", "numpy._core.multiarray\n_reconstruct", "hvit.files\nwrite_text",
        "torch\nfloat32", "torch.serialization\n_get_layout", "no.such\nthing",
    )
)  # fmt: skip
_OPCODES = (
    b"R", b"b", b"(", b")", b"t", b".", b"0", b"2", b"N", b"]", b"}", b"u", b"s", b"e", b"Q", b"\x85", b"\x86", b"\x81",
    b"h\x00", b"h\x05", b"j\xff\xff\xff\x7f", b"q\x00", b"r\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"X\x01\0\0\0a",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x8b\xff\xff\xff\x7f", b"\x96" + b"\0\0\0\x80\0\0\0\0", b"P1\n", b"F1e9\n",
    b"\x95" + b"\xff" * 8, b"I" + b"9" * 5000 + b"\n", b"\x8f", b"\x90", b"\x91", b"](" * 500, *_GLOBALS[:4],
)  # fmt: skip


def changed_zip(draw: random.Random, content: bytes) -> bytes:
    """A zip archive whose entries are changed, compressed, repeated, renamed, cut off or gone."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(part.filename, archive.read(part)) for part in archive.infolist()]
    pickles = [at for at, (name, _) in enumerate(entries) if name.endswith("data.pkl")]
    packing = [zipfile.ZIP_STORED] * len(entries)
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.choice(pickles) if pickles and draw.random() < 0.6 else draw.randrange(len(entries))
        name, data = entries[place]
        kind = draw.randrange(9)
        if kind < 4:
            entries[place] = name, changed_pickle(draw, data) if name.endswith(".pkl") else changed_bytes(draw, data)
        elif kind == 4 and len(entries) > 1:
            del entries[place], packing[place]
            pickles = [at for at, (name, _) in enumerate(entries) if name.endswith("data.pkl")]
        elif kind == 5:
            entries.append((name, draw.choice((data, b"", bytes(10)))))
            packing.append(zipfile.ZIP_STORED)
        elif kind == 6:
            entries[place] = draw.choice((name + "x", f"other/{name}", "../" + name, "data.pkl", name.upper())), data
        elif kind == 7:
            entries[place] = name, draw.choice((data[: len(data) // 2], data + data, bytes(len(data) + 5_000_000)))
            packing[place] = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        else:
            packing[place] = draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for (name, data), how in zip(entries, packing, strict=True):
            archive.writestr(zipfile.ZipInfo(name), data, how)
    made = buffer.getvalue()
    return changed_bytes(draw, made, zip_headers(made)) if draw.random() < 0.3 else made


def zip_headers(content: bytes) -> list[tuple[int, int]]:
    """Where an archive keeps its directory and the headers of its first entries."""
    directory = content.find(b"PK\x01\x02")
    return [(0, 120), (max(0, directory), len(content)), (max(0, len(content) - 120), len(content))]


def changed_chunks(draw: random.Random, chunks: list[bytes]) -> list[bytes]:
    """A list of the parts of a file, some of them gone, repeated, exchanged, cut off or changed inside."""
    chunks = list(chunks)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not chunks:
            break
        place, kind = draw.randrange(len(chunks)), draw.randrange(7)
        if kind == 0:
            del chunks[place]
        elif kind == 1:
            chunks.insert(draw.randrange(len(chunks)), chunks[place])
        elif kind == 2:
            other = draw.randrange(len(chunks))
            chunks[place], chunks[other] = chunks[other], chunks[place]
        elif kind == 3:
            chunks[place] = chunks[place][: draw.randrange(len(chunks[place]) + 1)]
        else:
            chunks[place] = changed_bytes(draw, chunks[place], [(0, 40)])
    return chunks


def png_chunks(content: bytes) -> list[bytes]:
    """Kind and data of every chunk of a PNG, without lengths and checksums."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append(content[place + 4 : place + 8 + length])
        place += 12 + length
    return chunks


def png_of(chunks: Sequence[bytes]) -> bytes:
    """The PNG of some chunks, with right lengths and checksums."""
    made = b"\x89PNG\r\n\x1a\n"
    for chunk in chunks:
        made += struct.pack(">I", max(0, len(chunk) - 4)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return made


def jpeg_segments(content: bytes) -> list[bytes]:
    """The segments of a JPEG up to its scan, and the rest."""
    segments, place = [content[:2]], 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        segments.append(content[place : place + 2 + length])
        place += 2 + length
    return [*segments, content[place:]]


def boxes(content: bytes, start: int = 0, end: int | None = None, depth: int = 0) -> list[tuple[int, int]]:
    """Where the headers of the boxes of an ISO media file (MP4, AVIF) are, those inside of others, too."""
    found, end = [], len(content) if end is None else end
    while start + 8 <= end and len(found) < 200:
        length, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        if length < 8 or start + length > end:
            break
        if kind != b"mdat":
            found.append((start, start + min(length, 100)))
            if depth < 8 and kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"meta", b"iprp", b"ipco"):
                inner = start + (12 if kind == b"meta" else 8)
                found += boxes(content, inner, start + length, depth + 1)
        start += length
    return found
