"""Pickles are described and not made: no class is imported and no function is called."""

from __future__ import annotations

import mmap
import pickle
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from hvit.models.weights.pickles import Described, Name, PickleMachine
from hvit.models.weights.stored_tensors import Places


class Harmful:
    """Would print if it was unpickled."""

    def __reduce__(self) -> Any:
        return print, ("called",)


def machine(tmp_path: Path) -> PickleMachine:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with file.open("rb") as stream:
        return PickleMachine(file, Places(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_values_come_back(tmp_path: Path, protocol: int) -> None:
    value = {"a": [1, 2.5, "text", None, True], "b": (1, (2, 3)), "c": OrderedDict(x=1)}
    assert machine(tmp_path).run(BytesIO(pickle.dumps(value, protocol))) == value


def test_what_would_run_is_described_with_its_name(tmp_path: Path) -> None:
    runs = machine(tmp_path)
    found = runs.run(BytesIO(pickle.dumps({"x": Path, "y": {1, 2}}, 2)))
    assert found["x"] == Name("pathlib.Path")
    assert isinstance(found["y"], Described)
    assert "pathlib.Path" in runs.names


def test_nothing_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = machine(tmp_path).run(BytesIO(pickle.dumps([Harmful()], 4)))
    assert isinstance(found[0], Described)
    assert capsys.readouterr().out == ""


def test_a_program_that_ends_too_early_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"early|exhausted|STOP"):
        machine(tmp_path).run(BytesIO(pickle.dumps([1, 2], 2)[:-1]))
