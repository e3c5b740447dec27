"""Checkpoint files of every known kind are read, and nothing else: no code runs, no memory is filled."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
from safetensors.torch import save_file

from hvit.errors import UserError
from hvit.models.nest.model import Nest
from hvit.models.weights.load import load_weights, to_timm
from hvit.models.weights.read import read_checkpoint
from tests.models.weights.small import MICRO


def flax_file(path: Path, name: str = "EncoderNDBlock_0/bias", leaf: Any = None) -> Path:
    """A file of the official layout with one leaf: (shape, type, bytes), or any bytes as they are."""
    branch: Any = msgpack.ExtType(1, msgpack.packb(leaf) if isinstance(leaf, tuple) else leaf)
    for part in reversed(name.split("/")):
        branch = {part: branch}
    path.write_bytes(msgpack.packb({"optimizer": {"target": branch}}))
    return path


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


def torch_file(pickled: bytes) -> Callable[[Path], None]:
    """A torch file whose objects are the given program of a pickle."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + pickled)

    return write


def safetensors_file(entries: bytes) -> Callable[[Path], Any]:
    """A safetensors file without tensors' data and with the given entries in its header."""
    header = b"{" + entries + b"}"
    return lambda path: path.write_bytes(len(header).to_bytes(8, "little") + header)


def called(name: str, argument: bytes) -> bytes:
    """A call of a function of one argument, as a pickle has it."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n" + argument + b"\x85R"


def whole(number: int) -> bytes:
    return b"\x8a\x0a" + number.to_bytes(10, "little")


def overlapping(path: Path) -> None:
    """A part of a zip file that its directory names a hundred times."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(1000))
    content = path.read_bytes()
    directory, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entries = content[directory:end] + content[content.rindex(b"PK\1\2") : end] * 100
    record = struct.pack("<HHHHIIH", 0, 0, 102, 102, len(entries), directory, 0)
    path.write_bytes(content[:directory] + entries + b"PK\5\6" + record)


def many_parts(path: Path) -> None:
    """A zip file that claims to have more parts than any torch file."""
    torch_file(b"}.")(path)
    content = path.read_bytes()
    path.write_bytes(content[:-22] + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 2 * 10**8, 0, 0))


def many_tensors(path: Path) -> None:
    """More tensors than any model has, all of one number."""
    tensor = called("torch._utils _rebuild_tensor_v2", b"")[:-2]
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
    one = tensor + b"(" + storage + b"K\0)))tRq\x01"
    names = b"".join(b"X\x06\0\0\0%06dh\x01" % number for number in range(3))
    rebuilt = b"".join(b"X\x06\0\0\0%06dh\x02(h\x03K\0)))tR" % number for number in range(100_001))
    prepared = tensor + b"q\x020" + storage + b"q\x030"
    torch_file(prepared + b"}(X\1\0\0\0a" + one + names + rebuilt + b"u.")(path)


def program(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(path))


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
    "a program": program,
    "overlapping parts": overlapping,
    "more parts than a file has": many_parts,
    "more tensors than a model has": many_tensors,
    "more values than a checkpoint has": torch_file(b"](" + b"N" * 1_600_000 + b"e."),
    "a gigantic bytearray": torch_file(called("builtins bytearray", whole(10**13)) + b"."),
    "a gigantic numpy array": torch_file(called("numpy._core.multiarray _reconstruct", whole(10**13)) + b"."),
    "a class inside the weights": torch_file(b"}X\1\0\0\0a" + called("posix system", b"X\2\0\0\0ls") + b"s."),
    "deep lists": torch_file(b"]" * 200_000 + b"a" * 199_999 + b"."),
    "deep tuples": torch_file(b")" + b"\x85" * 200_000 + b"."),
    "deep tuples as a name": torch_file(b"})" + b"\x85" * 200_000 + b"K\1s."),
    "lists of lists of themselves": torch_file(
        b"]q\0" + b"".join(b"](h%ch%ceq%c" % (number, number, number + 1) for number in range(200)) + b"."
    ),
    "text that is not there": torch_file(b"\x8d" + (10**12).to_bytes(8, "little") + b"a."),
    "a number of a million digits": torch_file(b"L" + b"9" * 10**6 + b"L\n."),
    "an empty stack": torch_file(b"a."),
    "a call of nothing": torch_file(b"NNR."),
    "an extension": torch_file(b"\x82\1."),
    "no end": torch_file(b"}"),
    "no data.pkl": lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"),
    "a plain pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "truncated legacy torch": truncated(
        lambda path: torch.save(Nest(MICRO).state_dict(), path, _use_new_zipfile_serialization=False)
    ),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder with a pipe": lambda path: (path.mkdir(), os.mkfifo(path / "weights.safetensors")),
    "a folder with a link to nothing": lambda path: (path.mkdir(), (path / "model.safetensors").symlink_to("nowhere")),
    "safetensors: more tensors than a model has": safetensors_file(
        b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % one for one in range(100_001))
    ),
    "safetensors: deep header": safetensors_file(b'"a":' + b"[" * 10**6),
    "index: deep": lambda path: path.write_text('{"weight_map": ' + "[" * 10**6),
    "flax: more values than a checkpoint has": lambda path: path.write_bytes(
        b"\x81\xa1a\xdf" + (10**6).to_bytes(4, "big") + b"\xa1b\x80" * 10**6
    ),
    "flax: deep": lambda path: path.write_bytes(b"\x81\xa1a" * 90_000 + b"\xc0"),
    "flax: a gigantic array": lambda path: path.write_bytes(b"\x81\xa1a\xc9\xff\xff\xff\xff\1abc"),
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as refusal:
        load_weights(Nest(MICRO), path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6  # kilobytes
    assert "weights.bin" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["a\0b", "a" * 10_000, "file/inside", "\udcff"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="there is no weights file") as refusal:
        read_checkpoint(tmp_path / name)
    assert str(refusal.value).encode()


def test_a_hostile_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    nested = b"\xdd\x00\x01\x00\x00" * 200  # lists of 65536, one inside the other: 100 MB if they were believed
    (tmp_path / "bomb").write_bytes(b"\x81\xa1a" + nested + bytes(70_000))
    tracemalloc.start()
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "bomb")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
