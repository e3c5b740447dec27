"""Devices and processes: what is not here is refused, and the mode of compiling reaches torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hvit.errors import UserError
from hvit.training.distribute import Processes, is_compile_failure
from hvit.training.schedule import LoopConfig
from tests.training.line import trainer


def test_the_mode_of_compiling_reaches_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda network, mode: asked.append(mode) or network)
    monkeypatch.setenv("CXX", sys.executable)
    ranks = Processes(0, 1, torch.device("cpu"))
    network = nn.Linear(1, 1)
    assert ranks.wrap(network, None) is ranks.wrap(network, "reduce-overhead") is network
    assert asked == ["reduce-overhead"]


def test_only_failures_of_compiling_count_as_such() -> None:
    class Ours(RuntimeError):
        pass

    theirs = type("BackendCompilerFailed", (RuntimeError,), {"__module__": "torch._dynamo.exc"})
    assert is_compile_failure(theirs("g++ ended with status 1"))
    assert not is_compile_failure(Ours("shapes do not fit"))


def test_compiling_without_a_compiler_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"there is no no-such-compiler here: install one .* omit --loop\.compile"):
        trainer(tmp_path, LoopConfig(batch_size=8, compile=True))
