"""Devices and processes: what is not here is refused, and the mode of compiling reaches torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.training.distribute import is_compile_failure
from hvit.training.schedule import LoopConfig
from tests.training.line import trainer


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
