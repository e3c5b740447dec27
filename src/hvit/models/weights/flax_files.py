"""Reads and writes msgpack files of Flax, as the official NesT code does."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.markup import shown

_MOST_MSGPACK = 200_000  # values besides the arrays of a Flax file
_FLAX_TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


def read_flax(file: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_msgpack(file, content)
        # Arrays are short everywhere in these files, while msgpack reserves the length that an array claims.
        tree = msgpack.unpackb(content, ext_hook=msgpack.ExtType, max_array_len=64)
    optimizer = tree.get("optimizer")
    target = optimizer.get("target") if isinstance(optimizer, dict) else tree.get("params", tree)
    if not isinstance(target, dict):
        raise UserError(
            f"{shown(str(file))} holds no parameters where the official NesT code keeps them (optimizer, target)"
        )
    return {name: _flax_array(file, name, leaf) for name, leaf in _leaves(target, "")}, {}


# Of msgpack's types by their first byte: bytes of the length that follows, and of what stands before the content.
_SIZED = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
_FIXED = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_COUNTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _check_msgpack(file: Path, content: mmap.mmap) -> None:
    """Refuses (UserError) a file with more values than any checkpoint has, before any of them is made."""
    place, waiting, values = 0, 1, 0
    while waiting:
        if place >= len(content):
            raise ValueError("it ends too early")
        first = content[place]
        place, waiting, values = place + 1, waiting - 1, values + 1
        if 0x80 <= first <= 0x8F:
            waiting += 2 * (first & 0x0F)
        elif 0x90 <= first <= 0x9F:
            waiting += first & 0x0F
        elif 0xA0 <= first <= 0xBF:
            place += first & 0x1F
        elif first in _SIZED:
            length, before = _SIZED[first]
            place += length + before + int.from_bytes(content[place : place + length], "big")
        elif first in _COUNTED:
            length, each = _COUNTED[first]
            waiting += each * int.from_bytes(content[place : place + length], "big")
            place += length
        else:
            place += _FIXED.get(first, 0)
        if values + waiting > _MOST_MSGPACK:
            raise UserError(f"{shown(str(file))} holds more than {_MOST_MSGPACK:,} values, which no checkpoint has")


def flax_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors, their names joined by "/", as the file of parameters that the official NesT code reads."""
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *folders, leaf = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        array = tensor.float().contiguous().numpy()
        content = msgpack.packb((array.shape, array.dtype.name, array.tobytes()), use_bin_type=True)
        assert isinstance(content, bytes)
        branch[leaf] = msgpack.ExtType(1, content)
    written = msgpack.packb({"optimizer": {"target": tree}}, use_bin_type=True)
    assert isinstance(written, bytes)
    return written


def _leaves(tree: dict[str, object], prefix: str) -> Iterator[tuple[str, msgpack.ExtType]]:
    for name, branch in tree.items():
        if isinstance(branch, dict):
            yield from _leaves(branch, f"{prefix}{name}/")
        elif isinstance(branch, msgpack.ExtType) and branch.code in (1, 3):
            yield f"{prefix}{name}", branch


def _flax_array(file: Path, name: str, leaf: msgpack.ExtType) -> Tensor:
    shape, type_name, raw = msgpack.unpackb(leaf.data, max_array_len=16)
    dtype = _FLAX_TYPES.get(type_name)
    if dtype is None:
        raise UserError(f"{file} stores {name} as {type_name!r}, which no weights are stored as")
    if any(type(side) is not int or side < 0 for side in shape) or prod(shape) * dtype.itemsize != len(raw):
        raise UserError(f"{file} is damaged: {name} claims shape {tuple(shape)} but has {len(raw)} bytes of data")
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)
