"""Sharded networks train as copied ones do, and what they save any number of processes reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hvit.errors import UserError
from hvit.training.distribute import Processes
from hvit.training.parallel import Division
from hvit.training.schedule import LoopConfig
from tests.training.divided import Block, Blocks, work

CPU = torch.device("cpu")


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "optimize"),
    [
        ({}, {"clip_norm": 0.5}),
        ({"accumulate": 2, "checkpoint_activations": True, "offload": True}, {"method": "sgd", "nesterov": True}),
    ],
    ids=["adamw", "sgd"],
)
def test_two_processes_with_shards_learn_what_two_with_copies_do(
    tmp_path: Path, fields: dict[str, Any], optimize: dict[str, Any]
) -> None:
    shards = work(tmp_path / "fsdp", 2, 4, {"parallel": "fsdp", **fields}, **optimize)
    own = {name: value for name, value in fields.items() if name != "offload"}
    copies = work(tmp_path / "ddp", 2, 4, own, **optimize)
    assert (shards["kinds"], copies["kinds"]) == (["DTensor"], ["Parameter"])
    torch.testing.assert_close(shards["losses"], copies["losses"], rtol=1e-5, atol=1e-6)
    assert shards["score"] == pytest.approx(copies["score"], rel=1e-4)
    for name, value in copies["after"].items():
        torch.testing.assert_close(shards["after"][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_the_mode_of_compiling_reaches_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda network, mode: asked.append(mode) or network)
    monkeypatch.setenv("CXX", sys.executable)
    alone, network = Processes(0, 1, CPU), nn.Linear(1, 1)
    compiled = LoopConfig(compile=True, compile_mode="reduce-overhead")
    assert Division.of(LoopConfig(), alone).wrap(network) is Division.of(compiled, alone).wrap(network) is network
    assert asked == ["reduce-overhead"]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_of_several_processes_every_block_is_compiled_for_itself(
    parallel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(nn.Module, "compile", lambda block, mode: asked.append((type(block), mode)))
    monkeypatch.setattr(Processes, "wrap", lambda ranks, network: network)
    monkeypatch.setattr(Division, "_shard", lambda division, network, blocks: None)
    monkeypatch.setenv("CXX", sys.executable)
    network = Blocks().networks["model"]
    division = Division.of(LoopConfig(compile=True, parallel=parallel), Processes(0, 2, CPU))
    assert division.wrap(network) is network
    assert asked == [(Block, "default")] * 2


def test_a_division_that_cannot_be_is_refused_with_what_can() -> None:
    six = Processes(0, 6, CPU)
    with pytest.raises(UserError, match=r"shard_size 4 must divide the 6 processes of this run; 2 or 3 or 6 does"):
        Division.of(LoopConfig(parallel="hsdp", shard_size=4), six)
    with pytest.raises(UserError, match=r"hsdp does not fit this kind of run.*use ddp"):
        Division.of(LoopConfig(parallel="hsdp"), six, by_block=False)
    with pytest.raises(UserError, match=r"shard_size is the number of processes .* got 2 and parallel fsdp"):
        LoopConfig(parallel="fsdp", shard_size=2)
    with pytest.raises(UserError, match=r"offload needs --loop\.parallel fsdp or hsdp; got auto"):
        LoopConfig(offload=True)


def test_a_division_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    of, four = Division.of, Processes(0, 4, CPU)
    assert of(LoopConfig(), Processes(0, 1, CPU)).describe() == ""
    assert of(LoopConfig(), four).describe() == "ddp: 4 processes, each with all weights"
    assert (
        of(LoopConfig(parallel="hsdp"), four).describe()
        == "hsdp: 4 processes, 2 copies of the weights, each in 2 shards"
    )
    offloaded = LoopConfig(parallel="fsdp", offload=True)
    assert of(offloaded, four).describe() == (
        "fsdp: 4 processes, weights in 4 shards, which wait in the memory of the host"
    )
