"""The ways to pretrain a hierarchical encoder by masking, on one small size: what each costs, and what is learned.

    python benchmarks/masking_ways.py --part cost
    python benchmarks/masking_ways.py --part quality --data-root DIR --steps 1560 --seed 42
    python benchmarks/masking_ways.py --part quality --data-root DIR --ways "NesT*"

| way | what the encoder computes (`hvit.models.masked.model`) |
| --- | --- |
| MViTv2, fill | all tokens, hidden ones as a learned token; the reference of the ratios |
| MViTv2 step a, separate and pad | the visible units, whose convolutional poolings are padded inside each unit |
| MViTv2 step c, separate and pad | the same with max-pools, none of stride 1 |
| Hiera, kernel = stride | the visible units; nothing crosses a unit's border |
| NesT, whole blocks | the visible blocks, as many of every two by two (nested masks) |
| NesT, fill | all tokens, hidden ones as a learned token |

The naive way, deleting tokens from a model whose kernels overlap, is refused, and the sentence is printed. All have
32 x 32 images, 256 tokens in 4 x 4 mask units, the same decoder, target and ratio, and about the same parameters; NesT
is a little narrower in its last level for that.

The cost is that of a step: forward, loss, backward and fused AdamW. All ways take turns in one process, the order
turned round every round; ratios are medians over rounds. Memory is the most that a step allocates on top of the weights
and the optimizer's state, as torch's profiler sees its allocator. Multiply-adds are forward and backward, counted as
they run.

The quality is that of the encoder's features of CIFAR-10 test images after so many steps of the recipe
`hiera_micro_mae_cifar10`, with the model replaced and the schedule fitted to the steps: shares of classes that nearest
neighbours and a linear probe tell, and the same before the first step. float32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
from compare import interleave, ratios_of
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import hvit
from hvit import recipes
from hvit.data.open import CifarData
from hvit.models.build import build_network, count_parameters
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.mvit.simplification import simplify
from hvit.models.nest.config import NestConfig
from hvit.verbs import train

Rows = list[dict[str, Any]]
RECIPE = "hiera_micro_mae_cifar10"
DECODER: dict[str, Any] = {"decoder_dim": 96, "decoder_depth": 2, "decoder_heads": 3}
MVITV2 = MVIT_SIZES["mvitv2_micro_32"]
NEST = NestConfig(
    input_size=(32, 32), patch_size=(2, 2), num_classes=10, dims=(32, 64, 112), heads=(1, 2, 4), depths=(1, 1, 2)
)  # fmt: skip
TRAINING_IMAGES = 50_000


def ways(ratio: float) -> dict[str, MaskedConfig]:
    """Every way that works, by its name."""
    shared: dict[str, Any] = {"mask_ratio": ratio, **DECODER}
    fill: dict[str, Any] = {"encoding": "dense", "mask_unit": (4, 4), **shared}
    return {
        "MViTv2, fill": MaskedConfig(MVITV2, **fill),
        "MViTv2 step a, separate and pad": MaskedConfig(simplify(MVITV2, "a"), **shared),
        "MViTv2 step c, separate and pad": MaskedConfig(simplify(MVITV2, "c"), **shared),
        "Hiera, kernel = stride": MaskedConfig(HIERA_SIZES["hiera_micro_32"], **shared),
        "NesT, whole blocks": MaskedConfig(NEST, mask_pattern="nested", **shared),
        "NesT, fill": MaskedConfig(NEST, **fill),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", default=["cost"], choices=["cost", "quality"], help="what to measure")
    parser.add_argument("--ways", default="*", metavar="PATTERN", help="ways, as a shell pattern; fill always is one")
    parser.add_argument("--ratio", type=float, default=0.5, help="share of units hidden: 0.25, 0.5 or 0.75 (nested)")
    parser.add_argument("--batch", type=int, default=64, help="images in a step whose cost is measured")
    parser.add_argument("--rounds", type=int, default=15, help="turns each way takes")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--data-root", help="CIFAR-10's unpacked files, for the quality")
    parser.add_argument("--steps", type=int, default=1560, help="steps of 128 images to learn, 390 to an epoch")
    parser.add_argument("--seed", type=int, default=42, help="of weights, masks and the order of images")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    if "quality" in options.part and not options.data_root:
        parser.error("--part quality needs --data-root, the folder of CIFAR-10's unpacked files")
    torch.set_num_threads(options.threads)
    configs = ways(options.ratio)
    wanted = [name for name in configs if fnmatchcase(name, options.ways)]
    first = next(iter(configs))
    print(
        f"float32, {options.threads} threads, {platform.machine()}, torch {torch.__version__}; {options.ratio} hidden\n"
    )
    print(f"MViTv2, naive deletion: refused: {refusal(options.ratio)}")
    results: Rows = []
    if "cost" in options.part:
        results += cost({name: configs[name] for name in dict.fromkeys([first, *wanted])}, options)
    if "quality" in options.part:
        results += quality({name: configs[name] for name in wanted}, options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def refusal(ratio: float) -> str:
    """What is said to who deletes tokens from a model whose pooling kernels overlap."""
    try:
        MaskedConfig(MVITV2, encoding="sparse", mask_ratio=ratio, **DECODER)
    except hvit.UserError as error:
        return str(error)
    sys.exit("naive deletion was not refused")


def cost(configs: dict[str, MaskedConfig], options: argparse.Namespace) -> Rows:
    """Time, memory and multiply-adds of a step of every way: prints the table, returns its rows."""
    draws = torch.Generator().manual_seed(options.seed)
    images = torch.randn(options.batch, 3, 32, 32, generator=draws)
    torch.manual_seed(options.seed)
    steps, parameters = {}, {}
    for name, config in configs.items():
        model: Any = build_network(config)
        parameters[name] = count_parameters(model)
        steps[name] = training_step(model, images, model.draw_masks(len(images), draws))
    work = {name: multiply_adds(step) / len(images) for name, step in steps.items()}
    memory = {name: most_allocated(step) for name, step in steps.items()}
    times = interleave(steps, options.rounds)
    reference = next(iter(configs))
    print(f"\n### Cost of a step, batch {options.batch}, {options.rounds} rounds\n")
    print(
        "| way | parameters | ms a step | beside the first | lowest to highest | MiB a step | multiply-adds an image |"
    )
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: |")
    rows: Rows = []
    for name in configs:
        ratios = ratios_of(times[name], times[reference])
        print(
            f"| {name} | {parameters[name]:,} | {1e3 * median(times[name]):.1f} | **{median(ratios):.2f}** "
            f"| {ratios[0]:.2f} to {ratios[-1]:.2f} | {memory[name] / 2**20:.1f} | {work[name] / 1e6:.1f} M |"
        )
        row = {"kind": "cost", "way": name, "ratio": options.ratio, "batch": options.batch, "ratios": ratios}
        row |= {"parameters": parameters[name], "memory": memory[name], "multiply_adds": work[name]}
        rows.append({**row, "seconds": times[name]})
    return rows


def training_step(model: Any, images: torch.Tensor, visible: torch.Tensor) -> Callable[[], None]:
    """Forward, loss, backward and one step of AdamW, made the same way for every way."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        model.train()
        model.loss(model(images, visible, masked_only=True), images, visible).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def multiply_adds(step: Callable[[], None]) -> float:
    """Multiply-adds of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2


def most_allocated(step: Callable[[], None]) -> int:
    """The most bytes that are allocated at any time of a step, on top of what was there before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        watch.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event["args"] for event in events if event.get("name") == "[memory]"]
    before = changes[0]["Total Allocated"] - changes[0]["Bytes"]
    return max(change["Total Allocated"] for change in changes) - before


def quality(configs: dict[str, MaskedConfig], options: argparse.Namespace) -> Rows:
    """What the features of every way tell after the same steps: prints the table line by line, returns its rows."""
    print(f"\n### Features after {options.steps} steps of 128 images of CIFAR-10, seed {options.seed}\n")
    print(
        "| way | neighbours, before | neighbours | linear probe, before | linear probe | variance explained | minutes |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    rows: Rows = []
    for name, config in configs.items():
        # The learning rate of the first step is zero, so that after it the weights are still new.
        before = pretrain(config, options, 1)
        start = time.perf_counter()
        after = pretrain(config, options, options.steps)
        minutes = (time.perf_counter() - start) / 60
        shares = [100 * scores[kind] for kind in ("nearest_neighbours", "linear_probe") for scores in (before, after)]
        explained = 100 * after["explained_variance"]
        print(
            f"| {name} | {shares[0]:.1f} % | **{shares[1]:.1f} %** | {shares[2]:.1f} % | {shares[3]:.1f} % "
            f"| {explained:.1f} % | {minutes:.1f} |",
            flush=True,
        )
        numbers = ("nearest_neighbours", "linear_probe", "explained_variance", "loss")
        row = {"kind": "quality", "way": name, "ratio": options.ratio, "steps": options.steps, "seed": options.seed}
        row |= {f"{key}_before": before[key] for key in numbers} | {key: after[key] for key in numbers}
        rows.append({**row, "minutes": minutes})
    return rows


def pretrain(config: MaskedConfig, options: argparse.Namespace, steps: int) -> dict[str, Any]:
    """Scores after so many of the steps that the schedule is made for, from a run in a temporary folder."""
    recipe = recipes.get_recipe(RECIPE)
    per_epoch = TRAINING_IMAGES // recipe.loop.batch_size
    epochs = ceil(options.steps / per_epoch)
    recipe = replace(
        recipe,
        model=config,
        data=CifarData(kind="cifar10", root=options.data_root),
        optimize=replace(recipe.optimize, warmup_epochs=options.steps / per_epoch / 10),
        loop=replace(recipe.loop, epochs=epochs, max_steps=steps, evaluate_every=epochs, device="cpu", workers=1),
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        return train.train(recipe, Path(folder) / "run")


if __name__ == "__main__":
    main()
