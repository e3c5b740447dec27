"""The order of shards: every sample once an epoch, few shards at once, the same batch for any number of processes."""

import numpy as np
import pytest

from hvit.data.shards.order import WindowOrder
from hvit.errors import UserError
from hvit.randomness import places_of

PIECES = np.repeat(np.arange(40), 25)  # 40 shards of 25 samples
BATCH = 20


def epoch(order: WindowOrder, batch: int, number: int = 0, seed: int = 0) -> np.ndarray:
    steps = len(order.pieces) // batch
    return np.stack([order.batch(batch, seed, number * steps + step) for step in range(steps)])


@pytest.mark.parametrize("streams", [0, 1, 2, 5, 20])
def test_every_sample_is_there_once_an_epoch(streams: int) -> None:
    found = epoch(WindowOrder(PIECES, 8, streams), BATCH)
    assert sorted(found.reshape(-1).tolist()) == list(range(1000))


def test_a_batch_is_a_function_of_seed_and_step_and_epochs_differ() -> None:
    order, again = WindowOrder(PIECES, 8), WindowOrder(PIECES.copy(), 8)
    assert np.array_equal(epoch(order, BATCH, 1), epoch(again, BATCH, 1))
    assert not np.array_equal(epoch(order, BATCH, 0), epoch(order, BATCH, 1))
    assert not np.array_equal(epoch(order, BATCH, 0), epoch(order, BATCH, 0, seed=1))
    assert np.array_equal(order.batch(BATCH, 0, 73), epoch(order, BATCH, 1)[23])


def test_few_shards_are_needed_at_once() -> None:
    found = PIECES[epoch(WindowOrder(PIECES, 8, 2), BATCH)]
    # Two streams of four shards, and at the edge of a window four more each.
    assert max(len(np.unique(found[step : step + 2])) for step in range(49)) <= 16
    assert len(np.unique(found[:5])) == 8


@pytest.mark.parametrize("processes", [2, 5])
def test_each_process_reads_shards_of_its_own(processes: int) -> None:
    order = WindowOrder(PIECES, 8, 10)
    found = PIECES[epoch(order, BATCH)]
    seen = [set(found[:, places_of(BATCH, rank, processes).numpy()].reshape(-1).tolist()) for rank in range(processes)]
    # Stretches of equal size end within shards, so two neighbours may share one.
    assert sum(map(len, seen)) <= 40 + 10
    assert set().union(*seen) == set(range(40))


def test_a_share_of_the_batch_has_an_even_number_of_samples_of_each_stream() -> None:
    assert WindowOrder(PIECES, 8).streams_of(20) == 10
    assert WindowOrder(PIECES, 8).streams_of(64) == 16
    assert WindowOrder(PIECES, 8).streams_of(15) == 15
    assert WindowOrder(np.repeat(np.arange(3), 100), 1).streams_of(64) == 2


def test_within_one_window_all_samples_are_shuffled_together() -> None:
    from hvit.data.batches import balanced_indices, batch_indices

    order = WindowOrder(PIECES, 40)
    assert np.array_equal(order.batch(BATCH, 3, 7), batch_indices(1000, BATCH, 3, 7))
    chances = np.linspace(0.5, 1.5, 1000)
    assert np.array_equal(order.batch(BATCH, 3, 7, chances), balanced_indices(chances, BATCH, 3, 7))


def test_a_batch_larger_than_the_set_repeats_it() -> None:
    found = WindowOrder(np.repeat(np.arange(5), 2), 1).batch(25, 0, 0)
    assert set(np.bincount(found).tolist()) == {2, 3}
    assert len(found) == 25
    assert set(found.tolist()) == set(range(10))


def test_samples_with_chances_come_as_often_as_these_say() -> None:
    chances = np.repeat([0.0, 2.0], 500)
    found = epoch_with(WindowOrder(PIECES, 8, 2), chances)
    counts = np.bincount(found.reshape(-1), minlength=1000)
    assert counts[:500].sum() == 0
    assert (counts[500:] == 2).all()


def epoch_with(order: WindowOrder, chances: np.ndarray) -> np.ndarray:
    return np.stack([order.batch(BATCH, 0, step, chances) for step in range(50)])


def test_streams_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(UserError, match="cannot be divided into 3 streams"):
        WindowOrder(PIECES, 8, 3).batch(BATCH, 0, 0)


def test_shards_are_fetched_half_a_window_ahead() -> None:
    assert WindowOrder(PIECES, 8).ahead(BATCH) == 5
