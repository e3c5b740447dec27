"""A stored tensor is a view of the file's bytes, and never more than the file has."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from hvit.errors import UserError
from hvit.models.weights.stored_tensors import Place, Places, Storage, StoredTensor


def places(tmp_path: Path, start: int = 0) -> Places:
    file = tmp_path / "file"
    file.write_bytes(bytes(start) + torch.arange(6.0).numpy().tobytes())
    with file.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    return Places(content, find=lambda key: Place(start, 24))


@pytest.mark.parametrize("start", [0, 4, 3])
def test_values_are_those_of_the_file_by_offset_and_strides(tmp_path: Path, start: int) -> None:
    stored = StoredTensor(Storage(torch.float32, "0", 6), torch.float32, 1, (2, 2), (1, 2), places(tmp_path, start))
    assert stored.take().tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_a_claim_beyond_the_file_is_refused(tmp_path: Path) -> None:
    stored = StoredTensor(Storage(torch.float32, "0", 6), torch.float32, 0, (7,), (1,), places(tmp_path))
    with pytest.raises(UserError, match="claims more than the file has"):
        stored.take()
