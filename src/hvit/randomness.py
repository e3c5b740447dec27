"""Everything random is a function of (seed, purpose, numbers).

No random state is ever carried from one step to the next, so a run that is stopped anywhere continues exactly,
whatever the number of data workers.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


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
