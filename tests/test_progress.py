"""Claims about what is seen while many files are explained: a bar on a terminal, plain lines elsewhere, on stderr."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from hvit import progress
from hvit.progress import FilesDone


def count(total: int, terminal: bool, refused: Callable[[str], None] = lambda sentence: None) -> tuple[str, list[int]]:
    """What is written while every tenth of some files is refused and the others are answered, and the answers."""
    written = StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, highlight=False)
    with FilesDone(total, console) as done:
        refuse = done.refusing(refused)

        def answers():
            for number in range(total):
                if number % 10 == 9:
                    refuse(f"{number} cannot be read")
                else:
                    yield number

        counted = list(done.over(answers()))
    return written.getvalue(), counted


def test_on_a_terminal_a_bar_counts_explained_and_refused_files_to_the_end() -> None:
    written, counted = count(100, terminal=True)
    assert counted == [number for number in range(100) if number % 10 < 9]
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written)
    assert "explaining" in plain
    assert "100/100" in plain


def test_without_a_terminal_there_are_lines_with_the_time_left_and_no_escape_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    written, _ = count(21, terminal=False)
    assert written.splitlines()[0] == "explained 4/21 files  0.8 min left"
    assert len(written.splitlines()) == 5
    assert "\x1b" not in written


@pytest.mark.parametrize("terminal", [True, False])
def test_a_single_file_and_quick_ones_without_a_terminal_say_nothing(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    assert count(1 if terminal else 50, terminal)[0] == ""


def test_refused_files_are_counted_as_before() -> None:
    sentences: list[str] = []
    count(20, terminal=True, refused=sentences.append)
    assert sentences == ["9 cannot be read", "19 cannot be read"]


def test_forward_passes_are_counted_also_of_a_single_file() -> None:
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=100, highlight=False)
    with FilesDone(1, console) as done:
        for _ in range(4):
            done.spend(10.0, 40.0)
            assert done.bar is not None
            done.bar.refresh()
        done.step()
    assert "20/40" in written.getvalue()
    assert "forward passes" in written.getvalue()


def test_lines_count_forward_passes_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvit.progress._SECONDS_BETWEEN_LINES", 0.0)
    written = StringIO()
    with FilesDone(2, Console(file=written, width=100, highlight=False)) as done:
        done.spend(15.0, 30.0)
        done.step()
        done.spend(40.0, 30.0)
        done.step()
    first, second = written.getvalue().splitlines()[:2]
    assert first.startswith("explained 0/2 files  15 of 60 forward passes  ")
    assert second.startswith("explained 1/2 files  30 of 60 forward passes  ")


def test_forward_passes_of_files_that_are_done_together_are_counted_as_they_are_spent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hvit.progress._SECONDS_BETWEEN_LINES", 0.0)
    written = StringIO()
    with FilesDone(5, Console(file=written, width=100, highlight=False), ("checking", "checked", "files")) as done:
        for _ in range(2):
            done.spend(45.0, 30.0, 4)
        done.step(4)
    lines = [line.rpartition("  ")[0] for line in written.getvalue().splitlines()]
    assert lines == [
        "checked 0/5 files  45 of 150 forward passes",
        "checked 0/5 files  90 of 150 forward passes",
        "checked 4/5 files  120 of 150 forward passes",
    ]
