"""Claims about a benchmark's numbers: they follow from what the processes measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from hvit.benchmark import measure
from hvit.benchmark.implementations import Wanted
from hvit.benchmark.processes import Rounds
from hvit.errors import UserError


class Measured:
    """Processes that have measured already: hvit is twice as fast as the others."""

    def __init__(self, names: list[str]) -> None:
        self.reports = {name: {"megabytes": 10.0, "choice": "", "difference": 1e-7} for name in names}

    def take_turns(self, rounds: int) -> Rounds:
        measured = {
            name: [{"batch": [1.0, 1.0] if name == "hvit" else [2.0], "single": [0.1, 0.2, 0.3]}] * rounds
            for name in self.reports
        }
        return Rounds({}, {}, measured, [0.0] * (rounds - 1) + [0.5])  # pyright: ignore[reportArgumentType]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def started(builds: Mapping[str, Callable[[], Any]], warm: int) -> Iterator[Measured]:
        yield Measured(list(builds))

    monkeypatch.setattr(measure, "started", started)
    monkeypatch.setattr(measure, "run_apart", lambda *_: 100.0)


@pytest.mark.usefixtures("measured")
def test_rates_ratios_latencies_and_the_share_of_the_limit_follow_from_the_passes() -> None:
    (result,) = measure.benchmark([Wanted("nest_micro_32", batch=4)], ["timm"], fast=True)
    assert [one["implementation"] for one in result["implementations"]] == ["hvit", "hvit --fast", "timm"]
    ours, _, timm = result["implementations"]
    assert (ours["per_second"], ours["ratio"], timm["per_second"], timm["ratio"]) == (4.0, 1.0, 2.0, 2.0)
    assert timm["latency"] == {"passes": 15, "p50": 0.2, "p90": pytest.approx(0.3), "p99": pytest.approx(0.3)}
    assert ours["share_of_limit"] == pytest.approx(2e-9 * result["multiply_adds"] * 4 / 100)
    assert (result["quiet_rounds"], result["rounds"]) == (4, 5)


@pytest.mark.usefixtures("measured")
def test_every_model_and_peer_is_checked_before_anything_is_measured() -> None:
    for wanted, against in (("nest_micro_32", "transformers"), ("vit_micro_32", "timm")):
        with pytest.raises(UserError):
            next(measure.benchmark([Wanted("nest_micro_32"), Wanted(wanted)], [against], fast=False))
