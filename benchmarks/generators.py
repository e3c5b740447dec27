"""How many images a second generators of about equal size paint, side by side, and beside the published rates.

    python benchmarks/generators.py [--batch 1 --batch 64] [--rounds 5] [--json FILE]

All live in one process with new weights and take turns, in another order every round; a rate is the median over rounds,
and a ratio the median of the ratios of the rounds. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
from compare import interleave, ratios_of

from hvit.models import catalogue
from hvit.models.build import build_network

# Images a second on one V100, from the slides of the NesT paper's talk; of their networks only the sizes are known.
PUBLISHED = {"nest_generator_64": 523.7, "conv_generator_64": 709.1, "transgan_like_64": 67.7}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, action="append", help="images at once; 1 and 64 if left out")
    parser.add_argument("--rounds", type=int, default=5, help="turns each implementation takes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads torch may use")
    parser.add_argument("--device", default="cpu", help="where to run")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    implementations: dict[str, Any] = {
        name: build_network(catalogue.entry(name).config).eval().to(arguments.device) for name in PUBLISHED
    }
    print(f"{platform.machine()}, {arguments.device}, {arguments.threads} threads, torch {torch.__version__}")
    print(f"{'generator':20}{'parameters':>12}{'G multiply-adds':>17}{'batch':>7}{'images/s':>10}{'to nest':>9}"
          f"{'published':>11}{'to nest':>9}")  # fmt: skip
    rows = []
    for batch in arguments.batch or [1, 64]:
        for row in compare_rates(implementations, batch, arguments.rounds, arguments.device):
            rows.append(row)
            print(f"{row['name']:20}{row['parameters']:12,}{row['multiply_adds'] / 1e9:17.2f}{batch:7}"
                  f"{row['rate']:10.2f}{row['ratio']:9.2f}{row['published']:11.1f}{row['published_ratio']:9.2f}",
                  flush=True)  # fmt: skip
    if arguments.json:
        about = {"torch": torch.__version__, "machine": platform.machine(), "threads": arguments.threads}
        arguments.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


@torch.inference_mode()
def compare_rates(implementations: dict[str, Any], batch: int, rounds: int, device: str) -> list[dict[str, Any]]:
    """One row a generator; the first round warms up and does not count."""
    names = list(implementations)

    def generate(model: Any) -> None:
        model(torch.randn(batch, model.config.latent_dim, device=device))
        if device != "cpu":
            torch.cuda.synchronize()

    seconds = interleave({name: partial(generate, model) for name, model in implementations.items()}, rounds)
    first = names[0]
    return [
        {
            "name": name,
            "parameters": catalogue.entry(name).parameters,
            "multiply_adds": catalogue.entry(name).multiply_adds,
            "batch": batch,
            "rate": batch / median(seconds[name]),
            "ratio": median(ratios_of(seconds[first], seconds[name])),
            "published": PUBLISHED[name],
            "published_ratio": PUBLISHED[name] / PUBLISHED[first],
        }
        for name in names
    ]


if __name__ == "__main__":
    main()
