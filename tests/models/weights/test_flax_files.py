"""msgpack files of Flax are read array by array, and refused before they fill the memory."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
import torch

from hvit.errors import UserError
from hvit.models.weights.flax_files import read_flax


def write(file: Path, shape: tuple[int, ...], kind: str, raw: bytes) -> Path:
    array = msgpack.ExtType(1, msgpack.packb((shape, kind, raw)))
    file.write_bytes(msgpack.packb({"optimizer": {"target": {"layer": {"kernel": array}}}}))
    return file


def test_arrays_are_named_by_their_path(tmp_path: Path) -> None:
    raw = torch.arange(6.0).numpy().tobytes()
    state, metadata = read_flax(write(tmp_path / "ckpt-1.flax", (2, 3), "float32", raw))
    assert metadata == {}
    assert torch.equal(state["layer/kernel"], torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(("kind", "raw", "words"), [("object", b"", "object"), ("float32", b"1234", "claims shape")])
def test_arrays_that_are_no_weights_are_refused(tmp_path: Path, kind: str, raw: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_flax(write(tmp_path / "ckpt-1.flax", (2, 3), kind, raw))
