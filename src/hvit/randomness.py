"""Everything random is a function of (seed, purpose, numbers).

No random state is ever carried from one step to the next, so a run that is stopped anywhere continues exactly,
whatever the number of data workers. What is drawn for a sample is also a function of its place in the whole batch of
its step, so a run is the same for any number of processes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one purpose at one place of a run, the same on every machine.

    seed: the run's seed. purpose: what the random numbers are for, such as "shuffle". numbers: where in the run
    they are used, such as the step and the rank.
    """
    key = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A torch generator on the CPU that starts from `derive_seed(seed, purpose, *numbers)`."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


@contextmanager
def seeded(seed: int, purpose: str, *numbers: int) -> Iterator[None]:
    """Seeds Python, NumPy and torch (CPU) inside the block and restores their states after it.

    For code that draws from the global generators, as timm's augmentations do from all three.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    derived = derive_seed(seed, purpose, *numbers)
    random.seed(derived)
    np.random.seed(derived % 2**32)
    torch.default_generator.manual_seed(derived)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def places_of(total: int, rank: int, world_size: int) -> Tensor:
    """Which samples of a whole batch a process has: their places (total / world_size,) int64, in rising order.

    A sample and its mirror image, the first and the last, the second and the last but one, are in the same process,
    because mixup and cutmix mix these two. Where processes have an odd number of samples, each has one stretch of the
    batch.
    """
    share = total // world_size
    half = share // 2
    if share % 2:
        return torch.arange(rank * share, (rank + 1) * share)
    last = total - rank * half
    return torch.cat([torch.arange(rank * half, (rank + 1) * half), torch.arange(last - half, last)])


class Share:
    """Some samples of a whole batch, and how many the whole batch has.

    places: (samples,) int64, where they are in the whole batch. total: samples of the whole batch. device: where the
    numbers of `draw_for_each` may be drawn, besides the CPU.
    """

    def __init__(self, places: Tensor, total: int, device: torch.device | str = "cpu") -> None:
        self.places, self.total, self.on_device = places, total, places.to(device)
        self.is_whole = len(places) == total

    def parts(self, count: int) -> list[Share]:
        """The share cut into so many parts of equal size, in order."""
        return [Share(part, self.total, self.on_device.device) for part in self.places.chunk(count)]


_present: Share | None = None


@contextmanager
def drawing_for(share: Share | None) -> Iterator[None]:
    """In this block `draw_for_each` draws for the samples of a share; of None, for whatever samples it is asked."""
    global _present
    before, _present = _present, share
    try:
        yield
    finally:
        _present = before


def present_share() -> Share | None:
    """The share of `drawing_for`; None outside of it."""
    return _present


def draw_for_each(count: int, draw: Callable[[int], Tensor], axis: int = 0) -> Tensor:
    """Random numbers for some samples, the same whichever process, and whichever part of its work, they are in.

    count: the samples of the present share, or several times as many: first all of them, then all of them again, and so
    on. draw: draws from torch's own generator for as many samples as it is given, along the axis. Inside `drawing_for`
    it draws for the whole batch, of which the numbers of the share are taken; the generator then has to start from the
    same state everywhere. Outside of it nothing but these samples is known.
    """
    share = _present
    if share is None or (share.is_whole and count % share.total == 0):
        return draw(count)
    times, rest = divmod(count, len(share.places))
    assert rest == 0, f"{count} samples are no multiple of the {len(share.places)} of this part of the batch"
    drawn = draw(times * share.total)
    places = share.places if drawn.device.type == "cpu" else share.on_device
    if times > 1:
        places = torch.cat([places + number * share.total for number in range(times)])
    return drawn.index_select(axis, places)


def generators_for_each(count: int) -> list[torch.Generator] | list[None]:
    """A generator on the CPU for each sample, as `draw_for_each`; None, torch's own for all, outside of `drawing_for`.

    For what takes so many steps of Python for a sample that it must not be done for the whole batch.
    """
    if _present is None:
        return [None] * count
    drawn = int(torch.randint(2**62, ()))
    assert count == len(_present.places)
    return [torch.Generator().manual_seed(drawn + place) for place in _present.places.tolist()]


class RandomState:
    """The state of torch's generators, of the CPU and of a device, to go back to."""

    def __init__(self, device: torch.device) -> None:
        self.device_module = None if device.type == "cpu" else torch.get_device_module(device)
        self.cpu = torch.get_rng_state()
        self.device = self.device_module.get_rng_state() if self.device_module else None

    def restore(self) -> None:
        """Goes back to it."""
        torch.set_rng_state(self.cpu)
        if self.device_module:
            self.device_module.set_rng_state(self.device)
