"""Hostile and damaged input, by the hundred thousand: every case must give an answer or one sentence.

    python benchmarks/fuzz.py [--cases 100000] [--kinds safetensors torch ...] [--seed 0] [--minutes 60] [--out FILE]
    python benchmarks/fuzz.py --case torch:1234          one case again, with its traceback
    python benchmarks/fuzz.py --self-check ...           first, whether faults of every kind are noticed

Each case takes valid input (weights of micro models in every known format, images, clips, recipes, run folders, command
lines), changes it at random, and uses it as a user would. A case is a function of seed, kind and number. Its outcome is
an answer or a refusal (`UserError`, or exit status 2). Anything else is a fault:

    traceback   another exception, or a process that died
    hang        more than 10 seconds of processor time, or 60 seconds of waiting
    memory      more than 1 GB beyond what the process had before its first case
    message     a refusal of several lines, or one with characters that give orders to a terminal

Cases run in a process of their own, which is forked anew after a fault; it cannot take more than 3 GB. The exit status
is 1 if there was any fault. Faults are written to FILE as JSON lines, with the command that repeats each.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import collections
import contextlib
import io
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from fuzz_media import Clips, Collections, Images
from fuzz_runs import Arguments, Recipes, Runs
from fuzz_watch import Outcome, Worker, run_case, self_check
from fuzz_weights import FlaxFiles, Safetensors, TorchFiles

KINDS: dict[str, tuple[type, int]] = {
    "safetensors": (Safetensors, 24),
    "torch": (TorchFiles, 24),
    "flax": (FlaxFiles, 8),
    "images": (Images, 21),
    "clips": (Clips, 8),
    "collections": (Collections, 2),
    "recipes": (Recipes, 9),
    "runs": (Runs, 2),
    "arguments": (Arguments, 2),
}
"""Every kind of input, and its share of the cases in percent."""


@dataclass
class Row:
    """What the cases of a kind came to."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest: float = 0.0
    peak: int = 0
    seconds: float = 0.0

    def add(self, one: Outcome) -> None:
        """Counts a case."""
        self.counts[one.outcome] += 1
        self.slowest, self.peak = max(self.slowest, one.seconds), max(self.peak, one.peak)
        self.seconds += one.seconds


def schedule(kinds: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Kinds and numbers of so many cases, by their shares and spread evenly, so that it can end at any time."""
    total = sum(KINDS[kind][1] for kind in kinds)
    places = [
        ((number + 0.5) / share, kind, number)
        for kind in kinds
        for share in (math.ceil(count * KINDS[kind][1] / total),)
        for number in range(share)
    ]
    return [(kind, number) for _, kind, number in sorted(places)[:count]]


def valid_input(kinds: Sequence[str], folder: Path) -> dict[str, Any]:
    """The makers of cases of some kinds, each with its valid input."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return {kind: KINDS[kind][0](_made(folder / "valid")) for kind in kinds}


def campaign(
    kinds: Sequence[str], count: int, seed: int, folder: Path, minutes: float, out: Path | None, first: int = 0
) -> tuple[dict[str, Row], list[Outcome]]:
    """Runs cases until there are enough or the time is over; what each kind came to, and the faults."""
    rows, faults = {kind: Row() for kind in kinds}, []
    cases = valid_input(kinds, folder)
    worker = Worker(cases, seed, _made(folder / "work"))
    end, told = time.monotonic() + 60 * minutes, time.monotonic()
    done = 0
    try:
        for kind, number in schedule(kinds, count):
            if time.monotonic() > end:
                break
            one = worker.run(kind, number + first)
            rows[kind].add(one)
            done += 1
            if one.is_fault:
                faults.append(one)
                if out is not None:
                    repeat = f"python benchmarks/fuzz.py --seed {seed} --case {kind}:{one.number}"
                    with out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({**asdict(one), "repeat": repeat}) + "\n")
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"{done:,} cases, {len(faults)} faults", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted; what was done until then:", file=sys.stderr)
    finally:
        worker.stop()
    return rows, faults


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def table(rows: dict[str, Row]) -> str:
    """The outcomes of each kind in Markdown."""
    names = ("answer", "refusal", "traceback", "hang", "memory", "message")
    lines = [
        "| kind | cases | answers | refusals | tracebacks | hangs | memory | messages | slowest s | peak MB | all s |",
        "| --- " * 11 + "|",
    ]
    everything = Row()
    for row in rows.values():
        everything.counts += row.counts
        everything.slowest, everything.peak = max(everything.slowest, row.slowest), max(everything.peak, row.peak)
        everything.seconds += row.seconds
    for name, row in {**rows, "all": everything}.items():
        counts = " | ".join(f"{row.counts[one]:,}" for one in names)
        measured = f"{row.slowest:.1f} | {row.peak / 2**20:.0f} | {row.seconds:.0f}"
        lines.append(f"| {name} | {row.counts.total():,} | {counts} | {measured} |")
    return "\n".join(lines)


def classes_of(faults: list[Outcome]) -> str:
    """Faults that are alike in kind and place, most frequent first, each with a number to repeat it."""
    alike: dict[str, list[Outcome]] = collections.defaultdict(list)
    for one in faults:
        where = one.text.split(": ")[0] if one.outcome in ("traceback", "memory") else one.text[:60]
        alike[f"{one.kind} {one.outcome}: {where}"].append(one)
    ordered = sorted(alike.items(), key=lambda item: -len(item[1]))
    return "\n".join(
        f"{len(some):6} {name}   [{some[0].kind}:{some[0].number}] {some[0].text[:200]!r}" for name, some in ordered
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="how many cases, over all kinds (default: 100000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of input (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="what the cases are drawn from (default: 0)")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="stop after so many minutes")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each kind (default: 0)")
    parser.add_argument("--out", type=Path, help="a file to which faults are added as JSON lines (default: none)")
    parser.add_argument("--case", metavar="KIND:NUMBER", help="one case in this process, with its traceback")
    parser.add_argument("--self-check", action="store_true", help="see first that faults of every kind are noticed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, here = Path(tempfile.mkdtemp(prefix="hvit-fuzz-")), Path.cwd()
    out = arguments.out and (here / arguments.out)
    try:
        if arguments.case:
            kind, number = arguments.case.split(":")
            cases = valid_input([kind], folder)[kind]
            print(run_case(cases, kind, arguments.seed, int(number), _made(folder / "work"), shows=True))
            return 0
        if arguments.self_check:
            self_check(folder / "self-check")
            print("self-check: faults of every kind are noticed")
        start = time.monotonic()
        rows, faults = campaign(
            arguments.kinds, arguments.cases, arguments.seed, folder, arguments.minutes, out, arguments.first
        )
        print(table(rows))
        print(f"\n{time.monotonic() - start:.0f} s, seed {arguments.seed}, {len(faults)} faults")
        if faults:
            print("\n" + classes_of(faults))
        return bool(faults)
    finally:
        os.chdir(here)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
