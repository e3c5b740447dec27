"""Every speed that hvit promises, beside its peers at the same weights: one table, one file, one picture, one check.

    python benchmarks/speed.py --json speed.json --picture speed.png        everything; some hours on two quiet cores
    python benchmarks/speed.py --rows "nest*" --json speed.json              some rows, merged into the file
    python benchmarks/speed.py --list                                        the rows
    python benchmarks/speed.py --show --json speed.json                      the table and picture of a file
    python benchmarks/speed.py --rows "nest*b1 *" --check benchmarks/stored_ratios.json    have ratios fallen?

A row compares implementations at the same weights: ours as it is (eager), prepared with what torch has (prepared),
prepared with OpenVINO where that is installed (openvino), or training as the command line does it,
which keeps freed memory (kept); and one peer.
Each lives in a fresh process and sleeps while the others have their turns; the order is turned every
round. Before it all must give the same logits or loss. A ratio is the median over rounds of the peer's time divided by
ours; 2 threads, float32 where nothing else is said, no stochastic depth.

Rounds in which other programs had more than 8 % of the machine do not count. Where fewer than three are left, the ratio
is that of processor time, which waiting for others does not lengthen, and is marked with `~`. Limits are measured by
every row for itself: the best matrix product of packed weights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import compare
import speed_rows
from speed_rows import ROWS, Result

SLACK = 0.85
"""A ratio has fallen when it is below this share of the stored one: two quiet cores vary by some 10 %."""


@dataclass(frozen=True)
class Goal:
    """What is wanted of the worst (or with `most`, the best) row of a pattern."""

    title: str
    rows: str
    kind: str
    least: float
    below: bool = False
    most: bool = False


def _both(title: str, rows_: str, eager: float, prepared: float) -> list[Goal]:
    wanted = {"eager": eager, "prepared": prepared, "openvino": prepared}
    return [Goal(title, rows_, kind, least) for kind, least in wanted.items()]


def _step(title: str, rows_: str, least: float) -> list[Goal]:
    return [Goal(title, rows_, kind, least) for kind in ("eager", "kept")]


GOALS = [
    *_both("NesT-T batch 1", "nest_tiny_224 b1 *", 1.25, 1.6),
    *_both("NesT-T batch 16", "nest_tiny_224 b16 *", 1.5, 2.2),
    *_both("NesT-T bf16 batch 1", "bf16 nest_tiny_224 b1 *", 1.3, 1.6),
    *_both("NesT-T bf16 batch 16", "bf16 nest_tiny_224 b16 *", 1.7, 2.0),
    *_both("Hiera-T batch 1", "hiera_tiny_224 b1 *", 1.05, 1.3),
    *_both("Hiera-T batch 16", "hiera_tiny_224 b16 *", 1.1, 1.5),
    *_both("Hiera-B batch 1", "hiera_base_224 b1 *", 1.05, 1.3),
    *_both("Hiera-B batch 16", "hiera_base_224 b16 *", 1.1, 1.5),
    *_both("MViTv2-T batch 1", "mvitv2_tiny_224 b1 *", 1.2, 1.5),
    *_both("MViTv2-T batch 16", "mvitv2_tiny_224 b16 *", 1.3, 1.8),
    *_both("Hiera-B 16x224 clip", "hiera_base_16x224 b1 *", 1.25, 1.4),
    *_both("MViTv2-S 16x224 clip", "mvitv2_small_16x224 b1 *", 1.25, 1.4),
    *_both("Hiera-B 16x224 clip bf16", "bf16 hiera_base_16x224 b1 *", 1.7, 2.0),
    *_both("MViTv2-S 16x224 clip bf16", "bf16 mvitv2_small_16x224 b1 *", 1.7, 2.0),
    *_step("NesT-T training step", "nest_tiny_224 train *", 1.2),
    *_step("Hiera-T training step", "hiera_tiny_224 train *", 1.1),
    *_step("MViTv2-T training step", "mvitv2_tiny_224 train *", 1.2),
    *_step("NesT-T training step bf16", "bf16 nest_tiny_224 train *", 1.35),
    *_step("Hiera-T training step bf16", "bf16 hiera_tiny_224 train *", 1.15),
    *_step("MViTv2-T training step bf16", "bf16 mvitv2_tiny_224 train *", 1.2),
    *_step("MAE step Hiera-T", "mae_hiera_tiny_224 *", 1.3),
    *_step("MAE step Hiera-B", "mae_hiera_base_224 *", 1.3),
    Goal("fastest CPU path NesT-T batch 16, bf16 beside float32", "fastest nest_tiny_224 *", "openvino", 3.5),
    Goal("fastest CPU path Hiera-T batch 16, bf16 beside float32", "fastest hiera_tiny_224 *", "openvino", 2.8),
    *(
        Goal(f"share of the limit, {name}", f"{name} b*", "share of limit", 0.8, most=True)
        for name in ("nest_tiny_224", "hiera_tiny_224", "mvitv2_tiny_224")
    ),
    Goal("memory of a step NesT-T", "memory nest_tiny_224 *", "memory", 0.9, below=True, most=True),
    Goal("memory of a step Hiera-T", "memory hiera_tiny_224 *", "memory", 0.9, below=True, most=True),
    Goal("memory of a step MViTv2-T", "memory mvitv2_tiny_224 *", "memory", 0.9, below=True, most=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="rows to run, as shell patterns")
    parser.add_argument("--rounds", type=int, help="turns of each implementation; default: each row's own")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--json", type=Path, help="file for the numbers; rows that are in it and not run stay")
    parser.add_argument("--picture", type=Path, help="file for the picture")
    parser.add_argument("--check", type=Path, metavar="STORED", help="ends with status 1 if a ratio fell")
    parser.add_argument("--store", type=Path, metavar="STORED", help="writes the ratios for later checks")
    parser.add_argument("--list", action="store_true", help="prints the names of the rows")
    parser.add_argument("--show", action="store_true", help="runs nothing, prints what --json has")
    arguments = parser.parse_args()
    wanted = [name for name in ROWS if any(fnmatchcase(name, pattern) for pattern in arguments.rows)]
    if arguments.list:
        print("\n".join(wanted))
        return
    results: dict[str, Result] = {}
    if arguments.json and arguments.json.is_file():
        results = json.loads(arguments.json.read_text(encoding="utf-8"))
    fresh = {}
    for name in () if arguments.show else wanted:
        fresh[name] = results[name] = measure(name, arguments)
        print(describe(name, results[name]), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print("\n" + table(results))
    if arguments.picture:
        draw(results, arguments.picture)
    if arguments.store:
        stored = {f"{name}: {kind}": round(ratio, 3) for name, kind, ratio in ratios_in(results)}
        arguments.store.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    if arguments.check:
        check(fresh or results, arguments.check)


def measure(name: str, arguments: argparse.Namespace) -> Result:
    """One row in a fresh process; a reason instead of numbers where that fails."""
    try:
        found = compare.run_apart(speed_rows.run_row, name, arguments.rounds, arguments.threads)
    except (BrokenProcessPool, EOFError):
        found = {"reason": "its process died, as for want of memory"}
    except Exception as error:
        found = {"reason": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return found | {"date": date.today().isoformat()}


def ratios_in(results: dict[str, Result]) -> list[tuple[str, str, float]]:
    """(row, eager or prepared or ..., ratio) of every ratio there is."""
    return [(name, kind, ratio) for name, row in results.items() for kind, ratio in row.get("ratios", {}).items()]


def describe(name: str, row: Result) -> str:
    """A line on one row, as soon as it is run."""
    if "reason" in row:
        return f"{name}: not run: {row['reason']}"
    parts = [
        f"{kind} {'~' if row.get('by_processor_time') else ''}{ratio:.2f}" for kind, ratio in row["ratios"].items()
    ]
    rates = [f"{who} {rate:.3g}/s" for who, rate in row.get("rates", {}).items()]
    return f"{name}: {', '.join(parts + rates)} {row.get('told', '')}".rstrip()


def table(results: dict[str, Result]) -> str:
    """The goals and what was measured of each, the lowest ratio of all peers."""
    lines = ["| goal | peer | hvit / peer, a second | ratio | goal | met |", "| --- | --- | --- | ---: | ---: | --- |"]
    for goal in GOALS:
        fitting = {name: row for name, row in results.items() if fnmatchcase(name, goal.rows)}
        found = [
            (row["ratios"][goal.kind], name) for name, row in fitting.items() if goal.kind in row.get("ratios", {})
        ]
        title = f"{goal.title}, {goal.kind}"
        if not found:
            reasons = {row["reason"] for row in fitting.values() if "reason" in row}
            why = "; ".join(sorted(reasons)) or "not run"
            lines.append(f"| {title} | - | {why} | - | {goal.least:g} | - |")
            continue
        ratio, name = max(found) if goal.most else min(found)
        row, rates = fitting[name], fitting[name].get("rates", {})
        pair = row.get("told", "")
        if {goal.kind, "peer"} <= set(rates):
            pair = f"{rates[goal.kind]:.2f} / {rates['peer']:.2f}"
        mark = "~" if row.get("by_processor_time") else ""
        met = "yes" if (ratio <= goal.least if goal.below else ratio >= goal.least) else "no"
        lines.append(f"| {title} | {row['peer']} | {pair} | {mark}**{ratio:.2f}** | {goal.least:g} | {met} |")
    growth = [f"{name}: {row['told']}" for name, row in results.items() if name.startswith("growth") and "told" in row]
    return "\n".join([*lines, "", *growth])


def check(results: dict[str, Result], path: Path) -> None:
    """Compares ratios with stored ones; prints those that fell, and ends with status 1 if there are any."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    compared = [(f"{name}: {kind}", ratio) for name, kind, ratio in ratios_in(results) if f"{name}: {kind}" in stored]
    fallen = [
        f"{key}: {ratio:.2f}, stored {stored[key]:.2f}"
        for key, ratio in compared
        if (SLACK * ratio > stored[key] if key.endswith(": memory") else ratio < SLACK * stored[key])
    ]
    print(f"{len(compared)} ratios compared with {path}, {len(fallen)} of them fell by more than {1 - SLACK:.0%}")
    print("\n".join(fallen))
    if fallen or not compared:
        sys.exit(1)


_BARS = {
    "eager": ("#9aa7b5", "the model as it is"),
    "prepared": ("#2f6db3", "prepared by torch alone"),
    "kept": ("#2f6db3", "as `hvit train` runs it"),
    "openvino": ("#d08c3f", "prepared with OpenVINO"),
}


def draw(results: dict[str, Result], path: Path) -> None:
    """A bar for every ratio, inference next to training: the peer's time over ours, a line where they are equal."""
    from matplotlib.figure import Figure

    measured = [name for name in ROWS if "rates" in results.get(name, {})]
    steps = [name for name in measured if ROWS[name][0] in ("train", "masked")]
    panels = [("inference", [name for name in measured if name not in steps]), ("a training step", steps)]
    panels = [(title, names) for title, names in panels if names]
    longest = max((len(names) for _, names in panels), default=1)
    figure = Figure(figsize=(7 * max(len(panels), 1), 1.2 + 0.42 * longest), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, max(len(panels), 1), squeeze=False)[0], panels, strict=False):
        for place, name in enumerate(names):
            bars = [(kind, ratio) for kind, ratio in results[name]["ratios"].items() if kind in _BARS]
            bars.sort(key=lambda bar: list(_BARS).index(bar[0]))
            for number, (kind, ratio) in enumerate(bars):
                at = place + 0.27 * (number - (len(bars) - 1) / 2)
                axes.barh(at, ratio, 0.25, color=_BARS[kind][0], label=_BARS[kind][1])
                axes.text(ratio + 0.02, at, f"{ratio:.2f}", va="center", fontsize=7)
        axes.set_yticks(range(len(names)), [name.replace(" train ", " ") for name in names], fontsize=8)
        axes.set_ylim(longest - 0.4, -0.6)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, loc="left")
        axes.set_xlabel("times as fast as the peer, at the same weights")
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(handles.values(), handles.keys(), loc="best", fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
