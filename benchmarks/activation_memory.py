"""Peak memory and time of a training step with and without activation checkpointing.

    python benchmarks/activation_memory.py [MODEL ...] [--batch 8] [--steps 5] [--threads 2] [--out FILE.json]

Every implementation runs in a process of its own, so that its memory is its own; the two of a model take turns, twice.
Memory is the peak of the process during the steps (forward, backward, AdamW) above what it had before the first, which
is the activations, the gradients and the optimizer's state. Time is the median step after the first: that for which
cores computed (so that other programs disturb little), divided by the number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
import torch.nn.functional as F

from hvit.models.build import build_network
from hvit.models.catalogue import entry
from hvit.training.activations import checkpoint_activations
from hvit.training.optimize import OptimizeConfig, make_optimizer

MODELS = ("nest_tiny_224", "hiera_tiny_224", "mvitv2_tiny_224")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="classifiers of images")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--steps", type=int, default=5, help="steps that count, after one that does not")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--turns", type=int, default=2, help="processes for each implementation")
    parser.add_argument("--out", help="a JSON file to write")
    parser.add_argument("--alone", choices=("off", "on"), help="measures one implementation and prints its numbers")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments)))
        return
    results = {}
    print(f"batch {arguments.batch}, {arguments.threads} threads, torch {torch.__version__}")
    print(f"{'':20}{'MiB':>8}{'MiB, on':>10}{'share':>8}{'s':>8}{'s, on':>8}{'share':>8}")
    for name in arguments.models:
        runs: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
        for _ in range(arguments.turns):
            for implementation, found in runs.items():
                found.append(run_alone(name, implementation, arguments))
        (mib, seconds), (mib_on, seconds_on) = (
            (max(run["mib"] for run in found), min(run["seconds"] for run in found)) for found in runs.values()
        )
        print(f"{name:20}{mib:8.0f}{mib_on:10.0f}{mib_on / mib:8.2f}{seconds:8.2f}{seconds_on:8.2f}"
              f"{seconds_on / seconds:8.2f}", flush=True)  # fmt: skip
        results[name] = runs
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(results, indent=2) + "\n")


def run_alone(name: str, implementation: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The numbers of a implementation, from a process of its own."""
    numbers = ("batch", "steps", "threads")
    options = [text for number in numbers for text in (f"--{number}", str(getattr(arguments, number)))]
    command = [sys.executable, __file__, name, *options, "--alone", implementation]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Peak memory above the start, and seconds of a step."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config: Any = entry(arguments.models[0]).config
    model = build_network(config).train()
    if arguments.alone == "on":
        checkpoint_activations([model])
    optimizer = make_optimizer(model, OptimizeConfig())
    images = torch.randn(arguments.batch, config.in_channels, *config.input_size)
    labels = torch.arange(arguments.batch) % config.num_classes
    before, times = peak_mib(), []
    for _ in range(arguments.steps + 1):
        start = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        times.append((time.process_time() - start) / arguments.threads)
    return {"mib": peak_mib() - before, "seconds": statistics.median(times[1:])}


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
