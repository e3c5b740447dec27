"""The table of GPUs, and numbers that are given in its place."""

from __future__ import annotations

import pytest

from hvit.errors import UserError
from hvit.planning import gpus
from hvit.planning.gpus import GPUS, find_gpu


def test_every_gpu_has_its_numbers_and_their_source() -> None:
    for gpu in GPUS.values():
        assert min(gpu.memory, gpu.bandwidth, gpu.full, gpu.link, gpu.per_node) > 0
        assert gpu.low == 0 or gpu.low > gpu.full
        assert "data sheet" in gpu.source or "architecture paper" in gpu.source


def test_given_numbers_replace_those_of_the_table_and_are_named() -> None:
    gpu = find_gpu("h200", memory=100.0, per_node=4)
    assert (gpu.memory, gpu.per_node, gpu.low) == (100.0, 4, 989)
    assert gpu.source == f"{GPUS['h200'].source}; --gpu-memory, --gpus-per-node as given"
    assert find_gpu("h200", memory=None) == GPUS["h200"]


def test_a_gpu_that_is_not_in_the_table_can_be_described() -> None:
    gpu = find_gpu("z9", memory=64.0, full=50.0, link=100.0)
    assert (gpu.low, gpu.bandwidth, gpu.per_node, gpu.source) == (0, 0, 1, "as given")


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("h20", {}, r"there is no GPU 'h20' in the table; did you mean 'h200'\? For another GPU give --gpu-memory, "),
        (
            "z9",
            {"memory": 3.0},
            r"known are a100-40, .*mi300x\)\. For another GPU give --gpu-tflops-float32, --link-band",
        ),
        ("cpu", {}, "the CPU of this machine is in no table: give --gpu-tflops-float32, --link-bandwidth"),
        ("h200", {"link": 0.0}, "--link-bandwidth must be above 0 and below 1e9; got 0"),
        ("h200", {"memory": float("nan")}, "--gpu-memory must be above 0"),
    ],
)
def test_what_is_missing_or_wrong_is_named(name: str, given: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_gpu(name, **given)


def test_the_cpu_has_the_memory_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "total_memory", lambda: 24 * 10**9)
    assert find_gpu("cpu", full=0.1, link=5.0).memory == 24.0
