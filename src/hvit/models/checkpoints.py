"""Reading checkpoint files of any known kind into flat dictionaries of tensors; nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import torch
from safetensors import safe_open
from torch import Tensor

from hvit.errors import UserError

# Where training programs put the state dict inside their file; averaged weights come first, as in timm.
_SECTIONS = ("state_dict_ema", "model_ema", "state_dict", "model_state", "model")

_FLAX_TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint under the names the file gives them, and the file's metadata.

    Known kinds, told apart by content: safetensors, torch files (read with `weights_only`), and the msgpack files of
    the official Flax code (names joined by "/"). A folder stands for its weights.safetensors (a run) or its newest
    ckpt-N.flax. The metadata is that of a safetensors file, or {"section": name} where a torch file holds several
    parts. Raises UserError for a file that is missing, empty, damaged, dangerous or of another kind.
    """
    file = find_weights(path)
    try:
        with file.open("rb") as stream:
            start = stream.read(16)
        size = file.stat().st_size
    except OSError as error:
        raise UserError(f"{file} cannot be opened: {error.strerror}") from error
    if not size:
        raise UserError(f"{file} is empty")
    kind, reader = _kind(file, start)
    try:
        state, metadata = reader(file)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} is damaged or holds Python objects, which could run code and are never loaded; "
            "save its state dict of tensors alone and give that file"
        ) from error
    except Exception as error:  # whatever a reader of untrusted bytes may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
        raise UserError(f"{file} is damaged, or not the {kind} it looks like: {reason}") from error
    if not state:
        raise UserError(f"{file} is a {kind}, but holds no weights")
    # Views may claim more than the file holds; twice leaves room for weights that share their memory.
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > 2 * size:
        raise UserError(f"{file} is damaged: its tensors claim {claimed} bytes, but the file has {size}")
    return state, metadata


def find_weights(path: str | Path) -> Path:
    """The weights file that a path stands for: itself, or the one in a run folder or Flax checkpoint folder."""
    path = Path(path)
    if path.is_dir():
        if (path / "weights.safetensors").is_file():
            return path / "weights.safetensors"
        saved = [file for file in path.glob("ckpt-*.flax") if file.stem[len("ckpt-") :].isdecimal()]
        if not saved and (path / "recipe.json").is_file():
            raise UserError(f"the run in {path} has no weights yet: `hvit resume {path}` continues it")
        if not saved:
            raise UserError(
                f"the folder {path} holds neither weights.safetensors (a run) nor ckpt-N.flax (official NesT)"
            )
        return max(saved, key=lambda file: int(file.stem[len("ckpt-") :]))
    if not path.is_file():
        raise UserError(f"there is no weights file {path}")
    return path


def flat_state(loaded: Mapping[Any, Any]) -> tuple[dict[str, Tensor], str | None]:
    """The named tensors of a state dict, and the name of the section they were found in, if any.

    Prefixes that wrappers add ("module.", "_orig_mod.") are taken off; entries that are no tensors are left out.
    """
    section = next((name for name in _SECTIONS if isinstance(loaded.get(name), Mapping)), None)
    state = {
        name.removeprefix("module.").removeprefix("_orig_mod."): tensor.detach()
        for name, tensor in (loaded[section] if section else loaded).items()
        if isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
    }
    return state, section


def _kind(file: Path, start: bytes) -> tuple[str, Any]:
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000:
        return "safetensors file", _read_safetensors
    if start[:4] == b"PK\x03\x04" or start[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"):  # zip, pickle
        return "torch file", _read_torch
    if start[0] in (*range(0x80, 0x90), 0xDE, 0xDF):
        return "msgpack file of Flax", _read_flax
    raise UserError(f"{file} is no weights file; known are safetensors, torch (.pth, .pt, .bin) and Flax (ckpt-N.flax)")


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(file, framework="pt") as opened:
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        return state, dict(opened.metadata() or {})


def _read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with file.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if zipped:
        with zipfile.ZipFile(file) as archive:
            if any(part.file_size > file.stat().st_size for part in archive.infolist()):
                raise UserError(f"{file} is compressed, which torch files are not; it could fill the memory")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # told to authors of the file, not users
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping):
        raise UserError(f"{file} holds a {type(loaded).__name__}, not a state dict")
    state, section = flat_state(loaded)
    return state, {"section": section} if section else {}


def _read_flax(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # Arrays are short everywhere in these files, while msgpack reserves the length that an array claims.
    tree = msgpack.unpackb(file.read_bytes(), ext_hook=msgpack.ExtType, max_array_len=64)
    optimizer = tree.get("optimizer")
    target = optimizer.get("target") if isinstance(optimizer, dict) else tree.get("params", tree)
    if not isinstance(target, dict):
        raise UserError(f"{file} holds no parameters where the official NesT code keeps them (optimizer, target)")
    return {name: _flax_array(file, name, leaf) for name, leaf in _leaves(target, "")}, {}


def _leaves(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, msgpack.ExtType]]:
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
