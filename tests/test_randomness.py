"""Random numbers are a function of (seed, purpose, numbers), the same on every machine."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from hvit.randomness import (
    RandomState,
    Share,
    derive_seed,
    draw_for_each,
    drawing_for,
    generator,
    generators_for_each,
    places_of,
    seeded,
)


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


@pytest.mark.parametrize(("total", "processes"), [(12, 1), (7, 1), (12, 2), (12, 3), (16, 4), (12, 4)])
def test_processes_have_every_place_once_and_pairs_together(total: int, processes: int) -> None:
    places = [places_of(total, rank, processes) for rank in range(processes)]
    assert sorted(torch.cat(places).tolist()) == list(range(total))
    for own in places:
        assert own.tolist() == sorted(own.tolist())
        if len(own) % 2 == 0 or processes == 1:
            assert torch.equal(own + own.flip(0), torch.full_like(own, total - 1)), "first with last, as they are mixed"


def test_a_sample_gets_the_same_numbers_in_any_process_and_in_any_part() -> None:
    """Twice as many numbers as samples, too, along another axis, and from generators of their own."""

    def drawn(share: Share) -> list[torch.Tensor]:
        torch.manual_seed(1)
        count = len(share.places)
        with drawing_for(share):
            once = draw_for_each(count, torch.rand)
            twice = draw_for_each(2 * count, lambda rows: torch.rand(3, rows), axis=1)
            alone = torch.stack([torch.rand(2, generator=one) for one in generators_for_each(count)])
        return [once, *twice.T.chunk(2), alone]

    whole = Share(torch.arange(12), 12)
    for rank in range(2):
        for part in Share(places_of(12, rank, 2), 12).parts(3):
            assert len(part.places) == 2
            for everything, some in zip(drawn(whole), drawn(part), strict=True):
                assert torch.equal(everything[part.places], some)
    torch.manual_seed(1)
    assert torch.equal(draw_for_each(12, torch.rand), drawn(whole)[0]), "as without any share"
    assert generators_for_each(2) == [None, None]


def test_the_state_of_the_generators_comes_back() -> None:
    before = RandomState(torch.device("cpu"))
    first = torch.rand(3)
    before.restore()
    assert torch.equal(torch.rand(3), first)
