"""Tensors of a file that are mapped when they are taken, and not before."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from hvit.errors import UserError

STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


@dataclass(frozen=True)
class Storage:
    dtype: torch.dtype
    key: str
    count: int
    """Elements, in the zip layout."""


@dataclass(frozen=True)
class Place:
    start: int
    size: int
    """Both in bytes."""


@dataclass
class Places:
    """Where the storages of a file lie."""

    content: mmap.mmap
    known: dict[str, Place] = field(default_factory=dict)
    find: Callable[[str], Place] | None = None

    def of(self, storage: Storage) -> Place:
        if storage.key not in self.known and self.find is not None:
            self.known[storage.key] = self.find(storage.key)
        return self.known[storage.key]


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of a file, which `take` maps."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    places: Places

    def take(self) -> Tensor:
        """The tensor, whose memory is the file's. Raises UserError where the file has less than it claims."""
        place = self.places.of(self.storage)
        last = self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.strides, strict=True))
        if not prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        if (last + 1) * self.dtype.itemsize > place.size:
            raise UserError(f"a tensor of shape {self.shape} claims more than the file has")
        if place.start % self.dtype.itemsize or self.dtype == torch.bool:
            part = torch.frombuffer(self.places.content, dtype=torch.uint8, count=place.size, offset=place.start)
            flat = part != 0 if self.dtype == torch.bool else part.clone().view(self.dtype)
        else:
            count = place.size // self.dtype.itemsize
            flat = torch.frombuffer(self.places.content, dtype=self.dtype, count=count, offset=place.start)
        return flat.as_strided(self.shape, self.strides, self.offset)
