"""The file of a state, which a kill, a crash or a full disk cannot spoil, and from which nothing is executed.

It is written under another name, flushed to the disk and renamed, so that a file with its name is whole; its first
bytes are a checksum of the rest, so that one damaged later is noticed.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from hvit.errors import UserError
from hvit.files import opened, replacing
from hvit.run_names import step_files

State = dict[str, Any]
"""What a checkpoint holds: tensors, numbers, strings, and dicts and lists of them."""
WHOLE, SHARDED = "checkpoint", "sharded"
"""How the names of checkpoints end: of files, and of folders of shards."""
STATE = "state.checkpoint"
"""In a folder of shards: all of the state but the shards, and their checksums."""
KEPT = 2
"""Checkpoints that a run keeps."""
_MAGIC = b"hvit checkpoint 1\n"
_LARGEST = 2**40
_LARGEST_PICKLE = 100_000_000  # bytes, which the tensors are no part of


def write_state(path: Path, state: State) -> None:
    """Writes a state. Raises UserError where it cannot be written; an older file is then untouched."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    with replacing(path) as file:
        file.write(_MAGIC + hashlib.sha256(payload).digest())
        file.write(payload)


def remove_older(path: Path) -> None:
    """Removes all checkpoints but this one and the newest before it; those of later steps are damaged."""
    # A run continues from the newest that is not damaged.
    older = [place for _, place in step_files(path.parent, WHOLE, SHARDED) if place != path]
    kept = [place for place in older if place < path][1 - KEPT :]
    for place in older:
        if place not in kept:
            with suppress(OSError):  # such as a folder with the name of a file
                is_folder = place.suffix == f".{SHARDED}" and not place.is_symlink()
                shutil.rmtree(place) if is_folder else place.unlink()


def read_state(path: Path) -> State | None:
    """The state in a checkpoint, on the CPU; None where it is damaged. Nothing in the file is executed."""
    try:
        with opened(path, _LARGEST) as file:
            # Before all of it is read: a hole may claim any size, and takes none on the disk.
            if file.read(len(_MAGIC)) != _MAGIC or not _takes_its_size_only(file):
                return None
            file.seek(0)
            content = file.read()
    except UserError:
        return None
    head = len(_MAGIC) + hashlib.sha256().digest_size
    payload = memoryview(content)[head:]
    if content[:head] != _MAGIC + hashlib.sha256(payload).digest():
        return None
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception:  # whatever torch finds wrong with it, the file is damaged
        return None
    return state if isinstance(state, dict) else None


def _takes_its_size_only(file: IO[bytes]) -> bool:
    """Whether what is in the archive in a file takes no more memory than the file itself.

    Its members are not compressed and share no bytes, and its pickle makes no arrays of bytes, which may have any size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            size = file.seek(0, io.SEEK_END)
            if not stored or sum(member.file_size for member in members) > size:
                return False
            pickles = [member for member in members if member.filename.endswith(".pkl")]
            return not any(
                member.file_size > _LARGEST_PICKLE or b"bytearray" in archive.read(member) for member in pickles
            )
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return False
