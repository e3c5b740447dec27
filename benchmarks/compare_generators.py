"""Tells and draws how runs of generation came nearer to real images: a value against the images seen, several seeds.

    python benchmarks/compare_generators.py NAME=RUN[,RUN...] ... --out FILE.png [--quantity distance]

Every NAME is one line: the mean over its runs, which must have been evaluated at the same steps, between the lowest and
the highest. All runs must be judged by the same features, as the recipe and the scores of each say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hvit.recipe import read_recipe
from hvit.run_names import JOURNAL
from hvit.training.journal import read_journal

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
TITLES = {"distance": "Fréchet distance", "recognised": "recognised by a classifier", "recall": "recall"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="NAME=RUN[,RUN...]")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    parser.add_argument("--quantity", default="distance", help="a value of the evaluations in the journals")
    arguments = parser.parse_args()
    matplotlib.rcParams["font.size"] = 9
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    judges = set()
    for number, given in enumerate(arguments.runs):
        name, _, folders = given.partition("=")
        paths = [Path(folder) for folder in folders.split(",")]
        judges |= {read_recipe(path).model.extractor for path in paths}  # pyright: ignore[reportAttributeAccessIssue]
        curves = [curve(path, arguments.quantity) for path in paths]
        steps = sorted(set.intersection(*(set(one) for one in curves)))
        batch = read_recipe(paths[0]).loop.batch_size
        values = np.array([[one[step] for step in steps] for one in curves])
        seen, mean = np.array(steps) * batch, values.mean(axis=0)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(seen, mean, color=colour, label=name, marker="o", markersize=3)
        axes.fill_between(seen, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        told = "  ".join(f"{int(one):,}: {value:.3g}" for one, value in zip(seen, mean, strict=True))
        last = ", ".join(f"{value:.3g}" for value in values[:, -1])
        print(f"{name}: {told}\n  at the end, run by run: {last}")
    assert len(judges) == 1, f"the runs are judged by different features: {judges}"
    axes.set_xlabel("images seen")
    axes.set_title(TITLES.get(arguments.quantity, arguments.quantity), loc="left")
    if arguments.quantity == "distance":
        axes.set_yscale("log")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(arguments.out, dpi=110)


def curve(run: Path, quantity: str) -> dict[int, float]:
    """A value by step, from a run's journal."""
    rows = read_journal(run / JOURNAL)
    return {row["step"]: float(row[quantity]) for row in rows if row["kind"] == "evaluate"}


if __name__ == "__main__":
    main()
