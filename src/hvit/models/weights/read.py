"""Reading checkpoint files of any known kind into flat dictionaries of tensors; nothing in a file is ever executed."""

from __future__ import annotations

import json
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import torch
from safetensors import safe_open
from torch import Tensor

from hvit.errors import UserError
from hvit.markup import shown
from hvit.models.input_sizes import input_size_beside, stated_input_size
from hvit.models.weights.torch_files import MOST_TENSORS, Described, StoredTensor, read_torch

# Where training programs put the state dict inside their file; averaged weights come first, as in timm.
_SECTIONS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "ema_model",
    "ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "weights",
    "params",
)
# Parts of a training checkpoint that have tensors, too, and are no weights.
_NO_WEIGHTS = (
    "optim",
    "sched",
    "scaler",
    "criterion",
    "loss",
    "rng",
    "random",
    "loader",
    "sampler",
    "buffer",
    "callback",
)
_DEEPEST_SECTION = 3

_FOLDERS = (
    "weights.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files that a folder stands for: a run's, and those of transformers, timm and Accelerate."""
_MOST_SHARDS = 1_000
_LONGEST_INDEX = 4_000_000
_LONGEST_HEADER = 25_000_000  # bytes of names, shapes and metadata; the largest models have some 300,000
_MOST_MSGPACK = 200_000  # values beside the arrays of a Flax file

_FLAX_TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint under the names the file gives them, and the file's metadata.

    Known kinds, told apart by content: safetensors, torch files (see `torch_files`), the msgpack files of the official
    Flax code (names joined by "/"), and the index of safetensors or torch files that hold a model in parts. For folders
    see `find_weights`. The metadata is that of a safetensors file, or {"section": name} where a torch file holds
    several parts; and "input_size" is the height and width of the input where the file, or a config.json in its folder,
    states them. Tensors of torch files may lie in the mapped file: copy them before it changes.
    Raises UserError for a file that is missing, empty, damaged, dangerous or of another kind.
    """
    file = find_weights(path)
    state, metadata, size = _read(file)
    if not state:
        raise UserError(f"{shown(str(file))} holds no weights")
    # Views may claim more than the file holds; twice leaves room for weights that share their memory.
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > 2 * size:
        raise UserError(f"{shown(str(file))} is damaged: its tensors claim {claimed} bytes, but the file has {size}")
    return state, metadata


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """Tensors, metadata and size in bytes of a file, or of the files that an index names."""
    where = shown(str(file))
    try:
        with file.open("rb") as stream:
            start = stream.read(16)
        size = file.stat().st_size
    except OSError as error:
        raise UserError(f"{where} cannot be opened: {error.strerror}") from error
    if not size:
        raise UserError(f"{where} is empty")
    if start.lstrip()[:1] == b"{":
        return _read_index(file)
    kind, reader = _kind(file, start)
    try:
        state, metadata = reader(file)
    except UserError:
        raise
    except Exception as error:  # whatever a reader of untrusted bytes may raise
        reason = shown((str(error).strip() or type(error).__name__).splitlines()[0][:150])
        raise UserError(f"{where} is damaged, or not the {kind} it looks like: {reason}") from error
    if len(state) > MOST_TENSORS:
        raise UserError(f"{where} holds {len(state):,} tensors; no model has more than {MOST_TENSORS:,}")
    return state, metadata, size


def find_weights(path: str | Path) -> Path:
    """The weights file that a path stands for: itself, or the one in a folder.

    A folder is a run, a checkpoint of transformers, timm or Accelerate (model.safetensors, pytorch_model.bin, or the
    index of either), or one of the official Flax code, whose newest ckpt-N.flax is taken. Raises UserError for a path
    that leads to no regular file.
    """
    path = Path(path)
    where = shown(str(path))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if path_is_link(path):
            raise UserError(f"{where} is a link to a file that is not there") from error
        reason = getattr(error, "strerror", None) or str(error)
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise UserError(f"there is no weights file {where}" + ("" if missing else f": {reason}")) from error
    if stat.S_ISDIR(mode):
        return _in_folder(path, where)
    if not stat.S_ISREG(mode):
        raise UserError(f"{where} is a pipe, a socket or a device; weights are read from regular files")
    return path


def path_is_link(path: Path) -> bool:
    """Whether a path is a symbolic link, wherever it leads."""
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def _in_folder(path: Path, where: str) -> Path:
    for name in _FOLDERS:
        if os.path.lexists(path / name):
            return find_weights(path / name)
    saved = [file for file in path.glob("ckpt-*.flax") if file.stem[len("ckpt-") :].isdecimal()]
    if saved:
        return find_weights(max(saved, key=lambda file: int(file.stem[len("ckpt-") :])))
    if os.path.lexists(path / "recipe.json"):
        raise UserError(f"the run in {where} has no weights yet: `hvit resume {where}` continues it")
    raise UserError(
        f"the folder {where} holds neither weights.safetensors (a run) nor model.safetensors, pytorch_model.bin or the "
        f"index of one (transformers, timm, Accelerate) nor ckpt-N.flax (official NesT)"
    )


def flat_state(loaded: Mapping[Any, Any]) -> tuple[dict[str, Tensor], str | None]:
    """The named tensors of a state dict, and the name of the section they were found in, if any.

    Sections are looked for by the names that training programs give them, averaged weights first, then by what is
    there; one that holds nearly nothing compared with the fullest, such as averages that were not begun, is passed
    over. Entries that are no tensors are left out. Raises UserError where the tensors are not dense, and where it
    cannot be said which section is meant.
    """
    section = _section(loaded)
    for part in section:
        loaded = loaded[part]
    state = {}
    for name, tensor in loaded.items():
        unusual = _unusual(tensor)
        if isinstance(name, str) and unusual:
            raise UserError(f"{shown(name[:200])} is {unusual}; weights are dense tensors of numbers")
        if isinstance(name, str) and isinstance(tensor, Tensor | StoredTensor):
            state[name] = tensor.take() if isinstance(tensor, StoredTensor) else tensor.detach()
    return state, ".".join(section) or None


def _unusual(value: Any) -> str | None:
    """What kind of tensor a value is, if it is one that has no place in a state dict."""
    if isinstance(value, Tensor) and value.layout != torch.strided:
        return f"a tensor of layout {value.layout}"
    if isinstance(value, Tensor) and value.is_quantized:
        return f"a quantized tensor ({value.dtype})"
    if isinstance(value, Described) and value.kind.startswith("torch._utils._rebuild_"):
        kind = value.kind.removeprefix("torch._utils._rebuild_")
        return {"qtensor": "a quantized tensor", "sparse_tensor": "a sparse tensor"}.get(
            kind, f"a tensor of kind {kind}"
        )
    return None


def _section(loaded: Mapping[Any, Any]) -> tuple[str, ...]:
    """The names that lead to the state dict inside what a file holds; none where it is one itself."""
    found = dict(_state_dicts(loaded, ()))
    counts = {place: _tensors_in(part) for place, part in found.items()}
    most = max((count for place, count in counts.items() if place), default=0)
    full = [place for place, count in counts.items() if place and 2 * count >= most]
    named = [place for place in full if any(part in _SECTIONS for part in place)]

    def rank(place: tuple[str, ...]) -> tuple[int, ...]:
        return (*(_SECTIONS.index(part) if part in _SECTIONS else len(_SECTIONS) for part in place),)

    if named:
        return min(named, key=rank)
    if () in found:
        return ()
    if len(full) > 1:
        names = ", ".join(shown(".".join(place)[:60]) for place in full[:8])
        raise UserError(f"several parts hold weights ({names}); give one of them alone, as a state dict")
    if not full:
        names = [shown(name[:60]) for name in loaded if isinstance(name, str)]
        if names:
            raise UserError(f"it holds no weights where training programs keep them; its parts are {_few(names)}")
    return full[0] if full else ()


def _state_dicts(
    loaded: Mapping[Any, Any], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every dictionary with named tensors that is no state of an optimizer or the like, and the names leading there."""
    if _tensors_in(loaded):
        yield place, loaded
    if len(place) == _DEEPEST_SECTION:
        return
    for name, part in loaded.items():
        if isinstance(name, str) and isinstance(part, Mapping):
            known = name in _SECTIONS
            if known or not any(word in name.lower() for word in _NO_WEIGHTS):
                yield from _state_dicts(part, (*place, name))


def _tensors_in(part: Mapping[Any, Any]) -> int:
    return sum(isinstance(name, str) and isinstance(value, Tensor | StoredTensor) for name, value in part.items())


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _kind(file: Path, start: bytes) -> tuple[str, Callable[[Path], tuple[dict[str, Tensor], dict[str, Any]]]]:
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000:
        return "safetensors file", _read_safetensors
    if start[:4] == b"PK\x03\x04" or start[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"):  # zip, pickle
        return "torch file", _read_torch
    if start[0] in (*range(0x80, 0x90), 0xDE, 0xDF):
        return "msgpack file of Flax", _read_flax
    raise UserError(
        f"{shown(str(file))} is no weights file; known are safetensors, torch (.pth, .pt, .bin) and Flax (ckpt-N.flax)"
    )


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if header > _LONGEST_HEADER:
        raise UserError(f"{shown(str(file))} has {header:,} bytes of names and metadata; no model has so many")
    with safe_open(file, framework="pt") as opened:
        names = opened.keys()
        if len(names) > MOST_TENSORS:
            raise UserError(f"{shown(str(file))} holds {len(names):,} tensors; no model has more than {MOST_TENSORS:,}")
        return {name: opened.get_tensor(name) for name in names}, {**(opened.metadata() or {}), **_stated(file, None)}


def _read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    loaded = read_torch(file)
    where = shown(str(file))
    if not isinstance(loaded, Mapping):
        kind = loaded.kind if isinstance(loaded, Described) else type(loaded).__name__
        raise UserError(f"{where} holds a {shown(kind)}, not a state dict")
    try:
        state, section = flat_state(loaded)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return state, ({"section": section} if section else {}) | _stated(file, loaded)


def _stated(file: Path, loaded: Any) -> dict[str, Any]:
    """The input size that a file, or a config.json in its folder, states, as metadata."""
    size = stated_input_size(loaded) or input_size_beside(file)
    return {"input_size": size} if size else {}


def _read_index(file: Path) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """The tensors of a model that is stored in parts, by the index that names the file of each."""
    where = shown(str(file))
    if file.stat().st_size > _LONGEST_INDEX:
        raise UserError(f"{where} is no index of weights: it is too large")
    try:
        weight_map = json.loads(file.read_bytes())["weight_map"]
        parts = {name: part for name, part in weight_map.items() if isinstance(part, str)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{where} is no weights file and no index of weights (as model.safetensors.index.json is)"
        ) from error
    files = sorted(set(parts.values()))
    if len(parts) != len(weight_map) or len(parts) > MOST_TENSORS or len(files) > _MOST_SHARDS:
        raise UserError(f"{where} is damaged: it does not name one file for each of its tensors")
    state: dict[str, Tensor] = {}
    total = 0
    for name in files:
        if Path(name).name != name or name in (".", ".."):
            raise UserError(
                f"{where} names the file {shown(name[:200])!r}; the parts of a model lie beside their index"
            )
        part = find_weights(file.parent / name)
        if part.parent != file.parent or part.suffix == ".json":
            raise UserError(f"{where} names {shown(name[:200])!r}, which is no file of tensors")
        tensors, _, size = _read(part)
        total += size
        state |= {one: tensor for one, tensor in tensors.items() if parts.get(one) == name}
    missing = [shown(name[:200]) for name in parts if name not in state]
    if missing:
        raise UserError(f"{where} names tensors that its files do not have: {_few(missing)}")
    return state, _stated(file, None), total


def _read_flax(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
