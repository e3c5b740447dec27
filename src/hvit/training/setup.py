"""What the training loop needs besides a task: how a run trains, and where its batches come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvit.interrupts import Interrupts
from hvit.tasks.task import WHOLE, Batch, Before
from hvit.training.distribute import Processes
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule


@dataclass(frozen=True)
class RunSettings:
    """How a run trains, on which devices, and in which folder."""

    folder: Path
    """The run folder, which gets the journal, the checkpoints, and what the task saves."""
    loop: LoopConfig
    """How long, in what portions, and on what."""
    optimize: OptimizeConfig
    """The optimizer and its learning rate."""
    schedule: Schedule
    """The numbers that follow from both, the data and the devices."""
    ranks: Processes
    """The processes that train together."""
    seed: int
    """The seed that the random numbers of every step are derived from."""
    belongs_to: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints that every checkpoint keeps, such as that of the recipe; a checkpoint with others is refused."""
    accepts_changes: bool = False
    """Whether a checkpoint with other fingerprints is accepted."""
    by_block: bool = True
    """Whether its networks may be compiled and sharded block by block."""


@dataclass(frozen=True)
class BatchSource:
    """Where the batches of a run come from."""

    train: Callable[[int], Iterable[Batch]]
    """This process's share of every training batch, from a step on."""
    held_out: Callable[[], Iterable[Batch]]
    """This process's part of the held-out set: validation images where there are others to test on."""
    augment: Callable[[Batch, int], Batch] | None = None
    """What is done to the training batch of a step on the device, if anything."""
    samples: str = "images"
    """What they are made of, as progress counts it: images or clips."""
    test: Callable[[], Iterable[Batch]] | None = None
    """This process's part of the set that the finished run is scored on, where it is not the held-out one."""
    held_out_before: Before = WHOLE
    """What comes before this process's part of the held-out set."""
    test_before: Before = WHOLE
    """What comes before its part of the test set."""
    interrupts: Interrupts = field(default_factory=Interrupts)
    """The wish to stop, which the makers of batches may look at, too."""
