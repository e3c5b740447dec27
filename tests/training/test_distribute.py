"""Devices and processes: what is not here is refused, and the mode of compiling reaches torch."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed

from hvit.errors import UserError
from hvit.training import distribute
from hvit.training.distribute import is_compile_failure, meet, processes
from hvit.training.schedule import LoopConfig
from tests.processes import in_processes
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


def shared_and_waited(folder: Path) -> None:
    """Work of one of two processes whose messages give up after two seconds."""
    distribute._PATIENCE = timedelta(seconds=2)
    with processes("cpu") as ranks:
        array = np.arange(100_000, dtype=np.uint32)
        held = {"text": array, "same": array, "none": None, "empty": np.zeros(0), "tensor": torch.arange(3)}
        held["columns"] = np.asfortranarray(np.arange(6).reshape(2, 3))
        with_others = ranks.share(held if ranks.is_first else {})
        assert np.array_equal(with_others["text"], array)
        assert with_others["same"] is with_others["text"]
        assert (with_others["none"], with_others["empty"].size, with_others["tensor"].tolist()) == (None, 0, [0, 1, 2])
        assert with_others["columns"].tolist() == [[0, 1, 2], [3, 4, 5]]
        with_others["text"][0] = 7
        ranks.first_only(lambda: time.sleep(4))
        assert ranks.of_first(lambda: "found") == "found"
        (folder / f"done_{ranks.rank}").touch()


@pytest.mark.long
def test_others_wait_for_the_first_process_longer_than_their_messages_do(tmp_path: Path) -> None:
    in_processes(2, shared_and_waited, tmp_path)
    assert len(list(tmp_path.glob("done_*"))) == 2
