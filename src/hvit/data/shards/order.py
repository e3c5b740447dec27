"""The order in which training reads shards: a function of seed, epoch and step, whoever reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from hvit.data.balance import draw_epoch
from hvit.data.batches import balanced_indices, batch_indices, steps_per_epoch
from hvit.errors import UserError
from hvit.randomness import generator

MOST_STREAMS = 16


@dataclass(frozen=True, eq=False)
class WindowOrder:
    """Shards in random order, and samples in random order within a few shards, so that only these are needed at once.

    pieces: (samples,) int64, the shard of each sample, ascending. window: shards that are shuffled together. streams:
    parts of a batch that read shards of their own; 0 for as many as divide the batch, up to 16.

    An epoch puts the shards in a random order and divides the samples, in this order, into as many equal stretches as
    there are streams. In each stretch, the samples of every few shards are shuffled. A batch takes as many samples from
    every stretch: the first half of them at its front, the other half, in the reverse order of the streams, at its
    back, as processes share a batch (see `randomness.places_of`). Where the number of processes divides that of the
    streams, each process reads shards of its own, and the batch is the same for any number of processes.
    """

    pieces: np.ndarray
    window: int
    streams: int = 0

    def batch(self, batch_size: int, seed: int, step: int, chances: np.ndarray | None = None) -> np.ndarray:
        """Which samples make up a training batch: (batch_size,). chances: how often each is drawn in an epoch.

        Raises UserError where the streams do not divide the batch.
        """
        count = len(self.pieces)
        if self.streams and batch_size % self.streams:
            raise UserError(
                f"a batch of {batch_size:,} cannot be divided into {self.streams} streams of shards: choose "
                "--data.shard-streams that divides it, or 0"
            )
        if count < batch_size or self.pieces[-1] < self.window:  # all shards are shuffled together
            if chances is None:
                return batch_indices(count, batch_size, seed, step)
            return balanced_indices(chances, batch_size, seed, step)
        epoch, place = divmod(step, steps_per_epoch(count, batch_size))
        return _epoch(self, batch_size, seed, epoch, None if chances is None else _Array(chances))[place]

    def ahead(self, batch_size: int) -> int:
        """How many steps before a shard is needed it is good to fetch it: half of what a window lasts."""
        shards = int(self.pieces[-1]) + 1
        return max(1, len(self.pieces) * min(self.window, shards) // (2 * shards * batch_size))

    def streams_of(self, batch_size: int) -> int:
        """How many parts of a batch read shards of their own."""
        most = min(MOST_STREAMS, int(self.pieces[-1]) + 1)
        # Of an even batch, each stream has an even number of samples, half of them at the front.
        return self.streams or max(one for one in range(1, most + 1) if batch_size % (one * (2 - batch_size % 2)) == 0)


class _Array:
    """An array as a key: equal where it is the same one."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __hash__(self) -> int:
        return id(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Array) and self.values is other.values


@lru_cache(maxsize=2)
def _epoch(order: WindowOrder, batch_size: int, seed: int, epoch: int, chances: _Array | None) -> np.ndarray:
    """The samples of every batch of an epoch: (steps, batch_size)."""
    random = generator(seed, "shards", epoch)
    count, streams = len(order.pieces), order.streams_of(batch_size)
    chosen = np.arange(count)
    if chances is not None:
        chosen = draw_epoch(chances.values, float(torch.rand((), generator=random)))
    ranks = np.argsort(torch.randperm(int(order.pieces[-1]) + 1, generator=random).numpy())  # of each shard
    chosen = chosen[np.argsort(ranks[order.pieces[chosen]], kind="stable")]
    steps, share = steps_per_epoch(count, batch_size), batch_size // streams
    window = max(2, order.window // streams)
    parts = []
    for stream in range(streams):
        stretch = chosen[count * stream // streams : count * (stream + 1) // streams]
        of_shard = np.cumsum(np.diff(ranks[order.pieces[stretch]], prepend=ranks[order.pieces[stretch[0]]]) != 0)
        keys = torch.rand(len(stretch), generator=random, dtype=torch.float64).numpy()
        shuffled = stretch[np.lexsort((keys, of_shard // window))]
        parts.append(shuffled[: steps * share].reshape(steps, share))
    half = share // 2 if share % 2 == 0 else share
    return np.concatenate([part[:, :half] for part in parts] + [part[:, half:] for part in reversed(parts)], axis=1)
