"""Bytes of collectives by hand, and which link sets the time."""

from __future__ import annotations

import pytest

from hvit.planning.communication import Cluster, all_gather, all_reduce, shards_of, traffic

NODE = Cluster(devices=8, per_node=8, link=400.0, between=50.0)
FOUR_NODES = Cluster(devices=32, per_node=8, link=400.0, between=25.0)


def test_a_ring_moves_what_its_formula_says() -> None:
    # Four devices, 100 bytes: three quarters to gather, and again three quarters to add up before.
    assert all_gather(100, 4) == 75
    assert all_reduce(100, 4) == 150
    assert all_gather(100, 1) == all_reduce(100, 1) == 0


def test_ddp_adds_gradients_up_once() -> None:
    moved = traffic("ddp", NODE, gradients=8e9, gathered=4e9, gathers=2, scatters=1)
    assert (moved.inside, moved.across) == (2 * 8e9 * 7 / 8, 0)
    assert moved.seconds == pytest.approx(14e9 / 400e9)


def test_fsdp_gathers_weights_for_both_passes_and_scatters_gradients() -> None:
    moved = traffic("fsdp", NODE, gradients=8e9, gathered=4e9, gathers=2, scatters=1)
    assert moved.inside == 2 * 4e9 * 7 / 8 + 8e9 * 7 / 8 == 14e9


def test_hsdp_divides_inside_nodes_and_adds_up_across_them() -> None:
    moved = traffic("hsdp", FOUR_NODES, gradients=8e9, gathered=4e9, gathers=2, scatters=1)
    assert moved.inside == 14e9  # as FSDP in one node
    assert moved.across == 2 * 1e9 * 3 / 4  # an eighth of the gradients, over four nodes
    assert moved.seconds == pytest.approx(14e9 / 400e9 + 1.5e9 / 25e9)
    assert [shards_of(mode, FOUR_NODES) for mode in ("ddp", "fsdp", "hsdp")] == [1, 32, 8]


def test_between_nodes_all_cards_of_a_node_work_until_a_link_is_the_slower_one() -> None:
    moved = traffic("ddp", FOUR_NODES, gradients=8e9, gathered=4e9, gathers=2, scatters=1)
    assert (moved.inside, moved.across) == (0, 2 * 8e9 * 31 / 32)
    assert moved.seconds == pytest.approx(15.5e9 / (8 * 25e9))
    fast = Cluster(devices=32, per_node=8, link=400.0, between=100.0)
    assert traffic("ddp", fast, 8e9, 4e9, 2, 1).seconds == pytest.approx(15.5e9 / 400e9)


@pytest.mark.parametrize("mode", ["ddp", "fsdp", "hsdp"])
def test_one_device_sends_nothing(mode: str) -> None:
    alone = Cluster(devices=1, per_node=1, link=400.0, between=50.0)
    moved = traffic(mode, alone, 8e9, 4e9, 2, 1)  # pyright: ignore[reportArgumentType]
    assert (moved.inside, moved.across, moved.seconds) == (0, 0, 0)


def test_groups_of_hsdp_may_have_another_size_than_a_node() -> None:
    halves = Cluster(devices=32, per_node=8, link=400.0, between=25.0, group=4)
    moved = traffic("hsdp", halves, gradients=8e9, gathered=4e9, gathers=2, scatters=1)
    assert (moved.inside, moved.across) == (16e9 * 3 / 4, 2 * 2e9 * 7 / 8)
    pairs = Cluster(devices=32, per_node=8, link=400.0, between=25.0, group=16)
    inside = 16e9 * 15 / 16
    assert traffic("hsdp", pairs, 8e9, 4e9, 2, 1).seconds == pytest.approx(inside / 200e9 + 0.5e9 / 25e9)
