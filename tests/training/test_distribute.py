"""Devices and processes: what is not here is refused, and the mode of compiling reaches torch."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
import torch.distributed

from hvit.errors import UserError
from hvit.training.distribute import is_compile_failure, meet
from hvit.training.schedule import LoopConfig
from tests.training.line import trainer


def test_processes_that_are_started_again_see_nothing_of_those_before() -> None:
    store, found = torch.distributed.HashStore(), dict[int, torch.distributed.Store]()
    store.set("hello/1", "gone")  # of a process that was killed
    for attempt in range(2):
        both = [
            threading.Thread(target=lambda rank=rank: found.update({rank: meet(store, rank, 2)})) for rank in (0, 1)
        ]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert found[0].add("lost", 0) == 0
        found[0].set("address", str(attempt))
        assert found[1].get("address") == str(attempt).encode()
        found[1].add("lost", 2)


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
