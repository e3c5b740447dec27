"""The contract between what is trained (a task) and how it is trained (the loop)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Networks = Mapping[str, nn.Module]
Batch = Mapping[str, Tensor]
Scores = dict[str, Any]
"""Numbers and lists by their names, which scores.json holds."""
Outputs = dict[str, Tensor]
"""What networks make of some samples, by names; each with a row for every sample, view or batch, in their order."""


@dataclass(frozen=True)
class Before:
    """How much of a set comes before some of its batches."""

    batches: int = 0
    """Batches before them, all of the same size."""
    samples: int = 0
    """Samples in these."""


WHOLE = Before()
"""Nothing comes before them."""


def join(parts: Iterable[Outputs]) -> Outputs:
    """The outputs of several batches, or of several processes, one after the other; those without any add nothing."""
    some = [part for part in parts if part]
    return {name: torch.cat([part[name] for part in some]) for name in (some[0] if some else ())}


@dataclass(frozen=True)
class Phase:
    """One part of a training step: which network is trained on which loss, and how often."""

    name: str
    """What `Task.loss` is asked for."""
    network: str
    """The network whose weights this phase changes."""
    every: int = 1
    """The phase runs at steps that this number divides."""
    rate: float = 1.0
    """Factor on the learning rate of the run."""


class Task(ABC):
    """Named networks, the phases in which they are trained, a loss for each phase, and how they are scored."""

    networks: dict[str, nn.Module]
    phases: tuple[Phase, ...]
    score: str
    """Name of the value of `evaluate` that people look at first, and that chooses the best weights."""
    lower_is_better: bool = False
    """Whether a lower score is a better one."""
    averaged: tuple[str, ...] = ()
    """The networks whose running averages are evaluated and saved, where a run keeps any; empty: all of them."""

    @property
    def fixed(self) -> tuple[nn.Module, ...]:
        """Networks that losses use and nothing trains."""
        return ()

    @abstractmethod
    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """The scalar to minimise in a phase. networks: as `self.networks`, perhaps wrapped for several devices."""

    @abstractmethod
    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        """All that `scores_of` needs of some batches of a set, on the CPU; nothing of none. Networks are in eval mode.

        Several processes share a set out: each computes the outputs of some batches, and the first joins them in the
        order of the set.
        """

    @abstractmethod
    def scores_of(self, outputs: Outputs) -> Scores:
        """Scores of a whole set, with "loss" and `score` among them: numbers, and lists for what the report draws.

        "warning", if there is one, is a sentence on what goes wrong, printed at once.
        """

    def scores_of_test(self, outputs: Outputs) -> Scores:
        """As `scores_of`, of samples that must choose nothing."""
        return self.scores_of(outputs)

    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> Scores:
        """The scores of a set in one go."""
        return self.scores_of(self.outputs(networks, batches))

    @abstractmethod
    def save_weights(self, folder: Path, networks: Networks) -> None:
        """Writes what a user ships, such as `weights.safetensors`, into the run folder."""

    def draw(self, folder: Path, networks: Networks, step: int) -> None:
        """Leaves pictures of the present state in the run folder, after so many steps; most tasks draw none."""
        del folder, networks, step
