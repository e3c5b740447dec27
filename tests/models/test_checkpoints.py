"""Checkpoint files of every known kind are read, and nothing else: no code runs, no memory is filled."""

from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
from safetensors.torch import save_file

from hvit.errors import UserError
from hvit.models.checkpoints import read_checkpoint
from hvit.models.nest import Nest, NestConfig
from hvit.models.translate import load_weights, to_timm

MICRO = NestConfig(input_size=(16, 16), patch_size=(2, 2), num_classes=3, dims=(4, 8), heads=(2, 4), depths=(1, 1))


def flax_file(path: Path, name: str = "EncoderNDBlock_0/bias", leaf: Any = None) -> Path:
    """A file of the official layout with one leaf: (shape, type, bytes), or any bytes as they are."""
    branch: Any = msgpack.ExtType(1, msgpack.packb(leaf) if isinstance(leaf, tuple) else leaf)
    for part in reversed(name.split("/")):
        branch = {part: branch}
    path.write_bytes(msgpack.packb({"optimizer": {"target": branch}}))
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("section", [None, "model", "state_dict", "model_state", "state_dict_ema"])
def test_torch_files_are_unwrapped(tmp_path: Path, section: str | None, legacy: bool) -> None:
    source, target, file = Nest(MICRO), Nest(MICRO), tmp_path / "some.pth"
    state = {f"module.{name}": tensor for name, tensor in to_timm(source).items()}
    held = {section: state, "epoch": 3, "other": [1, 2]} if section else state
    torch.save(held, file, _use_new_zipfile_serialization=not legacy)
    assert load_weights(target, file).format == "timm nest"
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_safetensors_and_half_precision_files_are_read(tmp_path: Path) -> None:
    source, target, file = Nest(MICRO), Nest(MICRO), tmp_path / "no suffix"
    save_file({name: tensor.bfloat16() for name, tensor in to_timm(source).items()}, file)
    load_weights(target, str(file))
    torch.testing.assert_close(target.state_dict(), source.bfloat16().float().state_dict(), rtol=0, atol=0)


def test_a_folder_of_official_checkpoints_means_the_newest(tmp_path: Path) -> None:
    for number in (2, 10):
        flax_file(tmp_path / f"ckpt-{number}.flax", leaf=((2,), "float32", bytes(8)))
    (tmp_path / "ckpt-2.flax").write_bytes(b"")
    assert list(read_checkpoint(tmp_path)[0]) == ["EncoderNDBlock_0/bias"]
    with pytest.raises(UserError, match=r"neither weights\.safetensors"):
        read_checkpoint(tmp_path.parent)


class Dangerous:
    """Something whose unpickling runs a command."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


def compressed_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))


def stretched(path: Path) -> None:
    torch.save({"levels.0.pos_embed": torch.zeros(1).expand(100_000_000)}, path)


def truncated(write: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def write_half(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-20])

    return write_half


def saved(path: Path) -> None:
    torch.save(Nest(MICRO).state_dict(), path)


def written(path: Path) -> None:
    save_file(Nest(MICRO).state_dict(), path)


BAD_FILES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "one byte": lambda path: path.write_bytes(b"\x80"),
    "text": lambda path: path.write_text("these are no weights at all"),
    "an empty folder": lambda path: path.mkdir(),
    "a pickle that runs code": lambda path: path.write_bytes(pickle.dumps(Dangerous())),
    "a torch file that runs code": lambda path: torch.save({"model": Dangerous()}, path),
    "a list": lambda path: torch.save([torch.zeros(3)], path),
    "no tensors": lambda path: torch.save({"epoch": 3}, path),
    "truncated torch": truncated(saved),
    "truncated safetensors": truncated(written),
    "truncated flax": truncated(lambda path: flax_file(path, leaf=((20,), "float32", bytes(80)))),
    "compressed bomb": compressed_bomb,
    "stretched tensor": stretched,
    "safetensors header too long": lambda path: path.write_bytes((10**7).to_bytes(8, "little") + b'{"a": 1}'),
    "flax: huge shape": lambda path: flax_file(path, leaf=((10**12, 10**12), "float32", bytes(8))),
    "flax: negative shape": lambda path: flax_file(path, leaf=((-1, -2), "float32", bytes(8))),
    "flax: text as shape": lambda path: flax_file(path, leaf=("ab", "float32", bytes(8))),
    "flax: unknown type": lambda path: flax_file(path, leaf=((1,), "object", bytes(8))),
    "flax: no triple": lambda path: flax_file(path, leaf=b"\x01"),
    "flax: no map": lambda path: path.write_bytes(msgpack.packb({"optimizer": {"target": 3}})),
    "flax: trailing bytes": lambda path: path.write_bytes(msgpack.packb({}) + b"more"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_are_no_weights_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.bin"
    BAD_FILES[kind](path)
    with pytest.raises(UserError) as refusal:
        load_weights(Nest(MICRO), path)
    assert "weights.bin" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "owned").exists()


def test_a_hostile_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    nested = b"\xdd\x00\x01\x00\x00" * 200  # lists of 65536, one inside the other: 100 MB if they were believed
    (tmp_path / "bomb").write_bytes(b"\x81\xa1a" + nested + bytes(70_000))
    tracemalloc.start()
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "bomb")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
