"""NesT beside timm's, with the same weights: how many images a second each infers and learns from.

    python benchmarks/nest_speed.py [--model nest_tiny_224] [--rounds 9] [--json FILE]

Both contestants live in one process and take turns, the order flipped every round; the ratio is the median over
rounds of timm's time divided by ours, so that noise which slows both cancels. Each row checks first that both give
the same logits. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import timm
import torch
import torch.nn.functional as F
from torch import nn

import hvit
from hvit.models.weights.load import to_timm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nest_tiny_224", help="a nest_*_224 model of the catalogue")
    parser.add_argument("--rounds", type=int, default=9, help="turns each contestant takes per row")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads torch may use")
    parser.add_argument("--json", help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    ours = hvit.create_model(arguments.model, activation="gelu", drop_path=0.0)
    theirs = timm.create_model(arguments.model.removesuffix("_224") + "_jx", pretrained=False, drop_path_rate=0.0)
    theirs.load_state_dict(to_timm(ours))

    title = f"{arguments.model} beside timm {timm.__version__}, fp32, {arguments.threads} threads, "
    print(f"{title}{platform.machine()}, torch {torch.__version__}, {arguments.rounds} rounds")
    print(f"{'':24}{'hvit img/s':>12}{'timm img/s':>12}{'ratio':>8}   lowest to highest ratio")
    rows = []
    for name, batch, prepare in (
        ("inference, batch 1", 1, inference),
        ("inference, batch 16", 16, inference),
        ("training step, batch 8", 8, training_step),
    ):
        images = torch.randn(batch, 3, 224, 224)
        with torch.no_grad():
            difference = (ours.eval()(images) - theirs.eval()(images)).abs().max().item()
        assert difference < 1e-4, f"the contestants disagree by {difference}"
        times = race(prepare(ours, images), prepare(theirs, images), arguments.rounds)
        ratios = sorted(other / own for own, other in times)
        own, other = (batch / median(column) for column in zip(*times, strict=True))
        rows.append({"row": name, "hvit": own, "timm": other, "ratio": median(ratios), "ratios": ratios})
        print(f"{name:24}{own:12.2f}{other:12.2f}{median(ratios):8.2f}   {ratios[0]:.2f} to {ratios[-1]:.2f}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({"title": title, "torch": torch.__version__, "rows": rows}, file, indent=2)


def inference(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """A forward pass as a user calls it."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            model(images)

    return run


def training_step(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """Forward, backward and one step of AdamW, the optimizer made the same way for both."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    targets = torch.arange(len(images))

    def run() -> None:
        model.train()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def race(ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> list[tuple[float, float]]:
    """Seconds of each turn, (ours, theirs) a round, after one turn each that does not count."""
    times = []
    for number in range(rounds + 1):
        seconds = [0.0, 0.0]
        order = (0, 1) if number % 2 else (1, 0)
        for contestant in order:
            start = time.perf_counter()
            (ours, theirs)[contestant]()
            seconds[contestant] = time.perf_counter() - start
        times.append((seconds[0], seconds[1]))
    return times[1:]


if __name__ == "__main__":
    main()
