"""What a published recipe comes to on the data set it was published for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hvit.data.batches import steps_per_epoch
from hvit.recipe import Recipe
from hvit.training.distribute import Processes
from hvit.training.schedule import Schedule

ScheduleOf = Callable[[Recipe, int], Schedule]


@pytest.fixture
def schedule_of() -> ScheduleOf:
    """The schedule of a recipe on a training set of so many images or clips, in one process."""

    def schedule(recipe: Recipe, size: int) -> Schedule:
        steps = steps_per_epoch(size, recipe.loop.batch_size)
        return Schedule.of(recipe.loop, recipe.optimize, steps, Processes(0, 1, torch.device("cpu")))

    return schedule
