"""How fast masked pretraining is: beside computing every token, beside what masking could save, and beside others.

    python benchmarks/masked_speed.py                          Hiera-T and -B: own steps, then the peers
    python benchmarks/masked_speed.py --clips --ratios 0.9     Hiera-B on clips as well
    python benchmarks/masked_speed.py --peers                  own steps only
    python benchmarks/masked_speed.py --profile                where the time of our step goes

A step is forward, loss, backward and a step of fused AdamW, on random inputs with masks drawn beforehand. The dense
step is the same encoder and decoder with masking "fill": the encoder computes all tokens, hidden ones as a learned
token. The supervised step is the encoder as a classifier on whole inputs, as published: one more pooling, no decoder,
cross-entropy. An encoder's step is that of the encoder with its fusion alone, under a loss of its features.

Next to the measured shares of the dense time stand two ideals: the share of visible tokens, and of multiply-adds,
forward and backward, counted as they run. The decoder sees all tokens at every ratio, so that a whole step cannot reach
the share of visible tokens. Peers have our weights and masks, and must first give the same loss; transformers has no
clips.

Implementations live in one process and take turns (`compare.py`); a ratio is the median over rounds.
Each table has its own fresh process. float32 on the CPU, no stochastic depth. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
import torch.nn.functional as F
from compare import interleave, ratios_of, run_apart
from parity import shaken
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import hvit
from hvit.models.build import build_network
from hvit.models.masked.config import MASKED_SIZES, MaskedConfig
from hvit.models.masked.masks import sample_visible

Loss = Callable[[], Tensor]
Implementation = tuple[Any, Loss]
Rows = list[dict[str, Any]]
Options = argparse.Namespace
PEERS = ("hiera-transformer", "transformers")
CLIPS = "mae_hiera_base_16x224"
CLOSE = 1e-4
PROFILED_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = ["mae_hiera_tiny_224", "mae_hiera_base_224"]
    published = [name for name in MASKED_SIZES if "micro" not in name]
    parser.add_argument("--models", nargs="+", default=models, choices=published, metavar="MODEL", help="our names")
    parser.add_argument("--clips", action="store_true", help=f"{CLIPS} as well")
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.6, 0.75, 0.9], help="shares of units hidden")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch; clips go one by one")
    parser.add_argument("--rounds", type=int, default=9, help="turns each implementation takes")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS, help="which; none: no comparisons")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--profile", action="store_true", help="only where the time of a step goes, at the first ratio")
    parser.add_argument("--top", type=int, default=15, help="operators that --profile prints")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    names = [*options.models, *([CLIPS] if options.clips and CLIPS not in options.models else [])]
    print(
        f"float32, {options.threads} threads, {platform.machine()}, torch {torch.__version__}, {options.rounds} rounds"
    )
    results: Rows = []
    for name in names:
        results += apart(profile_step if options.profile else compare_own, name, options)
    for name in names:
        for peer in () if options.profile else options.peers:
            if peer != "transformers" or len(MASKED_SIZES[name].input_size) == 2:
                results += apart(compare_peer, name, options, peer)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def apart(function: Callable[..., Rows], name: str, options: Options, *more: str) -> Rows:
    """What a function returns, run in a fresh process; nothing where that dies, as for want of memory."""
    try:
        return run_apart(function, name, options, *more)
    except BrokenProcessPool:
        print(f"\n{' and '.join((name, *more))}: not run, its process died", flush=True)
        return []


def compare_own(name: str, options: Options) -> Rows:
    """Masked steps beside the dense and the supervised one: prints the table, returns its rows."""
    prepare(options)
    config = without_drop_path(MASKED_SIZES[name])
    images, units = inputs(config, options), prod(config.unit_grid)
    keep: Any = build_network(config)
    fill: Any = build_network(replace(config, encoding="dense", mask_unit=config.unit_size))
    plain = hvit.create_model(name.removeprefix("mae_"), drop_path=0.0)
    labels = torch.arange(len(images)) % config.num_classes
    masks = {ratio: draw(config, len(images), ratio) for ratio in options.ratios}
    some = masks[options.ratios[0]]
    implementations: dict[str, Implementation] = {
        "dense": (fill, lambda: masked_loss(fill, images, some)),
        "dense encoder": (fill, lambda: fill.encode(images, some).square().mean()),
        "supervised": (plain, lambda: F.cross_entropy(plain(images), labels)),
    }
    for ratio, visible in masks.items():
        implementations[f"{ratio}"] = (keep, partial(masked_loss, keep, images, visible))
        implementations[f"{ratio} encoder"] = (
            keep,
            lambda visible=visible: keep.encode(images, visible).square().mean(),
        )
    work = {key: multiply_adds(loss, len(images)) for key, (_, loss) in implementations.items()}
    times = time_steps(implementations, options.rounds)
    print(f"\n### `{name}`, batch {len(images)}: shares of the dense step's time\n")
    for key in ("dense", "dense encoder", "supervised"):
        print(f"{key}: {median(times[key]):.3f} s a step, {work[key]:.2f} G multiply-adds a sample and step  ")
    print(
        "\n| masked | visible | encoder: time | multiply-adds | step: time | lowest to highest | multiply-adds | ",
        end="",
    )
    print("step, s | G a sample | beside supervised |")
    print("| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    rows: Rows = []
    for ratio, visible in masks.items():
        step, encoder, tokens = f"{ratio}", f"{ratio} encoder", int(visible[0].sum()) / units
        encoders = ratios_of(times[encoder], times["dense encoder"])
        steps, beside = ratios_of(times[step], times["dense"]), ratios_of(times[step], times["supervised"])
        ideals = work[encoder] / work["dense encoder"], work[step] / work["dense"]
        print(
            f"| {ratio} | {tokens:.2f} | **{median(encoders):.2f}** | {ideals[0]:.2f} | **{median(steps):.2f}** "
            f"| {steps[0]:.2f} to {steps[-1]:.2f} | {ideals[1]:.2f} | {median(times[step]):.3f} | {work[step]:.2f} "
            f"| {median(beside):.2f} |",
            flush=True,
        )
        row = {"kind": "own", "model": name, "batch": len(images), "ratio": ratio, "tokens": tokens}
        row |= {"encoder": encoders, "encoder_ideal": ideals[0], "step": steps, "step_ideal": ideals[1]}
        seconds = {key: times[key] for key in ("dense", "dense encoder", "supervised", step, encoder)}
        rows.append({**row, "beside_supervised": beside, "seconds": seconds, "multiply_adds": work})
    return rows


def compare_peer(name: str, options: Options, peer: str) -> Rows:
    """Our step beside a peer's at every ratio: prints the table, returns its rows."""
    prepare(options)
    print(f"\n### `{name}` beside {peer}, batch {len(inputs(MASKED_SIZES[name], options))}\n")
    print("| hidden | hvit, s | peer, s | peer / hvit (median) | lowest to highest | losses differ by |")
    print("| ---: | ---: | ---: | ---: | --- | ---: |")
    return [compare_peer_at(name, options, peer, ratio) for ratio in options.ratios]


def compare_peer_at(name: str, options: Options, peer: str, ratio: float) -> dict[str, Any]:
    """One row of it, with the same weights and masks for both."""
    ours, theirs, their_loss = same_weights_masked(name, peer, ratio)
    images = inputs(ours.config, options)
    visible = draw(ours.config, len(images), ratio)
    implementations = {
        "hvit": (ours, partial(masked_loss, ours, images, visible)),
        peer: (theirs, partial(their_loss, images, visible)),
    }
    own, other = (loss().item() for _, loss in implementations.values())
    error = abs(own - other) / abs(other)
    if not error < CLOSE:
        sys.exit(f"{name} and {peer}: the losses {own} and {other} are not the same, so that they are not compared")
    times = time_steps(implementations, options.rounds)
    ratios = ratios_of(times[peer], times["hvit"])
    print(
        f"| {ratio} | {median(times['hvit']):.3f} | {median(times[peer]):.3f} | **{median(ratios):.2f}** "
        f"| {ratios[0]:.2f} to {ratios[-1]:.2f} | {error:.1e} |",
        flush=True,
    )
    row = {"kind": "peer", "model": name, "peer": peer, "batch": len(images), "ratio": ratio}
    return {**row, "times": ratios, "seconds": times, "difference": error}


def profile_step(name: str, options: Options) -> Rows:
    """Where the time of our step goes: prints the operators that take most of it, returns them."""
    prepare(options)
    ratio = options.ratios[0]
    config = without_drop_path(MASKED_SIZES[name])
    images = inputs(config, options)
    visible = draw(config, len(images), ratio)
    model = build_network(config)
    implementation: Implementation = (model, lambda: masked_loss(model, images, visible))
    optimizer = make_optimizer(model)
    training_step(implementation, optimizer)
    with profile(activities=[ProfilerActivity.CPU]) as watch:
        for _ in range(PROFILED_STEPS):
            training_step(implementation, optimizer)
    events = sorted(watch.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    print(f"\n### `{name}`, batch {len(images)}, {ratio} hidden: {whole / PROFILED_STEPS / 1e6:.3f} s a step\n")
    print("| operator | calls a step | own time, ms a step | share |")
    print("| --- | ---: | ---: | ---: |")
    rows = []
    for event in events[: options.top]:
        own, calls = event.self_cpu_time_total / PROFILED_STEPS / 1e3, event.count / PROFILED_STEPS
        share = event.self_cpu_time_total / whole
        print(f"| `{event.key}` | {calls:.0f} | {own:.1f} | {100 * share:.1f} % |", flush=True)
        row = {"kind": "profile", "model": name, "batch": len(images), "ratio": ratio}
        rows.append({**row, "operator": event.key, "calls": calls, "milliseconds": own, "share": share})
    return rows


def prepare(options: Options) -> None:
    """What every fresh process does first; it ends with the process that started it, however that ends."""
    threading.Thread(target=leave_with_parent, daemon=True).start()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    torch.manual_seed(0)


def leave_with_parent() -> None:
    """Waits for the end of the process that started this one, and ends this one."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def without_drop_path(config: MaskedConfig) -> MaskedConfig:
    """The configuration without stochastic depth, which peers draw in another order."""
    return replace(config, encoder=replace(config.encoder, drop_path=0.0))


def inputs(config: MaskedConfig, options: Options) -> Tensor:
    """Random inputs (batch, channels, *input_size), the same in every process."""
    batch = 1 if len(config.input_size) == 3 else options.batch
    return torch.randn(batch, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


def same_weights_masked(name: str, peer: str, ratio: float) -> tuple[Any, Any, Callable[[Tensor, Tensor], Tensor]]:
    """Our autoencoder and a peer's with the same weights, in any process, and the peer's loss of inputs and masks."""
    config = replace(without_drop_path(MASKED_SIZES[name]), mask_ratio=ratio)
    torch.manual_seed(0)
    theirs, their_loss = official(name) if peer == "hiera-transformer" else transformers_model(config)
    shaken(theirs, seed=0, scale=0.01).train()
    ours: Any = build_network(config)
    hvit.load_weights(ours, theirs.state_dict())
    return ours, theirs, their_loss


def draw(config: MaskedConfig, count: int, ratio: float) -> Tensor:
    """Random masks (count, *unit_grid) of a ratio, the same in every process."""
    return sample_visible(count, config.unit_grid, ratio, generator=torch.Generator().manual_seed(2))


def masked_loss(model: Any, images: Tensor, visible: Tensor) -> Tensor:
    """Our loss, as the task of pretraining computes it."""
    return model.loss(model(images, visible, masked_only=True), images, visible)


def official(name: str) -> tuple[Any, Callable[[Tensor, Tensor], Tensor]]:
    """The authors' autoencoder of a name of ours, and its loss of inputs and masks."""
    from hiera import hiera_mae

    model = getattr(hiera_mae, name)()
    return model, lambda images, visible: model(images, mask=visible.flatten(1))[0]


def transformers_model(config: MaskedConfig) -> tuple[Any, Callable[[Tensor, Tensor], Tensor]]:
    """The autoencoder of transformers with a configuration of ours, and its loss of inputs and masks."""
    import transformers

    encoder: Any = config.encoder
    model = transformers.HieraForPreTraining(
        transformers.HieraConfig(
            embed_dim=encoder.dims[0], image_size=list(encoder.input_size), patch_size=list(encoder.patch_kernel),
            patch_stride=list(encoder.patch_size), patch_padding=[side // 2 for side in encoder.patch_kernel],
            depths=list(encoder.depths), num_heads=list(encoder.heads), num_query_pool=encoder.query_pools,
            query_stride=list(encoder.query_stride), masked_unit_size=list(encoder.unit_size),
            decoder_hidden_size=config.decoder_dim, decoder_depth=config.decoder_depth,
            decoder_num_heads=config.decoder_heads, mask_ratio=config.mask_ratio, drop_path_rate=0.0,
            layer_norm_eps=1e-6, normalize_pixel_loss=True,
        )
    )  # fmt: skip

    def loss(images: Tensor, visible: Tensor) -> Tensor:
        # Their noise is sorted, and the units of the lowest are visible.
        return model(images, noise=(~visible).float().flatten(1)).loss

    return model, loss


def training_step(implementation: Implementation, optimizer: torch.optim.Optimizer) -> None:
    """Forward, backward and a step of the optimizer."""
    model, loss = implementation
    model.train()
    loss().backward()
    optimizer.step()
    optimizer.zero_grad()


def make_optimizer(model: Any) -> torch.optim.Optimizer:
    """The optimizer, made the same way for all."""
    return torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)


def time_steps(implementations: dict[str, Implementation], rounds: int) -> dict[str, list[float]]:
    """Seconds of every implementation's steps (see `compare.interleave`); one optimizer for each model."""
    optimizers = {
        model: make_optimizer(model) for model in dict.fromkeys(model for model, _ in implementations.values())
    }
    return interleave(
        {key: partial(training_step, pair, optimizers[pair[0]]) for key, pair in implementations.items()}, rounds
    )


def multiply_adds(loss: Loss, samples: int) -> float:
    """Billions of multiply-adds of a forward and backward pass, a sample."""
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops() / 2e9 / samples


if __name__ == "__main__":
    main()
