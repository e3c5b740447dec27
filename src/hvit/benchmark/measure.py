"""`hvit benchmark`: models and peers take turns in fresh processes; rates, latencies, memory, share of the limit."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from functools import partial
from math import prod
from statistics import median

import numpy as np
import torch

from hvit.benchmark.busy import disturbance
from hvit.benchmark.implementations import EAGER, PREPARED, Wanted, build_implementation, open_target
from hvit.benchmark.machine_limits import limit_in_its_process
from hvit.benchmark.peers import check_peers, same_weights
from hvit.benchmark.processes import DISTURBED, Rounds, started
from hvit.benchmark.turns import run_apart
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.machine import total_memory
from hvit.models import catalogue
from hvit.models.build import count_parameters, multiply_adds

_PERCENTILES = (50, 90, 99)


def benchmark(
    wanted: Sequence[Wanted], against: Sequence[str], fast: bool, waiting: Callable[[str], None] = lambda _: None
) -> Iterator[JsonObject]:
    """Measures models one after the other; yields one result for each.

    against: peers, of `peers.PEERS`. fast: whether hvit's prepared model is measured, too. waiting: called with what is
    being done. Yields {"model", "target", "input", "parameters", "multiply_adds", "limit" (GFLOP/s), "machine",
    "disturbance" (a sentence or None), "quiet_rounds", "rounds", "implementations": [...]}, each of those with
    "implementation", "per_second", "ratio" (hvit's rate over its, the median over rounds), "spread", "latency" (seconds
    of one input by percentile), "megabytes", "share_of_limit", "difference" and "choice".
    Raises UserError where a model, a peer or a device cannot be used, before anything is measured.
    """
    check_peers(list(against))
    for one in wanted:
        model = open_target(one)
        size = 4 * one.batch * model.config.in_channels * prod(model.config.input_size)
        if (memory := total_memory()) is not None and size > memory:
            raise UserError(
                f"a batch of {one.batch:,} takes {size / 1e9:,.0f} GB, and this machine has {memory / 1e9:,.0f} GB: "
                "give a smaller --batch"
            )
        for peer in against:
            same_weights(model, peer)  # whether it has the model
    limits: dict[tuple[str, str, int | None], float] = {}
    for one in wanted:
        machine = one.precision, one.device, one.threads
        if machine not in limits:
            waiting("measuring the limit of this machine")
            try:
                limits[machine] = run_apart(limit_in_its_process, *machine)
            except BrokenProcessPool as error:
                raise UserError("the process that measures the limit of this machine died") from error
        waiting(f"measuring {one.target}")
        yield _measured(one, against, fast, limits[machine])


def _measured(wanted: Wanted, against: Sequence[str], fast: bool, limit: float) -> JsonObject:
    model, noise = open_target(wanted), disturbance()
    config = model.config
    names = [EAGER, *([PREPARED] if fast else []), *against]
    builds = {name: partial(build_implementation, name, wanted) for name in names}
    with started(builds, warm=0) as processes:  # each has run before it reports
        rounds = processes.take_turns(wanted.rounds)
    work = multiply_adds(config)
    quiet = [number for number, share in enumerate(rounds.others) if share <= DISTURBED]
    rates = {name: _rates(rounds, name, wanted.batch) for name in names}
    found = []
    for name in names:
        report = processes.reports[name]
        assert isinstance(report, dict)
        rate = median(rates[name])
        ratios = sorted(own / other for own, other in zip(rates[EAGER], rates[name], strict=True))
        found.append(
            {
                "implementation": name,
                "per_second": rate,
                "ratio": median(ratios),
                "spread": [ratios[0], ratios[-1]],
                "latency": _latency(rounds, name),
                "megabytes": report["megabytes"],
                "share_of_limit": 2e-9 * work * rate / limit,
                "difference": report.get("difference"),
                "choice": report["choice"],
            }
        )
    return {
        "model": catalogue.name_of(config),
        "target": wanted.target,
        "input": [config.in_channels, *config.input_size],
        "batch": wanted.batch,
        "precision": wanted.precision,
        "device": wanted.device,
        "threads": wanted.threads or torch.get_num_threads(),
        "parameters": count_parameters(model),
        "multiply_adds": work,
        "limit": limit,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__},
        "date": date.today().isoformat(),
        "disturbance": noise,
        "rounds": wanted.rounds,
        "quiet_rounds": len(quiet),
        "others": rounds.others,
        "implementations": found,
    }


def _passes(rounds: Rounds, name: str, what: str) -> list[list[float]]:
    """Seconds of the passes of one kind, of each round."""
    return [turn[what] for turn in rounds.measured[name]]  # pyright: ignore[reportIndexIssue]


def _rates(rounds: Rounds, name: str, batch: int) -> list[float]:
    return [batch * len(times) / sum(times) for times in _passes(rounds, name, "batch")]


def _latency(rounds: Rounds, name: str) -> JsonObject:
    every = np.concatenate(_passes(rounds, name, "single"))
    return {"passes": len(every)} | {f"p{one}": float(np.percentile(every, one)) for one in _PERCENTILES}
