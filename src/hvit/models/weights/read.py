"""Reading checkpoint files of any known kind into flat dictionaries of tensors; nothing in a file is ever executed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from mimetypes import guess_type
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from hvit.errors import UserError
from hvit.markup import shown
from hvit.models.input_sizes import input_size_beside, stated_input_size
from hvit.models.weights.flax_files import read_flax
from hvit.models.weights.hub import PREFIX, WEIGHT_FILES, fetch, looks_like_hub_name, named_on_hub
from hvit.models.weights.pickles import MOST_TENSORS, Described
from hvit.models.weights.sections import few, flat_state
from hvit.models.weights.torch_files import read_torch
from hvit.run_names import RECIPE, WEIGHTS, fold_folder

_MOST_SHARDS = 1_000
_LONGEST_INDEX = 4_000_000
_LONGEST_HEADER = 25_000_000  # bytes of names, shapes and metadata; the largest models have some 300,000

_EXPORTED = (".onnx", ".xml", ".pt2", ".pte")
"""Suffixes of files that `hvit export` writes."""


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors of a checkpoint under the names the file gives them, and the file's metadata.

    Known kinds, recognised by content: safetensors, torch files (see `torch_files`), the msgpack files of the official
    Flax code (names joined by "/"), and the index of safetensors or torch files that hold a model in parts. For folders
    see `find_weights`. The metadata is that of a safetensors file, or {"section": name} where a torch file holds
    several parts; and "input_size" is the height and width of the input where the file, or a config.json in its folder,
    states them. Tensors of torch files may lie in the mapped file: copy them before it changes.
    Raises UserError for a file that is missing, empty, damaged, dangerous or of another kind.
    """
    file = find_weights(path)
    if file.suffix.lower() in _EXPORTED:
        raise UserError(
            f"{shown(str(file))} is an exported model: `hvit predict {shown(str(file))} IMAGES` runs .onnx and .xml "
            f"files; other commands take the weights it was exported from"
        )
    state, metadata, size = _read(file)
    if not state:
        raise UserError(f"{shown(str(file))} holds no weights")
    # Views may claim more than the file holds; twice leaves room for weights that share their memory.
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > 2 * size:
        raise UserError(f"{shown(str(file))} is damaged: its tensors claim {claimed} bytes, but the file has {size}")
    return state, metadata


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, object], int]:
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
    index of either), or one of the official Flax code, whose newest ckpt-N.flax is taken. hf:owner/name and
    hf:owner/name@revision are models of the Hugging Face Hub, which are downloaded into its cache. Raises UserError for
    a path that leads to no regular file.
    """
    if (model := named_on_hub(path)) is not None:
        return _in_folder(fetch(model), str(model))
    path = Path(path)
    where = shown(str(path))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if path_is_link(path):
            raise UserError(f"{where} is a link to a file that is not there") from error
        reason = getattr(error, "strerror", None) or str(error)
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        meant = f"; of a model on the hub write {PREFIX}{where}" if missing and looks_like_hub_name(path) else ""
        raise UserError(f"there is no weights file {where}{meant}" + ("" if missing else f": {reason}")) from error
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
    for name in WEIGHT_FILES:
        if os.path.lexists(path / name):
            return find_weights(path / name)
    if path.name in WEIGHT_FILES:
        raise UserError(f"{where} is a folder, and a weights file should be in its place: put that back")
    saved = [file for file in path.glob("ckpt-*.flax") if file.stem[len("ckpt-") :].isdecimal()]
    if saved:
        return find_weights(max(saved, key=lambda file: int(file.stem[len("ckpt-") :])))
    if (path / fold_folder(1)).is_dir():
        one = f"{where}/{fold_folder(1)}"
        raise UserError(f"{where} is a cross-validation, which has a model for each fold: name one, such as {one}")
    if os.path.lexists(path / RECIPE):
        raise UserError(f"the run in {where} has no {WEIGHTS} (yet): `hvit resume {where}` goes on and writes it")
    raise UserError(
        f"the folder {where} holds neither {WEIGHTS} (a run) nor model.safetensors, pytorch_model.bin or the "
        f"index of one (transformers, timm, Accelerate) nor ckpt-N.flax (official NesT)"
    )


def _kind(file: Path, start: bytes) -> tuple[str, Callable[[Path], tuple[dict[str, Tensor], dict[str, object]]]]:
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000:
        return "safetensors file", _read_safetensors
    if start[:4] == b"PK\x03\x04" or start[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"):  # zip, pickle
        return "torch file", _read_torch
    if _is_msgpack_object(start):
        return "msgpack file of Flax", read_flax
    known = "known are safetensors, torch (.pth, .pt, .bin) and Flax (ckpt-N.flax)"
    is_medium = str(guess_type(file.name)[0]).startswith(("image/", "video/"))
    meant = "; weights or a run folder come first, and images after them" if is_medium else ""
    raise UserError(f"{shown(str(file))} is no weights file; {known}{meant}")


def _is_msgpack_object(start: bytes) -> bool:
    """Whether bytes begin a map of msgpack whose first key is text; PNG images, too, begin with the byte of a map."""
    if start[0] not in (*range(0x80, 0x90), 0xDE, 0xDF):
        return False
    key = start[{0xDE: 3, 0xDF: 5}.get(start[0], 1) :][:1]
    return not key or key[0] in (*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB)


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if header > _LONGEST_HEADER:
        raise UserError(f"{shown(str(file))} has {header:,} bytes of names and metadata; no model has so many")
    with safe_open(file, framework="pt") as opened:
        names = opened.keys()
        if len(names) > MOST_TENSORS:
            raise UserError(f"{shown(str(file))} holds {len(names):,} tensors; no model has more than {MOST_TENSORS:,}")
        return {name: opened.get_tensor(name) for name in names}, {**(opened.metadata() or {}), **_stated(file, None)}


def _read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
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


def _stated(file: Path, loaded: object) -> dict[str, object]:
    """The input size that a file, or a config.json in its folder, states, as metadata."""
    size = stated_input_size(loaded) or input_size_beside(file)
    return {"input_size": size} if size else {}


def _read_index(file: Path) -> tuple[dict[str, Tensor], dict[str, object], int]:
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
                f"{where} names the file {shown(name[:200])!r}; the parts of a model lie in the folder of their index"
            )
        part = find_weights(file.parent / name)
        if part.parent != file.parent or part.suffix == ".json":
            raise UserError(f"{where} names {shown(name[:200])!r}, which is no file of tensors")
        tensors, _, size = _read(part)
        total += size
        state |= {one: tensor for one, tensor in tensors.items() if parts.get(one) == name}
    missing = [shown(name[:200]) for name in parts if name not in state]
    if missing:
        raise UserError(f"{where} names tensors that its files do not have: {few(missing)}")
    return state, _stated(file, None), total
