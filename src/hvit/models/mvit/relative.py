"""Attention with decomposed relative positions, in the form that is the fastest on the device at hand."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.models.layers.attention import attend, is_learning
from hvit.models.layers.grids import is_exported, relative_lookup
from hvit.models.layers.tracing import one_step

# With queries wider than values, explicit products are faster on a CPU up to about this many keys.
_FUSED_KEYS = 256
# A table of position scores is faster than wider queries on a CPU, without gradients, up to about this many bytes.
_TABLE_BYTES = 2**25


@one_step
def attend_relative(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Sequence[Tensor],
    extra: int,
    grid: tuple[int, ...],
    key_grid: tuple[int, ...],
) -> Tensor:
    """Attention with decomposed relative positions (arXiv 2112.01526, equations 3 and 4, as the code has them).

    The score of query i and key j is q_i k_j / sqrt(width) + q_i (time offset + row offset + column offset), the
    second q unscaled. The offsets' scores of all pairs are added as a table where that is faster, which is where it
    is small and nothing is learned, or are further channels of queries and keys.
    q, k, v: (batch, heads, class token + grid, width). tables: the positions of every axis (offsets, width).
    extra: class tokens. grid, key_grid: of the queries and keys. Returns the shape of q.
    """
    letters = "thw"[-len(grid) :]
    spread, scores = q[:, :, extra:].unflatten(2, grid), []
    for axis, positions in enumerate(tables):
        table = relative_lookup(positions, grid[axis], key_grid[axis])
        scores.append(torch.einsum(f"bn{letters}c,{letters[axis]}kc->bn{letters}k", spread, table))
    if q.is_meta:  # no numbers, only counting: the papers' counts do not include adding the scores
        return attend(q, k, v)
    if _table_pays(q, k):
        return attend(q, k, v, bias=_score_table(scores, extra))
    return _attend_wider(q, k, v, extra, scores)


def _table_pays(q: Tensor, k: Tensor) -> bool:
    """Whether a table of position scores is faster than wider queries, as measured (docs/guides/speed.md).

    A program that is exported or traced is made for any batch, and to be used without gradients.
    """
    if q.device.type != "cpu" or q.dtype != torch.float32 or (is_learning(q) and not is_exported()):
        return False
    return 4 * prod(q.shape[1 if is_exported() else 0 : 3]) * k.shape[2] <= _TABLE_BYTES


def _score_table(scores: Sequence[Tensor], extra: int) -> Tensor:
    """Sums of scores of every axis, (batch, heads, *grid, keys of that axis), for all pairs of queries and keys.

    extra: class tokens, whose own offsets are 0. Returns (batch, heads, extra + queries, extra + keys).
    """
    *first, rows, columns = scores
    table = rows[..., None] + columns[..., None, :]
    if first:
        table = first[0][..., None, None] + table[..., None, :, :]
    table = table.flatten(2, 1 + len(scores)).flatten(3)
    return F.pad(table, (extra, 0, extra, 0)) if extra else table


def _attend_wider(q: Tensor, k: Tensor, v: Tensor, extra: int, scores: Sequence[Tensor]) -> Tensor:
    """The same with scores of offsets (batch, heads, *grid, keys of an axis) as further channels of the queries.

    Keys have a one in their own time, row and column: one product gives the sum, without a table of all pairs.
    """
    key_grid = tuple(one.shape[-1] for one in scores)
    queries, keys = [q * q.shape[-1] ** -0.5], [k]
    for axis, one in enumerate(scores):
        flat = one.flatten(2, -2)
        queries.append(F.pad(flat, (0, 0, extra, 0)) if extra else flat)
        own = torch.eye(key_grid[axis], dtype=k.dtype, device=k.device)
        own = own.view(*(-1 if other == axis else 1 for other in range(len(key_grid))), key_grid[axis])
        own = F.pad(own.expand(*key_grid, -1).flatten(0, -2), (0, 0, extra, 0))
        keys.append(own.expand_as(k[..., :1].expand(-1, -1, -1, own.shape[1])))
    return attend(torch.cat(queries, -1), torch.cat(keys, -1), v, scale=1.0, fused_from=_FUSED_KEYS)
