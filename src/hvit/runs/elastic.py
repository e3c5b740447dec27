"""Jobs that a launcher or a scheduler starts again: when a run goes on, and how fewer processes share its batch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from hvit.training.schedule import LoopConfig

_RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
"""Variables in which torchrun and Slurm count how often they have started a job again."""


def was_restarted() -> bool:
    """Whether a launcher or a scheduler has started this command before."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in _RESTARTS)


def divided_again(loop: LoopConfig, plan: Mapping[str, object], world_size: int) -> tuple[LoopConfig, str]:
    """The loop of a run for the processes that are there now, and a sentence where they are more or fewer than before.

    plan: what the run began with. The batch of a step stays, and so does the order of its samples. Fewer processes
    take it in more parts, so that each part has as many samples as before, and needs no more memory; where that does
    not divide, parts are larger.
    """
    schedule = plan.get("schedule")
    samples = schedule.get("images_per_device") if isinstance(schedule, dict) else None
    if not isinstance(samples, int) or samples < 1:
        return loop, ""
    before = loop.batch_size // (samples * loop.accumulate)
    if before == world_size:
        return loop, ""
    if loop.batch_size % (world_size * samples) == 0:
        loop = replace(loop, accumulate=loop.batch_size // (world_size * samples))
    each = loop.batch_size // (world_size * loop.accumulate)
    return loop, (
        f"begun by {_processes(before)} and now continued by {_processes(world_size)}: a step has the same "
        f"{loop.batch_size:,} samples in the same order, {loop.accumulate} x {each:,} in each process"
    )


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
