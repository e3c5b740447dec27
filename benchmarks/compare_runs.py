"""Draws the held-out accuracy of several runs in one chart, and prints where each ended.

python benchmarks/compare_runs.py RUN RUN ... --out FILE.png [--quantity top1]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hvit.pictures import QUANTITIES, compare_curves, figure_to_png
from hvit.recipe import read_recipe
from hvit.run_names import JOURNAL
from hvit.training.journal import read_journal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    parser.add_argument("--quantity", choices=list(QUANTITIES), default="top1", help="what to draw")
    arguments = parser.parse_args()
    journals = {read_recipe(run).name: read_journal(run / JOURNAL) for run in arguments.runs}
    for name, rows in journals.items():
        scores = [row["top1"] for row in rows if row["kind"] == "evaluate"]
        print(f"{name}: {len(scores)} evaluations, top-1 {', '.join(f'{score:.3f}' for score in scores)}")
    arguments.out.write_bytes(figure_to_png(compare_curves(journals, arguments.quantity)))


if __name__ == "__main__":
    main()
