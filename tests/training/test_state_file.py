"""The file of a state is whole, or is not read, and takes no more memory than it has bytes."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from hvit.training.state_file import read_state, write_state


@pytest.mark.parametrize("harm", ["hole", "compressed", "bytes of any size", "no archive"])
def test_a_checkpoint_that_would_fill_the_memory_is_damaged(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "state"
    write_state(path, {"step": 2, "tensor": torch.full((100,), 2.0)})
    assert read_state(path) is not None
    head = len(b"hvit checkpoint 1\n")
    if harm == "hole":
        os.truncate(path, 2**36)  # would be read if its size were believed
    else:
        payload = io.BytesIO()
        if harm == "no archive":
            payload.write(b"nothing")
        else:
            torch.save({"step": 2, "tensor": torch.zeros(10)}, payload)
        if harm == "compressed":
            with zipfile.ZipFile(payload, "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("archive/data/7", bytes(10**6))
        elif harm == "bytes of any size":
            with zipfile.ZipFile(payload, "a") as archive:
                archive.writestr("archive/more.pkl", b"\x80\x02cbuiltins\nbytearray\nM\xff\xff\x85R.")
        content = payload.getvalue()
        path.write_bytes(path.read_bytes()[:head] + hashlib.sha256(content).digest() + content)
    assert read_state(path) is None
