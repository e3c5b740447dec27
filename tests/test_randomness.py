"""Random numbers are a function of (seed, purpose, numbers), the same on every machine."""

from __future__ import annotations

import random

import numpy as np
import torch

from hvit.randomness import derive_seed, generator, seeded


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_a_derived_seed_never_changes() -> None:
    assert derive_seed(42, "shuffle", 3) == 6736657377619138058


def test_every_part_of_the_key_counts() -> None:
    keys = [(1, "a"), (2, "a"), (1, "b"), (1, "a", 0), (1, "a", 1), (1, "a", 0, 0), (11, "a"), (1, "a", 10)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_a_seeded_block_draws_the_same_and_leaves_no_trace() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded(5, "test", 1):
        first = draw()
    assert draw() == expected
    with seeded(5, "test", 1):
        assert draw() == first
    with seeded(5, "test", 2):
        assert draw() != first


def test_generators_of_one_key_agree() -> None:
    one, other = (torch.randperm(100, generator=generator(7, "order", 2)) for _ in range(2))
    assert torch.equal(one, other)
