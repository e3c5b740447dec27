"""Weights files that were made to do harm: each is refused in one sentence, within 10 seconds and 1 GB.

Every file is opened in a watched process, as `hvit predict` opens it. Run as a script, this file is the program that
does so: `python tests/models/weights/test_hostile_weights.py FOLDER` prints a line of JSON for each file of a folder.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
import pytest
import torch
from PIL import Image
from safetensors.torch import save

import hvit
from hvit.errors import UserError
from hvit.models.build import build_network
from hvit.models.catalogue import entry
from hvit.models.weights.load import to_timm
from hvit.models.weights.save import save_weights
from hvit.verbs.classifier import open_classifier
from hvit.verbs.predict import predict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds of memory are asked of Linux")
PICKLE = "archive/data.pkl"
LONGEST = 10  # seconds of processor time
MOST_MEMORY = 2**30
NEST = replace(entry("nest_micro_32").config, depths=(1, 1, 1))  # pyright: ignore[reportCallIssue]

# Parts of pickles, by hand: Python's own pickler writes nothing dangerous.


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def row(items: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(number, items)) + b"t"


def call(function: str, *arguments: bytes) -> bytes:
    return b"c" + function.encode() + b"\n(" + b"".join(arguments) + b"tR"


def storage(count: int = 4, key: str = "0", kind: str = "torch\nFloatStorage", old: bool = False) -> bytes:
    named = b"(" + text("storage") + b"c" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count)
    return named + (b"NtQ" if old else b"tQ")


def tensor(
    size: Sequence[int] = (4,),
    stride: Sequence[int] = (1,),
    offset: int = 0,
    count: int = 4,
    key: str = "0",
    old: bool = False,
) -> bytes:
    parts = (storage(count, key, old=old), number(offset), row(size), row(stride), b"\x89")
    return call("torch._utils\n_rebuild_tensor_v2", *parts, call("collections\nOrderedDict"))


def held(*entries: bytes) -> bytes:
    """A pickle of a dict of names and values."""
    return b"\x80\x02}(" + b"".join(entries) + b"u."


def one(value: bytes) -> bytes:
    """A pickle of a state dict of one value."""
    return held(text("levels.0.pos_embed"), value)


def torch_zip(content: bytes, records: dict[str, bytes] | None = None, how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr(PICKLE, content)
        archive.writestr("archive/byteorder", "little")
        for name, data in ({"archive/data/0": bytes(16)} if records is None else records).items():
            archive.writestr(name, data)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def legacy(content: bytes, keys: bytes = b"\x80\x02](X\x01\x00\x00\x000e.", rest: bytes = b"") -> bytes:
    information = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, information)]
    return b"".join(head) + content + keys + rest


def zip_by_hand(entries: Sequence[tuple[str, int, int, int, int]], body: bytes) -> bytes:
    """A directory over any bytes: (name, offset of its local header, compressed size, size, method) of each entry."""
    directory = b""
    for name, offset, packed, size, method in entries:
        extra = struct.pack("<HHQQQ", 1, 24, size, packed, offset)
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 45, 45, 0, method, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name),
            len(extra), 0, 0, 0, 0, 0xFFFFFFFF,
        ) + name.encode() + extra  # fmt: skip
    count, start = min(len(entries), 0xFFFF), len(body)
    return body + directory + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)


def local(name: str, data: bytes, size: int | None = None, method: int = 0) -> bytes:
    size = len(data) if size is None else size
    header = struct.pack(
        "<4sHHHHHIIIHH",
        b"PK\x03\x04",
        20,
        0,
        method,
        0,
        0,
        zlib.crc32(data),
        len(data),
        size & 0xFFFFFFFF,
        len(name),
        0,
    )
    return header + name.encode() + data


def overlapping() -> bytes:
    """Four hundred storages of 10 MB each, all of them the same bytes of the file."""
    big = 10_000_000
    places = [f"archive/data/{place:03}" for place in range(400)]
    entries = [text(f"w{place}") + tensor((big // 4,), (1,), 0, big // 4, f"{place:03}") for place in range(400)]
    content = held(*entries)
    parts, body = [(PICKLE, content), ("archive/byteorder", b"little"), ("archive/version", b"3\n")], b""
    directory = []
    for name, data in parts:
        directory.append((name, len(body), len(data), len(data), 0))
        body += local(name, data)
    start, first = len(body), places[0]
    body += local(first, bytes(big))
    directory += [(name, start, big, big, 0) for name in places]
    return zip_by_hand(directory, body)


def inflating(size: int) -> bytes:
    """A storage that is small in the file and large when it is unpacked."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeezer.compress(bytes(2**20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    data = block * (size // 2**20) + squeezer.flush()
    content = one(tensor((size // 4,), (1,), 0, size // 4))
    body, directory = b"", []
    for name, part, whole, method in (
        (PICKLE, content, len(content), 0),
        ("archive/byteorder", b"little", 6, 0),
        ("archive/data/0", data, size, 8),
        ("archive/version", b"3\n", 2, 0),
    ):
        directory.append((name, len(body), len(part), whole, method))
        body += local(name, part, whole, method)
    return zip_by_hand(directory, body)


def laughs(depth: int, opening: bytes = b"(", closing: bytes = b"t") -> bytes:
    """Tuples of ten references to the tuple before: 10 to the power of `depth` leaves."""
    made = text("ha") + b"r" + struct.pack("<I", 1000)
    for level in range(depth):
        again = (b"j" + struct.pack("<I", 1000 + level)) * 10
        made += b"0" + opening + again + closing + b"r" + struct.pack("<I", 1001 + level)
    return made


def parameters(depth: int) -> bytes:
    made = tensor()
    for _ in range(depth):
        made = b"ctorch._utils\n_rebuild_parameter\n(" + made + b"\x89" + call("collections\nOrderedDict") + b"tR"
    return made


SPARSE = torch.sparse_coo_tensor(
    torch.zeros(2, 1).long(), torch.ones(1), (2**30, 2**30), check_invariants=True
)  # fmt: skip
TORCH: dict[str, Callable[[], bytes]] = {
    "os.system": lambda: torch_zip(b"\x80\x02" + call("os\nsystem", text("mkdir owned")) + b"."),
    "posix.system as a value": lambda: torch_zip(one(call("posix\nsystem", text("mkdir owned")))),
    "eval": lambda: torch_zip(one(call("builtins\neval", text("__import__('os').mkdir('owned')")))),
    "getattr": lambda: torch_zip(one(call("builtins\ngetattr", text("x"), text("join")))),
    "a function of ours": lambda: torch_zip(one(call("hvit.files\nwrite_text", text("owned"), text("x")))),
    "_load_from_bytes": lambda: torch_zip(
        one(call("torch.storage\n_load_from_bytes", b"C\x05cos\nx"))
    ),
    "INST of os.system": lambda: legacy(b"(" + text("mkdir owned") + b"ios\nsystem\n."),
    "bytearray of 8 GB": lambda: torch_zip(one(call("builtins\nbytearray", number(2**33)))),
    "bytearray of 8 GB, old file": lambda: legacy(one(call("builtins\nbytearray", number(2**33)))),
    "bytearray of a tuple of laughs": lambda: torch_zip(one(call("builtins\nbytearray", laughs(8)))),
    "torch.Size of laughs": lambda: torch_zip(one(call("torch\nSize", laughs(8)))),
    "Counter of a long text": lambda: torch_zip(one(call("collections\nCounter", text("ab" * 10)))),
    "encoding of a text": lambda: torch_zip(one(call("_codecs\nencode", text("a" * 1000), text("idna")))),
    "BYTEARRAY8 of 1 TB": lambda: torch_zip(one(b"\x96" + struct.pack("<Q", 2**40))),
    "BINBYTES8 of 4 EB": lambda: torch_zip(one(b"\x8e" + struct.pack("<Q", 2**62))),
    "BINUNICODE of 2 GB": lambda: torch_zip(one(b"X\xff\xff\xff\x7fabc")),
    "LONG4 of 2 GB": lambda: torch_zip(one(b"\x8b\xff\xff\xff\x7f\x01")),
    "LONG1 of 255 bytes as a shape": lambda: torch_zip(one(tensor((256**200,)))),
    "FRAME of 8 EB": lambda: torch_zip(b"\x80\x04\x95" + struct.pack("<Q", 2**63 - 1) + one(tensor())[2:]),
    "memo index of 4 billion": lambda: torch_zip(one(tensor() + b"r\xff\xff\xff\xff")),
    "no STOP": lambda: torch_zip(one(tensor())[:-1]),
    "an empty stack": lambda: torch_zip(b"\x80\x02R."),
    "lists nested 100,000 deep": lambda: torch_zip(one(b"]" * 100_000 + b"a" * 99_999)),
    "lists nested 100,000 deep, old file": lambda: legacy(one(b"]" * 100_000 + b"a" * 99_999)),
    "sections nested 5,000 deep": lambda: torch_zip(
        b"\x80\x02" + (b"}" + text("model")) * 5000 + tensor() + b"s" * 5000 + b"."
    ),
    "laughs, 10^9": lambda: torch_zip(one(laughs(9))),
    "laughs in dicts": lambda: torch_zip(
        one(b"}r\x00\x00\x01\x00" + b"".join(b"0}(" + b"".join(text(str(k)) + b"j" + struct.pack("<I", 65536 + n)
        for k in range(10)) + b"ur" + struct.pack("<I", 65537 + n) for n in range(9)))
    ),
    "a dict in itself": lambda: torch_zip(b"\x80\x02}r\x07\x00\x00\x00(" + text("model") + b"j\x07\x00\x00\x00u."),
    "parameters of parameters": lambda: torch_zip(one(parameters(2000))),
    "a shape of 2^60 from one number": lambda: torch_zip(one(tensor((2**30, 2**30), (0, 0)))),
    "a shape of 10 GB from one number": lambda: torch_zip(one(tensor((2_500_000_000,), (0,)))),
    "a shape of 2^63 x 2^63": lambda: torch_zip(one(tensor((2**63 - 1, 2**63 - 1), (1, 1)))),
    "a negative shape": lambda: torch_zip(one(tensor((-4,), (1,)))),
    "a negative stride": lambda: torch_zip(one(tensor((2, 2), (-1, 1)))),
    "an offset beyond the storage": lambda: torch_zip(one(tensor((4,), (1,), 1000))),
    "a negative offset": lambda: torch_zip(one(tensor((4,), (1,), -4))),
    "a storage larger than its record": lambda: torch_zip(one(tensor((2**30,), (1,), 0, 2**30))),
    "a negative storage": lambda: torch_zip(one(tensor((4,), (1,), 0, -4))),
    "a storage without a record": lambda: torch_zip(one(tensor(key="77"))),
    "a storage in another folder": lambda: torch_zip(one(tensor(key="../../../etc/passwd"))),
    "a storage of objects": lambda: torch_zip(
        one(call("torch._utils\n_rebuild_tensor_v2", storage(4, "0", "os\nsystem"), number(0), row((4,)), row((1,))))
    ),
    "an old file of 4 TB": lambda: legacy(one(tensor((2**40,), (1,), 0, 2**40, old=True))),
    "an old file of 2 GB": lambda: legacy(one(tensor((2**29,), (1,), 0, 2**29, old=True)), rest=bytes(100)),
    "an old file whose storage says 2^62": lambda: legacy(
        one(tensor(old=True)), rest=struct.pack("<Q", 2**62) + bytes(16)
    ),
    "an old file without its storages": lambda: legacy(one(tensor(old=True)), keys=b""),
    "only an old file's magic number": lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2),
    "a meta tensor of 4 TB": lambda: torch_zip(
        one(
            call(
                "torch._utils\n_rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n", row((2**40,)), row((1,)), b"\x89"
            )
        )
    ),
    "meta tensors of a whole model": lambda: saved(
        {name: tensor.to("meta") for name, tensor in to_timm(build_network(NEST)).items()}  # pyright: ignore
    ),
    "a sparse tensor of 2^60": lambda: saved(
        {"levels.0.pos_embed": SPARSE}
    ),
    "a quantised tensor": lambda: saved({"levels.0.pos_embed": quantised()}),
    "a stretched tensor": lambda: saved({"levels.0.pos_embed": torch.zeros(1).expand(2**20, 2**10)}),
    "a compressed pickle": lambda: torch_zip(bytes(50_000_000), how=zipfile.ZIP_DEFLATED),
    "a compressed storage of 4 GB": lambda: inflating(2**32 - 2**20),
    "LZMA": lambda: torch_zip(one(tensor()), how=zipfile.ZIP_LZMA),
    "an entry of 1 TB": lambda: zip_by_hand([(PICKLE, 0, 2**40, 2**40, 0)], local(PICKLE, b"x")),
    "an entry beyond the file": lambda: zip_by_hand([(PICKLE, 2**62, 5, 5, 0)], local(PICKLE, b"x")),
    "entries one over the other": overlapping,
    "no entries": lambda: b"PK\x03\x04" + b"PK\x05\x06" + bytes(18),
    "two pickles": lambda: two_pickles(),
    "names of other folders": lambda: torch_zip(one(tensor())).replace(b"archive/", b"../../x/"),
    "a directory of 65,535 entries that are not there": lambda: torch_zip(one(tensor()))[:-22]
    + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, 10, 10, 0),
    "a comment of 64 kB": lambda: torch_zip(one(tensor()))[:-2] + struct.pack("<H", 65535) + bytes(65535),
    "half of an archive": lambda: torch_zip(one(tensor()))[:150],
    "400,000 names of one tensor": lambda: torch_zip(
        held(text("a"), tensor(), b"r\x07\0\0\0", *(text(f"w{n}") + b"j\x07\0\0\0" for n in range(400_000)))
    ),
    "400,000 numbers": lambda: torch_zip(held(*(text(f"w{n}") + b"K\x01" for n in range(400_000)))),
}  # fmt: skip


def saved(state: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(state, buffer)
    return buffer.getvalue()


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def two_pickles() -> bytes:
    first, second = torch_zip(one(tensor())), one(call("os\nsystem", text("mkdir owned")))
    buffer = io.BytesIO(first)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(PICKLE, second)
    return buffer.getvalue()


def header(entries: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of a header, as JSON or as text."""
    content = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def an_entry(shape: Sequence[Any], start: Any, end: Any, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}


@cache
def unchanged() -> bytes:
    """A valid file of ours."""
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        size = {"input_size": [32, 32], "mean": [0.5] * 3, "std": [0.2] * 3, "crop": 0.9, "interpolation": "bilinear"}
        file = Path(folder) / "ours"
        save_weights(build_network(NEST), file, classes=[str(n) for n in range(10)], preprocess=size)
        return file.read_bytes()


def ours(**changes: Any) -> bytes:
    """A valid file of ours, of which the metadata were changed; of the configuration a part, if that is a dict."""
    content = unchanged()
    length = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + length])
    stored = json.loads(described["__metadata__"]["hvit"])
    for name, value in changes.items():
        stored[name] = stored[name] | value if isinstance(value, dict) else value
    made = json.dumps(stored)
    for value in changes.values():
        if isinstance(value, str) and value.startswith("raw "):
            made = made.replace(json.dumps(value), value.removeprefix("raw "))
    described["__metadata__"]["hvit"] = made
    return header(described, content[8 + length :])


def config(**fields: Any) -> Callable[[], bytes]:
    return lambda: ours(config=fields)


def preprocess(**fields: Any) -> Callable[[], bytes]:
    return lambda: ours(preprocess=fields)


SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "a header of 8 EB": lambda: header({}, length=2**63),
    "a header of 99 MB that is not there": lambda: header({}, length=99_000_000),
    "a header of nothing": lambda: header("", length=0),
    "a header of spaces": lambda: header("{" + " " * 20_000_000 + "}"),
    "a header nested 1,000,000 deep": lambda: header('{"a":' + "[" * 1_000_000),
    "a header of dicts nested 100,000 deep": lambda: header('{"a":' * 100_000 + "1" + "}" * 100_000),
    "a number of 100,000 digits": lambda: header(
        '{"a":{"dtype":"F32","shape":[' + "9" * 100_000 + '],"data_offsets":[0,4]}}'
    ),
    "the same name twice": lambda: header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                                         '"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)),
    "tensors one over the other": lambda: header(
        {f"w{n}": an_entry((1_000_000,), 0, 4_000_000) for n in range(500)}, bytes(4_000_000)
    ),
    "negative offsets": lambda: header({"a": an_entry((1,), -4, 0)}, bytes(4)),
    "offsets backwards": lambda: header({"a": an_entry((1,), 4, 0)}, bytes(4)),
    "offsets beyond the file": lambda: header({"a": an_entry((2**40,), 0, 2**42)}, bytes(4)),
    "offsets as numbers with a point": lambda: header({"a": an_entry((1,), 0.0, 4.0)}, bytes(4)),
    "a shape of 2^126": lambda: header({"a": an_entry((2**63 - 1, 2**63 - 1), 0, 4)}, bytes(4)),
    "a shape of nothing times 2^60": lambda: header({"levels.0.pos_embed": an_entry((2**60, 0), 0, 0)}),
    "a shape of more than its bytes": lambda: header({"a": an_entry((1000,), 0, 4)}, bytes(4)),
    "a type of no weights": lambda: header({"a": an_entry((1,), 0, 4, "OBJECT")}, bytes(4)),
    "metadata that are numbers": lambda: header({"__metadata__": {"hvit": 3}, "a": an_entry((1,), 0, 4)}, bytes(4)),
    "400,000 empty tensors": lambda: header({f"w{n}": an_entry((0,), 0, 0) for n in range(400_000)}),
    "400,000 empty tensors of a model": lambda: header(
        {f"levels.0.transformer_encoder.{n}.mlp.fc1.weight": an_entry((0,), 0, 0) for n in range(400_000)}
    ),
    "widths of 2^40": config(dims=[2**40] * 3),
    "widths of 10^30": config(dims=[10**30] * 3),
    "10^9 layers": config(depths=[10**9] * 3),
    "1,000,000 levels": config(dims=[32] * 10**6, heads=[1] * 10**6, depths=[0] * 10**6),
    "10^7 heads": config(heads=[10**7] * 3),
    "10^12 classes": config(num_classes=10**12),
    "10^9 channels": config(in_channels=10**9),
    "an input of 2^31 pixels a side": config(input_size=[2**31, 2**31]),
    "an input of 65,536 pixels a side": config(input_size=[2**16, 2**16]),
    "an MLP of 10^30": config(mlp_ratio=10**30),
    "a share that is no number": config(drop_path=float("nan")),
    "an unknown family": config(family="transformer"),
    "another family": config(family="hiera"),
    "a field that does not exist": config(__class__="x"),
    "a configuration nested 100,000 deep": lambda: ours(config="raw " + "[" * 100_000 + "]" * 100_000),
    "a configuration of 100,000 digits": lambda: ours(config="raw " + "9" * 100_000),
    "a configuration that is a list": lambda: ours(config=[1, 2]),
    "classes that are numbers": lambda: ours(classes=list(range(10))),
    "a million classes": lambda: ours(classes=["x"] * 1_000_000),
    "classes as a dict": lambda: ours(classes="raw {}"),
    "a format of the future": lambda: ours(format=2),
    "images of 100,000 pixels a side": preprocess(input_size=[100_000, 100_000]),
    "images of another size than the model's": preprocess(input_size=[32, 64]),
    "clips for a model of images": preprocess(input_size=[10**6, 32, 32]),
    "a crop of 1e-9": preprocess(crop=1e-9),
    "a crop that is no number": preprocess(crop=float("nan")),
    "a crop that is a text": preprocess(crop="all"),
    "a deviation of 0": preprocess(std=[0.0] * 3),
    "a deviation of 1e-320": preprocess(std=[1e-320] * 3),
    "a mean that is infinite": preprocess(mean=[float("inf")] * 3),
    "a mean of texts": preprocess(mean=["a", "b", "c"]),
    "one mean for three channels": preprocess(mean=[0.5], std=[0.5]),
    "a preparation of nothing": lambda: ours(preprocess=[]),
    "an unknown field of preparation": preprocess(colour="red"),
    "an unknown interpolation": preprocess(interpolation="magic"),
    "a sampling of 10^9 frames": preprocess(sampling={"num_frames": 10**9}),
    "a sampling that is a list": preprocess(sampling=[1]),
    "a sampling with an unknown field": preprocess(sampling={"frames": 3}),
}  # fmt: skip


def flax(leaf: bytes, name: str = "EncoderNDBlock_0") -> bytes:
    """A file of the official layout around one packed leaf."""
    return b"\x81\xa9optimizer\x81\xa6target\x81" + msgpack.packb(name) + b"\x81\xa4bias" + leaf


def array(*parts: Any) -> bytes:
    return flax(msgpack.packb(msgpack.ExtType(1, msgpack.packb(parts))))


NOTHING = msgpack.ExtType(1, msgpack.packb(((0,), "float32", b"")))
FLAX: dict[str, Callable[[], bytes]] = {
    "an array of 4 billion": lambda: flax(b"\xdd\xff\xff\xff\xff"),
    "a map of 4 billion": lambda: flax(b"\xdf\xff\xff\xff\xff"),
    "arrays of 65,536 in one another": lambda: flax(b"\xdd\x00\x01\x00\x00" * 5000 + bytes(70_000)),
    "maps of 65,536 in one another": lambda: flax(b"\xdf\x00\x01\x00\x00\xa1a" * 5000 + bytes(70_000)),
    "maps nested 100,000 deep": lambda: flax(b"\x81\xa1a" * 100_000 + b"\x01"),
    "maps nested 400 deep": lambda: flax(b"\x81\xa1a" * 400 + b"\x01"),
    "4 GB of bytes": lambda: flax(b"\xc6\xff\xff\xff\xff"),
    "4 GB of text": lambda: flax(b"\xdb\xff\xff\xff\xff"),
    "4 GB of extension": lambda: flax(b"\xc9\xff\xff\xff\xff\x01"),
    "a shape of 10^24": lambda: array((10**12, 10**12), "float32", bytes(8)),
    "a shape of nothing times 2^60": lambda: array((2**60, 0), "float32", b""),
    "a shape of 1,000 axes": lambda: array((1,) * 1000, "float32", bytes(4)),
    "a shape that is a number": lambda: array(3, "float32", bytes(12)),
    "a shape of truths": lambda: array((True,), "float32", bytes(4)),
    "a type that is a list": lambda: array((1,), ["float32"], bytes(4)),
    "a type of objects": lambda: array((1,), "object", bytes(8)),
    "bytes that are a text": lambda: array((1,), "float32", "abcd"),
    "an array in an array": lambda: flax(msgpack.packb(msgpack.ExtType(1, b"\xc7\xff\x01" + bytes(255)))),
    "names that are numbers": lambda: msgpack.packb({"optimizer": {"target": {1: {2: 3}}}}),
    "names that are lists": lambda: b"\x81\x91\x01\x02",
    "the same name twice": lambda: b"\x82\xa9optimizer\x01\xa9optimizer\x02",
    "a time of the year 10^10": lambda: flax(msgpack.packb(msgpack.Timestamp(2**60, 0))),
    "200,000 arrays of nothing": lambda: msgpack.packb(
        {"EncoderNDBlock_0": {f"w{n}": NOTHING for n in range(200_000)}}
    ),
    "a text that is none": lambda: flax(b"\xa4\xff\xfe\xfd\xfc"),
}  # fmt: skip


def pipe(path: Path) -> None:
    os.mkfifo(path)


def hole(first: bytes) -> Callable[[Path], None]:
    """A file that claims 16 GB and takes no room on the disk."""

    def make(path: Path) -> None:
        path.write_bytes(first)
        os.truncate(path, 2**34)

    return make


FILES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"\x80"),
    "a text": lambda path: path.write_text("no weights"),
    "an empty folder": lambda path: path.mkdir(),
    "a pipe": pipe,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a hole of 16 GB, msgpack": hole(b"\x81\xa1a" + b"\xc6\xff\xff\xff\xff"),
    "a hole of 16 GB, safetensors": hole(header({"a": an_entry((1,), 0, 4)})),
    "a hole of 16 GB, pickle": hole(b"\x80\x02"),
    "a hole of 16 GB, zip": hole(b"PK\x03\x04"),
    "a folder whose weights are a pipe": lambda path: (path.mkdir(), pipe(path / "weights.safetensors")),
    "a folder whose checkpoint is a pipe": lambda path: (path.mkdir(), pipe(path / "ckpt-1.flax")),
}

FILES |= {
    f"{kind}: {name}": lambda path, make=make: path.write_bytes(make())
    for kind, collection in (("torch", TORCH), ("safetensors", SAFETENSORS), ("flax", FLAX))
    for name, make in collection.items()
}
_LARGE = ("00,000 n", "00,000 e", "00,000 a", "00,000 l", "one over", "4 GB", "spaces", "million")
HEAVY = [name for name in FILES if any(part in name for part in _LARGE)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], dict[str, dict[str, Any]]]:
    """Writes files and opens them all with one program; what came of each, by its name."""

    def open_all(names: Sequence[str]) -> dict[str, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("hostile")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for place, name in enumerate(names):
                FILES[name](folder / f"{place:03}")
        run = subprocess.run(
            [sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=1200, cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(hvit.__file__).parents[1])},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-2000:]
        assert not (folder / "owned").exists(), "a file ran code"
        found = [json.loads(line) for line in run.stdout.splitlines()]
        return {names[int(one["file"])]: one for one in found}

    return open_all


def check(found: dict[str, dict[str, Any]], names: Sequence[str]) -> None:
    assert set(found) == set(names)
    faults = {
        name: one
        for name, one in found.items()
        if one["outcome"] != "refused"
        or len(one["sentence"].splitlines()) != 1
        or "can't allocate" in one["sentence"]
        or one["memory"] > MOST_MEMORY
    }
    assert not faults, json.dumps(faults, indent=1)


@pytest.mark.long
def test_hostile_files_are_refused_in_one_sentence(outcomes: Any) -> None:
    names = [name for name in FILES if name not in HEAVY]
    check(outcomes(names), names)


@pytest.mark.slow
def test_large_hostile_files_are_refused_within_seconds_and_a_gigabyte(outcomes: Any) -> None:
    check(outcomes(HEAVY), HEAVY)


def test_a_valid_file_made_in_the_same_way_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("valid").write_bytes(ours())
    assert open_classifier(tmp_path / "valid", "cpu").model.config == NEST
    for name, content in (
        ("zip", torch_zip(one(tensor()))),
        ("old", legacy(one(tensor(old=True)), rest=struct.pack("<Q", 4) + bytes(16))),
    ):
        Path(name).write_bytes(content)
        assert torch.load(name, weights_only=True)["levels.0.pos_embed"].shape == (4,)
    Path("theirs").write_bytes(save(to_timm(build_network(NEST))))  # pyright: ignore[reportArgumentType]
    assert open_classifier(tmp_path / "theirs", "cpu").model.config.family == "nest"


def watched(path: Path, image: Path) -> Iterator[str]:
    """What opening a file and asking the model in it comes to."""
    try:
        refusals: list[str] = []
        classifier = open_classifier(path, "cpu")
        list(predict(classifier, [image], 3, 1, refusals.append))
        yield from ("opened" if not refusals else "refused", " ".join(refusals))
    except UserError as error:
        yield from ("refused", str(error))
    except BaseException as error:
        yield from ("raised", f"{type(error).__name__}: {error}"[:500])


def memory_of(which: str) -> int:
    """Bytes in memory now (VmRSS), or the most since this was last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def bounded(path: Path, image: Path) -> dict[str, Any]:
    """What opening a file comes to, in this process, which dies where that takes too long."""
    signal.alarm(60)  # for what waits and does nothing
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + LONGEST, resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory_of("VmRSS"), time.process_time()
    outcome, sentence = watched(path, image)
    memory, seconds = memory_of("VmHWM") - before, time.process_time() - start
    return {"file": path.name, "outcome": outcome, "sentence": sentence[:4000], "memory": memory, "seconds": seconds}


def main(folder: Path) -> None:
    """Opens every file of a folder in a process that is watched."""
    image = folder.parent / f"{folder.name}.png"
    Image.new("RGB", (40, 48)).save(image)
    torch.set_num_threads(1)
    # What is loaded and built at first use is loaded once, before any process is forked.
    valid = folder.parent / f"{folder.name}.safetensors"
    save_weights(build_network(NEST), valid)
    list(watched(valid, image))
    valid.unlink()
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + 3 * 2**30,) * 2)
    left = sorted(folder.iterdir())
    while left:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            for path in left:
                os.write(writer, (json.dumps(bounded(path, image)) + "\n").encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as answers:
            for line in answers:
                print(line, end="", flush=True)
                left.pop(0)
        _, status = os.waitpid(child, 0)
        if left:  # the file that the process died of; the next one goes on with the others
            died = {"outcome": "died", "sentence": f"status {status}", "memory": 0}
            print(json.dumps({"file": left.pop(0).name, **died}), flush=True)
    image.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
