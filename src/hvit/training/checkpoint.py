"""Checkpoints that a kill, a crash or a full disk cannot spoil.

A checkpoint is written under another name, flushed to the disk and renamed, so that a file with a checkpoint's name is
whole; its first bytes are a checksum of the rest, so that one damaged later is noticed and an older one is used.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from hvit.errors import UserError
from hvit.files import opened, replacing
from hvit.run_names import CHECKPOINTS, step_file, step_files

State = dict[str, Any]
"""What a checkpoint holds: tensors, numbers, strings, and dicts and lists of them."""
_MAGIC = b"hvit checkpoint 1\n"
_ENDING = "checkpoint"
_KEPT = 2
_LARGEST = 2**40
_LARGEST_PICKLE = 100_000_000  # bytes, which the tensors are no part of


def save_checkpoint(folder: Path, step: int, state: State) -> Path:
    """Writes a state and removes all checkpoints but the newest two.

    folder: the run folder. Raises UserError when it cannot be written; the older checkpoints are then untouched.
    """
    places = folder / CHECKPOINTS
    path = places / step_file(step, _ENDING)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    try:
        with replacing(path) as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest())
            file.write(payload)
    except UserError as error:
        raise UserError(f"{error}; what was saved before is intact: make room, then `hvit resume {folder}`") from error
    # Those of later steps are damaged: a run continues from the newest that is not.
    older = [file for _, file in step_files(places, _ENDING) if file != path]
    kept = [file for file in older if file < path][1 - _KEPT :]
    for file in older:
        if file not in kept:
            with suppress(OSError):  # such as a folder of that name
                file.unlink()
    return path


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder holds any checkpoint."""
    return bool(step_files(folder / CHECKPOINTS, _ENDING))


def newest_checkpoint(
    folder: Path, is_whole: Callable[[State], bool] = lambda state: True
) -> tuple[State | None, list[Path]]:
    """The state of the newest intact checkpoint of a run folder, and the damaged files passed over.

    Damaged are files whose checksum is wrong, what is no file at all (folders, pipes, links that lead nowhere), and
    states that are not whole. None where the run has no checkpoint yet. Raises UserError where it has some and all are
    damaged.
    """
    damaged: list[Path] = []
    for _, path in reversed(step_files(folder / CHECKPOINTS, _ENDING)):
        state = _read_checkpoint(path)
        if state is not None and is_whole(state):
            return state, damaged
        damaged.append(path)
    if damaged:
        raise UserError(
            f"every checkpoint in {folder / CHECKPOINTS} is damaged: the run cannot continue; start it anew"
        )
    return None, damaged


def _read_checkpoint(path: Path) -> State | None:
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
