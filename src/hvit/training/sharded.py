"""Checkpoints of sharded networks: a folder into which every process writes its shards while the training goes on.

The shards are written by torch.distributed.checkpoint, so that any other number of processes, and one alone, can read
them. The folder has another name until all of it is on the disk; the file `STATE` in it, which is written last, has the
rest of the state and the checksums of all other files.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.tensor import DTensor

from hvit.errors import UserError
from hvit.files import UNFINISHED, flush_folder
from hvit.run_names import CHECKPOINTS, step_file
from hvit.training.distribute import Processes
from hvit.training.state_file import SHARDED, STATE, State, read_state, remove_older, write_state

_FILE = re.compile(r"\.metadata|__\d{1,9}_\d{1,9}\.distcp")
_LARGEST_METADATA = 2**30
_CLASSES = {
    ("torch.distributed.checkpoint.metadata", name)
    for name in (
        "Metadata", "MetadataIndex", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    )
} | {
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"), ("torch", "Size"), ("collections", "OrderedDict"),
    ("torch.serialization", "_get_layout"),
}  # fmt: skip


class ShardedCheckpoints:
    """Writes the checkpoints of a run in the background, one at a time. All processes make it and call it together."""

    def __init__(self, folder: Path, ranks: Processes) -> None:
        self.folder, self.ranks = folder, ranks
        # The background has a connection of its own, so that its messages never meet those of a training step.
        self._group: Any = torch.distributed.new_group(backend="gloo")
        self._thread: threading.Thread | None = None
        self._failure = ""

    def save(self, step: int, state: State) -> None:
        """Begins to write a state; returns when it is copied, and may be changed again.

        Waits for the one before, and raises UserError where that could not be written.
        """
        self.wait()
        rest, tensors = divided(state)
        unfinished = self.folder / CHECKPOINTS / f".{step_file(step, SHARDED)}{UNFINISHED}"
        self.ranks.first_only(partial(_make_room, unfinished))
        writer = _Writer(unfinished, single_file_per_rank=True, sync_files=True)
        future = async_save(tensors, storage_writer=writer, process_group=self._group)
        work = partial(self._complete, future.result, unfinished, step, rest)  # pyright: ignore[reportAttributeAccessIssue]
        self._thread = threading.Thread(target=work, name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk. Raises UserError, in all processes, where it is not."""
        if self._thread is not None:
            self.join()
            self._thread = None
            failure, self._failure = self.ranks.share(self._failure), ""
            if failure:
                raise UserError(
                    f"a checkpoint could not be written: {failure}; what was saved before is intact: make room, then "
                    f"`hvit resume {self.folder}`"
                )

    def join(self) -> None:
        """Waits until nothing is written any more, whether that went well or not."""
        if self._thread is not None:
            self._thread.join()

    def _complete(self, written: Callable[[], object], unfinished: Path, step: int, rest: State) -> None:
        """In the background: waits for the shards, and gives the folder its name when all of them are on the disk."""
        rank, failure = self.ranks.rank, ""
        digests: dict[str, tuple[int, str]] = {}
        try:
            written()
            for path in unfinished.iterdir():
                if path.name.startswith(f"__{rank}_") or (rank == 0 and path.name == ".metadata"):
                    digests[path.name] = _digest(path)
        except Exception as error:  # raised again in the training, in all processes
            failure = _first_line(error)
        parts: list[Any] = [None] * self.ranks.world_size
        try:
            torch.distributed.all_gather_object(parts, (digests, failure), group=self._group)
            failure = next((said for _, said in parts if said), "")
            if rank == 0 and not failure:
                self._finish(unfinished, step, rest, {name: one for found, _ in parts for name, one in found.items()})
        except Exception as error:
            failure = _first_line(error)
        self._failure = failure

    def _finish(self, unfinished: Path, step: int, rest: State, digests: Mapping[str, tuple[int, str]]) -> None:
        missing = [name for name in digests if not (unfinished / name).is_file()]
        if missing:
            raise UserError(
                f"{unfinished.parent} has no {missing[0]}, which another machine wrote: the run folder must be on a "
                f"file system that all machines share"
            )
        write_state(unfinished / STATE, rest | {"files": {name: list(one) for name, one in digests.items()}})
        path = self.folder / CHECKPOINTS / step_file(step, SHARDED)
        if os.path.lexists(path):  # of this step, from before a resume
            shutil.rmtree(path)
        flush_folder(unfinished)
        unfinished.rename(path)
        flush_folder(path.parent)
        remove_older(path)


def read_sharded(path: Path, ranks: Processes | None = None) -> State | None:
    """The state in a folder without its shards, with the folder as "shards"; None where it is damaged.

    Several processes share the work of comparing checksums, and agree.
    """
    state = read_state(path / STATE)
    files = state.get("files") if state is not None else None
    rank, world = (ranks.rank, ranks.world_size) if ranks else (0, 1)
    intact = isinstance(files, dict) and ".metadata" in files
    for number, (name, kept) in enumerate(sorted(files.items()) if isinstance(files, dict) and intact else ()):
        if intact and number % world == rank:
            intact = bool(_FILE.fullmatch(str(name))) and _is(path / name, kept)
    if ranks is not None:
        intact = ranks.mean(torch.tensor(float(intact), device=ranks.device)).item() == 1.0
    return {**state, "shards": path} if intact and state is not None else None


def with_shards(state: State, empty: Callable[[tuple[str, ...]], Tensor | None]) -> State:
    """The state that `read_sharded` returned with its tensors, as far as this process holds them.

    empty: a tensor to read into, sharded or whole, by the path of its keys; None for a path that should not be there.
    Raises KeyError, ValueError or RuntimeError where the shards are of another run.
    """
    reader = _Reader(state["shards"], state["files"])
    stored = reader.read_metadata().state_dict_metadata
    tensors: dict[str, Tensor] = {}
    for name, about in stored.items():
        tensor = empty(tuple(name.split("/")))
        if tensor is None or not isinstance(about, TensorStorageMetadata) or tensor.shape != about.size:
            raise ValueError(f"{name} is not in this run")
        tensors[name] = tensor
    load(dict(tensors), storage_reader=reader, no_dist=True)
    complete = {name: value for name, value in state.items() if name not in ("shards", "files")}
    for name, tensor in tensors.items():
        _put(complete, name.split("/"), tensor)
    return complete


def divided(state: State) -> tuple[State, dict[str, Tensor]]:
    """A state without its sharded tensors, and these by the path of their keys."""
    tensors: dict[str, Tensor] = {}

    def without(tree: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        rest = {}
        for key, value in tree.items():
            if isinstance(value, DTensor):
                tensors["/".join((*path, str(key)))] = value.detach()
            else:
                rest[key] = without(value, (*path, str(key)))
        return rest

    return _copied(without(state, ())), tensors


def _copied(tree: Any) -> Any:
    """Nested dicts with their tensors copied, so that they stay as they are while the training goes on."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    return {key: _copied(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _put(tree: State, path: list[str], tensor: Tensor) -> None:
    """Puts a tensor into nested dicts; the state of an optimizer counts its parameters."""
    place: dict[Any, Any] = tree
    for depth, key in enumerate(path[:-1]):
        counted = path[0] == "optimizers" and depth == 3
        place = place.setdefault(int(key) if counted else key, {})
    place[path[-1]] = tensor


class _Writer(FileSystemWriter):
    """Writes shards, and into their list no path of this machine."""

    def storage_meta(self) -> StorageMeta:
        """Nothing about the place."""
        return StorageMeta()


class _Reader(FileSystemReader):
    """Reads shards, and creates nothing from the pickle that lists them but the classes that list tensors."""

    def __init__(self, path: Path, files: Mapping[str, object]) -> None:
        super().__init__(path)
        self._place, self._files = path, files

    def read_metadata(self, *arguments: Any, **named: Any) -> Metadata:
        """What is stored. Raises ValueError for anything else than a list of tensors in files of this checkpoint."""
        path = self._place / ".metadata"
        if path.stat().st_size > _LARGEST_METADATA:
            raise ValueError("the list of shards is too long")
        with path.open("rb") as file:
            try:
                found = _ListReader(file).load()
            except Exception as error:  # whatever is wrong with it, it is no list of shards
                raise ValueError(f"no list of shards: {_first_line(error)}") from error
        if not isinstance(found, Metadata) or not isinstance(found.storage_data, dict):
            raise ValueError("no list of shards")
        if not {str(one.relative_path) for one in found.storage_data.values()} <= set(self._files):
            raise ValueError("shards in files of something else")
        return found


class _ListReader(pickle.Unpickler):
    """Refuses all classes but those that list tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CLASSES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} lists no tensors")


def _make_room(unfinished: Path) -> None:
    """Makes an empty folder; the remains of an older one are removed."""
    with suppress(FileNotFoundError):
        shutil.rmtree(unfinished)
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{unfinished.parent} cannot be written: {error.strerror or error}") from error


def _digest(path: Path) -> tuple[int, str]:
    """Bytes and checksum of a file."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _is(path: Path, kept: object) -> bool:
    """Whether a file has these bytes and this checksum; links, pipes and folders have not."""
    try:
        return not path.is_symlink() and path.is_file() and list(_digest(path)) == kept
    except OSError:
        return False


def _first_line(error: BaseException) -> str:
    """What went wrong, in a line; of torch's errors of several processes that of the first."""
    failures = getattr(error, "failures", None)
    inner = next(iter(failures.values()))[0] if isinstance(failures, dict) and failures else error
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    lines = str(inner).strip().splitlines()
    return lines[0][:300] if lines else type(inner).__name__
