"""Trains NesT-T on CIFAR-10 as published, on one GPU, and compares its score with the paper's: 96.04 % in 300 epochs.

    python benchmarks/nest_tiny_cifar10.py --data-root DIR
    python benchmarks/nest_tiny_cifar10.py --data-root DIR --steps 2 --device cpu    two steps, to see that it works

The same command continues the run where it was stopped, and prints the result again when it is finished. NesT-S and
NesT-B (96.97 and 97.20 %) are trained with `--recipe nest_small_cifar10` and `nest_base_cifar10`.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from hvit.data.open import CifarData
from hvit.metrics.classification import wilson_interval
from hvit.recipes import get_recipe, header
from hvit.training.journal import JOURNAL, read_journal
from hvit.verbs import train

CLOSE = 0.4
"""Points below the published score that a run may have and still counts as a reproduction: about the half width of
the 95 % interval of 10,000 test images, 0.4."""


def main() -> None:
    """Trains, or continues, and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, help="folder with cifar-10-batches-py")
    parser.add_argument("--recipe", default="nest_tiny_cifar10", help="default: nest_tiny_cifar10")
    parser.add_argument("--out", type=Path, help="run folder; default: runs/RECIPE")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--workers", type=int, default=8, help="processes that read images; default: 8")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--steps", type=int, default=0, help="stop after so many steps; default: all 300 epochs")
    parser.add_argument("--images", type=int, help="training and test images of a class; default: all")
    arguments = parser.parse_args()
    folder = arguments.out or Path("runs") / arguments.recipe
    recipe = get_recipe(arguments.recipe)
    assert isinstance(recipe.data, CifarData)
    data = replace(
        recipe.data, root=arguments.data_root, num_per_class=arguments.images, held_out_per_class=arguments.images
    )
    loop = replace(
        recipe.loop, device=arguments.device, workers=arguments.workers, max_steps=arguments.steps, evaluate_every=10
    )
    if arguments.steps:
        loop = replace(loop, batch_size=min(loop.batch_size, 8))
    if (folder / JOURNAL).exists():
        scores = train.resume(folder, report=say)
    else:
        scores = train.train(replace(recipe, data=data, loop=loop, seed=arguments.seed), folder, report=say)
    show(folder, scores, arguments.recipe)


def say(lines: dict[str, str]) -> None:
    """Prints the plan."""
    for name, line in lines.items():
        print(f"{name}: {line}", flush=True)


def show(folder: Path, scores: dict[str, float], name: str) -> None:
    """The score with its interval, the published one, and what the run took."""
    rows = read_journal(folder / JOURNAL)
    published = float(re.findall(r"[\d.]+", header(name).expected.removeprefix("top-1 "))[0])
    trained = [row for row in rows if row["kind"] == "train"]
    top1, count = 100 * scores["top1"], int(scores["count"])
    low, high = (100 * end for end in wilson_interval(round(scores["top1"] * count), count))
    epochs = max((row["epoch"] for row in trained), default=0.0)
    seconds = max((row["seconds"] for row in trained), default=0.0)
    print("\n| epochs | hours | images/s | top-1, % | 95 % interval | published, % | difference |")
    print("| ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    speed = sorted(row["images_per_second"] for row in trained)[len(trained) // 2] if trained else 0.0
    print(
        f"| {epochs:.1f} | {seconds / 3600:.2f} | {speed:.0f} | {top1:.2f} | {low:.2f} to {high:.2f} | {published} | "
        f"{top1 - published:+.2f} |"
    )
    if epochs < get_recipe(name).loop.epochs:
        print(f"stopped after {epochs:.1f} epochs: not comparable with the published score")
    else:
        print("reproduced" if top1 >= published - CLOSE else f"more than {CLOSE} points below the published score")


if __name__ == "__main__":
    main()
