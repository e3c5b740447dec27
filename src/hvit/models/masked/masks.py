"""Which mask units of a sample are visible, drawn at random by one of the published mask patterns.

`visible` is a bool tensor (batch, *unit grid), True for the visible units, the same number in every sample.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.randomness import draw_for_each, generators_for_each

MaskPattern = Literal["random", "tube", "frame", "block", "nested"]


def count_visible(unit_grid: tuple[int, ...], ratio: float, pattern: MaskPattern) -> int:
    """How many units of every sample are visible. ratio: share of units that is masked.

    Rounded down as in the official code; with "tube" and "frame" in whole columns of time and whole frames, and with
    "nested" one to three of every two by two. Raises UserError where a pattern does not fit the grid, and where nothing
    or everything would be visible.
    """
    units = prod(unit_grid)
    # A ratio such as 0.6 is not exact in binary, and 10 * (1 - 0.6) would round down to 3.
    share = round(1.0 - ratio, 9)
    if pattern in ("tube", "frame") and len(unit_grid) != 3:
        raise UserError(f"masks of pattern {pattern!r} are for clips; images take random, block or nested")
    if pattern == "tube":
        visible = unit_grid[0] * int(prod(unit_grid[1:]) * share)
    elif pattern == "frame":
        visible = int(unit_grid[0] * share) * prod(unit_grid[1:])
    elif pattern == "nested":
        if any(side % 2 for side in unit_grid[-2:]):
            raise UserError(f"nested masks need an even number of units along both sides; here are {unit_grid}")
        if share * 4 != int(share * 4):
            raise UserError(
                f"nested masks cover one, two or three of every four units: a ratio of 0.25, 0.5 or 0.75, not {ratio}"
            )
        visible = int(share * units)
    else:
        visible = int(units * share)
    if not 0 < visible < units:
        raise UserError(
            f"a mask ratio of {ratio} with pattern {pattern!r} makes {visible} of {units} mask units visible; some "
            f"must be visible and some masked"
        )
    return visible


def sample_visible(
    batch: int,
    unit_grid: tuple[int, ...],
    ratio: float,
    pattern: MaskPattern = "random",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Which units are visible, at random: bool (batch, *unit_grid).

    | pattern | visible units | source |
    | --- | --- | --- |
    | random | any units | arXiv 2111.06377, 2306.00989 |
    | tube | the same places in every frame | arXiv 2205.09113 |
    | frame | whole frames | arXiv 2205.09113 |
    | block | what a few random boxes leave | after arXiv 2106.08254, 2112.09133 |
    | nested | the same number of every two by two | ours, for NesT's tree |

    ratio: share of units that is masked. generator: as of torch's random functions, on the CPU; without one, numbers
    come from torch's own and belong to samples (see `randomness.draw_for_each`).
    Raises UserError as `count_visible` does.
    """
    count = count_visible(unit_grid, ratio, pattern)
    units = prod(unit_grid)

    def lowest(some: int, samples: int, *shape: int) -> Tensor:
        """True for the `some` lowest of random numbers along the last axis."""
        if generator is None:
            noise = draw_for_each(samples, lambda rows: torch.rand(rows, *shape))
        else:
            noise = torch.rand(samples, *shape, generator=generator)
        return noise.argsort(-1).argsort(-1) < some

    if pattern == "tube":
        frame = lowest(count // unit_grid[0], batch, prod(unit_grid[1:]))
        visible = frame[:, None].expand(-1, unit_grid[0], -1).reshape(batch, *unit_grid)
    elif pattern == "frame":
        frames = lowest(count // prod(unit_grid[1:]), batch, unit_grid[0])
        visible = frames[:, :, None, None].expand(batch, *unit_grid).clone()
    elif pattern == "nested":
        high, wide = unit_grid[-2] // 2, unit_grid[-1] // 2
        fours = lowest(count * 4 // units, batch, *unit_grid[:-2], high, wide, 4).unflatten(-1, (2, 2))
        visible = fours.transpose(-3, -2).flatten(-2).flatten(-3, -2)
    elif pattern == "block":
        generators = [generator] * batch if generator else generators_for_each(batch)
        visible = torch.stack([_boxes(unit_grid, units - count, one) for one in generators])
    else:
        visible = lowest(count, batch, units).view(batch, *unit_grid)
    return visible.to(device)


def _boxes(unit_grid: tuple[int, ...], masked: int, generator: torch.Generator | None) -> Tensor:
    """The visible units of one sample whose masked ones are boxes of random sides and places, `masked` units in all."""
    visible = torch.ones(unit_grid, dtype=torch.bool)
    while (missing := masked - int((~visible).sum())) > 0:
        box = []
        for side in unit_grid:
            # About the share of each axis that gives a box of the missing size, from half to double of it.
            usual = side * (missing / visible.numel()) ** (1 / len(unit_grid))
            wanted = usual * 2 ** (2 * torch.rand((), generator=generator).item() - 1)
            length = min(max(round(wanted), 1), side)
            start = int(torch.randint(side - length + 1, (), generator=generator))
            box.append(slice(start, start + length))
        before = visible.clone()
        visible[tuple(box)] = False
        surplus = int((~visible).sum()) - masked
        if surplus > 0:
            fresh = (before & ~visible).flatten().nonzero().flatten()
            visible.view(-1)[fresh[torch.randperm(len(fresh), generator=generator)[:surplus]]] = True
    return visible
