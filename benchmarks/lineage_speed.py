"""How fast MViT, MViTv2 and Hiera are: beside other people's code, and from step to step of the path to Hiera.

    python benchmarks/lineage_speed.py peers                     every comparison; each in a process of its own
    python benchmarks/lineage_speed.py peers --models "*tiny*"   some of them
    python benchmarks/lineage_speed.py path                      MViTv2-B, steps 0 and a to f, images and clips
    python benchmarks/lineage_speed.py path --size large

Implementations live in one process and take turns (`compare.py`); a ratio is the median over rounds of their time
divided by ours. Both must first give the same logits for the same weights. No drop-out or stochastic depth on
either side, float32 on the CPU. Each pair has its own fresh process,
because large blocks of memory that other models have left behind change the speed of these. Nothing else should run on
the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
import torch.nn.functional as F
from compare import Turn, interleave, ratios_of
from parity import Row, difference, rows, shaken
from torch import Tensor

import hvit

# Our names and the peers of each; tiny and base, images before clips.
COMPARISONS = (
    ("hiera_tiny_224", ("timm", "transformers", "hiera-transformer")),
    ("mvitv2_tiny_224", ("timm",)),
    ("hiera_base_224", ("timm", "transformers", "hiera-transformer")),
    ("mvitv2_base_224", ("timm",)),
    ("mvit_base_16x224", ("torchvision",)),
    ("mvitv2_small_16x224", ("torchvision",)),
    ("hiera_base_16x224", ("hiera-transformer",)),
)
# What a comparison has, by whether its model takes clips: (name, batch, whether it learns).
EVENTS = {
    False: (("inference, batch 1", 1, False), ("inference, batch 16", 16, False), ("training step, batch 8", 8, True)),
    True: (("inference, 1 clip", 1, False), ("training step, 1 clip", 1, True)),
}
STEPS = "0abcdef"
# arXiv 2306.00989, Table 1: MViTv2-L to Hiera-L on an A100, images a second and clips a second.
PUBLISHED = {
    "224": dict(zip(STEPS, (219.8, 253.3, 99.9, 309.2, 369.8, 374.3, 531.4), strict=True)),
    "16x224": dict(zip(STEPS, (20.5, 20.7, 10.4, 26.2, 29.4, 29.8, 40.8), strict=True)),
}
CLOSE = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    peers = verbs.add_parser("peers", help="comparisons with timm, torchvision, transformers and hiera-transformer")
    pair = verbs.add_parser("pair", help="one of these comparisons, in this process")
    path = verbs.add_parser("path", help="the steps from MViTv2 to Hiera, beside each other")
    peers.add_argument("--models", default="*", metavar="PATTERN", help="our names, as a shell pattern")
    peers.add_argument("--peers", nargs="+", default=["*"], metavar="PATTERN", help="peers, such as timm")
    pair.add_argument("model", help="our name")
    pair.add_argument("peer", help="timm, torchvision, transformers or hiera-transformer")
    path.add_argument("--size", default="base", choices=["micro", "base", "large"], help="which MViTv2 to start from")
    path.add_argument("--inputs", nargs="+", default=["224", "16x224"], help="224 (images), 16x224 (clips) or both")
    path.add_argument("--batch", type=int, default=4, help="images in a batch; clips go one by one")
    for verb in (peers, pair, path):
        verb.add_argument("--rounds", type=int, default=9, help="turns each implementation takes")
        verb.add_argument("--threads", type=int, default=2, help="threads torch may use")
        verb.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    {"peers": run_peers, "pair": run_pair, "path": run_path}[arguments.verb](arguments)


def run_peers(arguments: argparse.Namespace) -> None:
    """Every wanted comparison, one process after the other."""
    print_machine(arguments)
    print("| model | peer | | hvit, a second | peer, a second | ratio (median) | lowest to highest ratio |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- |", flush=True)
    results = []
    for model, peers in COMPARISONS:
        for peer in peers:
            if not fnmatchcase(model, arguments.models) or not any(fnmatchcase(peer, one) for one in arguments.peers):
                continue
            options = ["--rounds", str(arguments.rounds), "--threads", str(arguments.threads)]
            command = [sys.executable, __file__, "pair", model, peer, *options]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            lines = done.stdout.splitlines()
            if done.returncode:
                print(f"| `{model}` | {peer} | not run: its process ended with status {done.returncode} | | | | |")
            else:
                print("\n".join(line for line in lines if line.startswith("| `")), flush=True)
                results += [json.loads(line) for line in lines if line.startswith("{")]
    store(results, arguments)


def run_pair(arguments: argparse.Namespace) -> None:
    """One comparison: a line of the table and a line of JSON for each event."""
    found = [one for one in rows(None, None, None) if (one.model, one.group) == (arguments.model, arguments.peer)]
    if not found:
        sys.exit(f"there is no peer {arguments.peer!r} of {arguments.model!r}; see --help of `peers`")
    ours, theirs, logits = implementations(found[0])
    is_clip = len(ours.config.input_size) == 3
    results = []
    for event, batch, learns in EVENTS[is_clip]:
        images = torch.randn(batch, 3, *ours.config.input_size)
        theirs.eval()
        with torch.no_grad():
            error = difference(ours.eval()(images[:1]), logits(images[:1]))
        assert error < 1e-4, f"the implementations disagree by {error}"
        turn = training_step if learns else inference
        turns = {"hvit": turn(ours, ours, images), "peer": turn(theirs, logits, images)}
        times = interleave(turns, arguments.rounds)
        ratios = ratios_of(times["peer"], times["hvit"])
        own, other = (batch / median(seconds) for seconds in times.values())
        spread = f"**{median(ratios):.2f}** | {ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"| `{arguments.model}` | {arguments.peer} | {event} | {own:.2f} | {other:.2f} | {spread} |")
        row = {"model": arguments.model, "peer": arguments.peer, "event": event, "hvit": own, "theirs": other}
        results.append({**row, "ratio": median(ratios), "ratios": ratios})
        print(json.dumps(results[-1]), flush=True)
        del turns
        gc.collect()
    store(results, arguments)


def implementations(row: Row) -> tuple[Any, Any, Callable[[Tensor], Tensor]]:
    """Our model and theirs with the same weights, and what takes images to their logits."""
    torch.manual_seed(0)
    peer = row.build()
    assert peer.logits
    theirs = shaken(peer.module, seed=0)
    config = hvit.create_model(row.model).config
    none = {name: 0.0 for name in ("drop_path", "head_dropout") if hasattr(config, name)}
    ours = hvit.create_model(row.model, **none, **row.changes)
    hvit.load_weights(ours, theirs.state_dict())
    return ours, theirs, peer.logits


def run_path(arguments: argparse.Namespace) -> None:
    """The seven steps, taking turns in one process, beside the published speeds."""
    print_machine(arguments)
    results = []
    for size in arguments.inputs:
        if size not in PUBLISHED:
            sys.exit(f"--inputs are {' and '.join(PUBLISHED)}; got {size!r}")
        is_clip = size != "224"
        start = f"mvitv2_{arguments.size}_{size}"
        if arguments.size == "micro":
            start = "mvitv2_micro_16x64" if is_clip else "mvitv2_micro_64"
        batch = 1 if is_clip else arguments.batch
        models: list[Any] = [hvit.create_model(f"{start}_step_{step}", drop_path=0.0) for step in STEPS]
        images = torch.randn(batch, 3, *models[0].config.input_size)
        turns = {step: inference(model, model, images) for step, model in zip(STEPS, models, strict=True)}
        times = interleave(turns, arguments.rounds)
        published, unit = PUBLISHED[size], "clips" if is_clip else "images"
        print(f"\n### `{start}`, {unit}, batch {batch}\n")
        print(f"| step | {unit} a second | beside step 0 | lowest to highest | published (L, A100) | beside step 0 |")
        print("| --- | ---: | ---: | --- | ---: | ---: |")
        rates: dict[str, float] = {}
        for step in STEPS:
            ratios = ratios_of(times["0"], times[step])
            rates[step] = median(ratios)
            speed = batch / median(times[step])
            theirs = published[step] / published["0"]
            spread = f"{rates[step]:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f}"
            print(f"| {step} | {speed:.2f} | {spread} | {published[step]} | {theirs:.2f} |")
            results.append({"start": start, "step": step, "rate": speed, "ratios": ratios, "published": theirs})
        print("\n" + compare_orders(rates, published), flush=True)
        del models, turns
        gc.collect()
    store(results, arguments)


def compare_orders(ours: dict[str, float], published: dict[str, float]) -> str:
    """A sentence on whether the steps come in the published order of speed; those closer than 3 % count as equal."""
    slowest_first = " ".join(sorted(ours, key=lambda step: ours[step]))
    theirs = " ".join(sorted(published, key=lambda step: published[step]))
    swapped = []
    for slow in STEPS:
        slower = [step for step in STEPS if published[slow] < published[step] and ours[slow] > (1 + CLOSE) * ours[step]]
        swapped += [f"{slow} is faster than {', '.join(slower)}"] if slower else []
    orders = f"From slow to fast: {slowest_first}; published: {theirs}."
    if not swapped:
        return f"{orders} The order is the same (steps closer than {100 * CLOSE:.0f} % count as equal)."
    return f"{orders} The order is not the same: here {'; '.join(swapped)}."


def inference(model: Any, logits: Callable[[Tensor], Tensor], images: Tensor) -> Turn:
    """A forward pass as a user calls it."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            logits(images)

    return run


def training_step(model: Any, logits: Callable[[Tensor], Tensor], images: Tensor, low: bool = False) -> Turn:
    """Forward, backward and one step of AdamW, the optimizer made the same way for both. low: bfloat16 autocast."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    targets = torch.arange(len(images))

    def run() -> None:
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = F.cross_entropy(logits(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def print_machine(arguments: argparse.Namespace) -> None:
    """What the numbers were measured on."""
    print(
        f"float32, {arguments.threads} threads, {platform.machine()}, torch {torch.__version__}, "
        f"{arguments.rounds} rounds\n"
    )


def store(results: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Writes the numbers where --json says."""
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
