"""Sums of memory, largest batches and times, by hand numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvit.errors import UserError
from hvit.planning.communication import Cluster
from hvit.planning.estimate import Assumed, Batch, device_memory, divided, largest_part, parts_needed, step_time
from hvit.planning.gpus import Gpu
from hvit.planning.step import KeptBytes, StepBytes

# 100 parameters: three blocks of 30, 20 and 20, and 30 that are in none.
KEPT = KeptBytes(
    weights=400, fixed=0, gradients=400, optimizer=800, average=400, trained=100, units=(30, 20, 20, 30), roots=1
)
STEP = StepBytes(images=4, inputs=40, saved=1200, casts=200, peak=1700, multiply_adds=4_000)
ALONE = Cluster(1, 1, link=1.0, between=1.0)
TWO_NODES = Cluster(8, 4, link=1e-9, between=1e-9)  # a byte a second
GPU = Gpu("toy", memory=1.0, bandwidth=0.0, low=2e-12, full=1e-12, link=1.0, per_node=4, source="made up")


def test_one_device_has_everything_and_no_buffers() -> None:
    memory = device_memory("ddp", ALONE, KEPT, STEP, low=True)
    assert (memory.kept, memory.communication) == (2000, 0)
    assert (memory.activations, memory.working, memory.inputs) == (1200, 100, 40)
    assert memory.total == 3340


def test_ddp_has_a_copy_of_the_gradients_in_its_buckets() -> None:
    memory = device_memory("ddp", TWO_NODES, KEPT, STEP, low=True)
    assert (memory.weights, memory.communication) == (400, 400)


@pytest.mark.parametrize(("mode", "shards"), [("fsdp", 8), ("hsdp", 4)])
def test_divided_weights_are_gathered_two_blocks_at_a_time(mode: str, shards: int) -> None:
    memory = device_memory(mode, TWO_NODES, KEPT, STEP, low=True)  # pyright: ignore[reportArgumentType]
    assert (memory.weights, memory.optimizer, memory.average) == (400 / shards, 800 / shards, 400 / shards)
    assert memory.communication == 2 * (30 + 20 + 30) + 4 * 30
    assert memory.activations == 1000  # casts of weights are the gathered ones
    full = device_memory(mode, TWO_NODES, KEPT, replace(STEP, casts=0), low=False)  # pyright: ignore[reportArgumentType]
    assert full.communication == 4 * (30 + 20 + 30) + 4 * 30


def test_the_largest_part_follows_from_two_sizes() -> None:
    small = device_memory("ddp", ALONE, KEPT, STEP, low=True)
    large = device_memory("ddp", ALONE, KEPT, replace(STEP, images=8, inputs=80, saved=2200, peak=2700), low=True)
    assert large.total - small.total == 4 * 260
    assert largest_part(small, large, 4, 8, room=small.total) == 4
    assert largest_part(small, large, 4, 8, room=small.total + 259) == 4
    assert largest_part(small, large, 4, 8, room=small.total + 261) == 5
    assert largest_part(small, large, 4, 8, room=small.total - 3 * 260) == 1
    assert largest_part(small, large, 4, 8, room=100) == 0


def test_the_fewest_equal_parts_that_fit() -> None:
    batch = divided(96, 8, 1)
    assert (batch.part, parts_needed(batch, 12), parts_needed(batch, 5), parts_needed(batch, 0)) == (12, 1, 3, None)
    with pytest.raises(UserError, match="batch_size 96 must be divisible by 7 devices x 1 accumulated parts"):
        divided(96, 7, 1)


def test_time_is_arithmetic_and_what_it_does_not_hide() -> None:
    assumed = Assumed(efficiency=0.5, overlap=0.25, reserve=0.0)
    time = step_time("ddp", TWO_NODES, KEPT, STEP, Batch(96, 8, 3), GPU, assumed, low=True)
    assert time.compute == pytest.approx(12 * 2 * 1000 / (2 * 0.5))  # 12 images, 1 operation a second
    assert time.traffic.across == 2 * 400 * 7 / 8  # once, for all three parts
    assert time.traffic.seconds == pytest.approx(700)
    assert time.exposed == 0
    alone = step_time("ddp", TWO_NODES, KEPT, replace(STEP, multiply_adds=4), Batch(96, 8, 3), GPU, assumed, low=True)
    assert alone.seconds == pytest.approx(24 + 700 - 6)
    divided_weights = step_time("fsdp", TWO_NODES, KEPT, STEP, Batch(96, 8, 3), GPU, assumed, low=True)
    assert divided_weights.traffic.across == pytest.approx((6 * 200 + 3 * 400) * 7 / 8)  # all for each part
    full = step_time("ddp", TWO_NODES, KEPT, STEP, Batch(96, 8, 3), GPU, assumed, low=False)
    assert full.compute == 2 * time.compute
