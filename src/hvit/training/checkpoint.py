"""Checkpoints that a kill, a crash or a full disk cannot spoil.

A checkpoint is written beside its name, flushed to the disk and renamed, so that a file with a checkpoint's name is
whole; its first bytes are a checksum of the rest, so that one damaged later is noticed and an older one is used.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from hvit.errors import UserError
from hvit.files import replacing

FOLDER = "checkpoints"
_MAGIC = b"hvit checkpoint 1\n"
_KEPT = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes `state` (tensors, numbers, strings, dicts and lists of them) and removes all but the newest two.

    folder: the run folder. Raises UserError when it cannot be written; the older checkpoints are then untouched.
    """
    places = folder / FOLDER
    path = places / f"step_{step:09d}.checkpoint"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    try:
        with replacing(path) as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest())
            file.write(payload)
    except UserError as error:
        raise UserError(f"{error}; what was saved before is intact: make room, then `hvit resume {folder}`") from error
    for old in sorted(places.glob("step_*.checkpoint"))[:-_KEPT]:
        old.unlink()
    return path


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder holds any checkpoint."""
    return any((folder / FOLDER).glob("step_*.checkpoint"))


def newest_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[Path]]:
    """The state of the newest intact checkpoint of a run folder, and the damaged files passed over.

    None where the run has no checkpoint yet. Raises UserError where it has some and all are damaged.
    """
    damaged: list[Path] = []
    for path in sorted((folder / FOLDER).glob("step_*.checkpoint"), reverse=True):
        content = path.read_bytes()
        head = len(_MAGIC) + hashlib.sha256().digest_size
        payload = memoryview(content)[head:]
        if content[:head] == _MAGIC + hashlib.sha256(payload).digest():
            return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True), damaged
        damaged.append(path)
    if damaged:
        raise UserError(f"every checkpoint in {folder / FOLDER} is damaged: the run cannot continue; start it anew")
    return None, damaged
