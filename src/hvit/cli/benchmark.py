"""The verb `benchmark` of the command line: how fast models are, next to other implementations."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from hvit.cli.arguments import check_at_least_one, parse
from hvit.cli.printing import note, percent, print_json_lines, print_table, say, wait_for
from hvit.errors import UserError
from hvit.files import JsonObject, write_text
from hvit.markup import three_digits

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class BenchmarkArguments:
    """Measures inference of models, next to other implementations at equal weights: they take turns in fresh processes,
    and the order is reversed every round."""

    models: tyro.conf.Positional[tuple[str, ...]]
    """Weights files, run folders, or names of `hvit models`."""
    against: str = ""
    """Other implementations, with commas between them: timm, transformers, torchvision, hiera-transformer; default:
    none."""
    batch: int = 16
    """Number of images or clips in a batch, for throughput; latency is that of one."""
    input_size: tuple[int, ...] | None = None
    """Height and width in pixels, for clips the frames before them, of names of `hvit models`; default: the model's."""
    threads: int | None = None
    """Number of threads torch may use; default: torch's own choice."""
    fast: bool = False
    """Also measure the model prepared for this machine, as --fast of other verbs prepares it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of weights and activations."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    seconds: float = 10.0
    """Seconds for each implementation: half for batches, half for single inputs."""
    json: Path | None = None
    """JSON file for all numbers; '-' prints an object for each model instead of the table."""
    picture: Path | None = None
    """Picture file (.png, .svg, .pdf) with bars of throughput and latency."""


def benchmark(rest: list[str]) -> None:
    """measures speed and memory, next to other implementations at equal weights"""
    arguments = parse(BenchmarkArguments, "hvit benchmark", rest)
    check_at_least_one(batch=arguments.batch, threads=1 if arguments.threads is None else arguments.threads)
    cores = os.cpu_count() or 1
    if arguments.threads is not None and arguments.threads > cores:
        raise UserError(f"--threads must be {cores} at most, the cores of this machine; got {arguments.threads}")
    if not 0 < arguments.seconds <= 3600:
        raise UserError(f"--seconds must be above 0 and 3600 at most; got {arguments.seconds:g}")
    if not arguments.models:
        raise UserError("hvit benchmark needs a model: a weights file, a run folder or a name of `hvit models`")
    against = list(dict.fromkeys(one.strip() for one in arguments.against.split(",") if one.strip()))
    from hvit.benchmark.busy import disturbance
    from hvit.benchmark.implementations import Wanted
    from hvit.benchmark.measure import benchmark
    from hvit.benchmark.peers import check_peers
    from hvit.machine import has_bfloat16
    from hvit.training.distribute import choose_device

    check_peers(against)
    device = choose_device(arguments.device).type
    if arguments.precision == "bfloat16" and not has_bfloat16(device):
        raise UserError("this machine has no bfloat16 units, and emulated it is slower than float32: omit --precision")
    wanted = [
        Wanted(
            model, arguments.input_size, arguments.batch, arguments.precision, device, arguments.threads,
            arguments.seconds,
        )
        for model in arguments.models
    ]  # fmt: skip
    if noise := disturbance():
        note(f"warning: {noise}")
    results, only_json = [], arguments.json is not None and str(arguments.json) == "-"
    for result in benchmark(wanted, against, arguments.fast, lambda what: wait_for(f"hvit benchmark: {what}")):
        results.append(result)
        if only_json:
            print_json_lines([result])
        else:
            _print(result)
    if arguments.json is not None and not only_json:
        write_text(arguments.json, json.dumps(results, indent=1) + "\n")
    if arguments.picture is not None:
        from hvit.benchmark.picture import draw
        from hvit.explain.drawing.canvas import save_figure

        save_figure(draw(results), arguments.picture)


def _print(result: JsonObject) -> None:
    """The table of one model."""
    from hvit.models.counts import in_billions

    size, clips = "x".join(map(str, result["input"])), len(result["input"]) == 4
    things = "clips/s" if clips else "images/s"
    say(
        f"{result['model']} ({size}): {result['parameters']:,} parameters, {in_billions(result['multiply_adds'])} "
        f"multiply-adds; batch {result['batch']}, {result['precision']}, {result['device']}, "
        f"{result['threads']} threads; limit {result['limit']:.0f} GFLOP/s"
    )
    rows = []
    for one in result["implementations"]:
        latency = " ".join(three_digits(1000 * one["latency"][key]) for key in ("p50", "p90", "p99"))
        memory = "" if one["megabytes"] is None else f"{one['megabytes']:.0f} MB"
        ratio, (low, high) = one["ratio"], one["spread"]
        times = "" if one["implementation"] == "hvit" else f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        speed, share = three_digits(one["per_second"]), percent(one["share_of_limit"])
        rows.append((one["implementation"], speed, times, latency, memory, share))
    heads = ["implementation", things, "hvit / it", "latency ms: p50 p90 p99", "memory", "of the limit"]
    print_table(heads, rows)
    for one in result["implementations"]:
        if one["choice"]:
            say(f"{one['implementation']}: {one['choice']}")
    if disturbed := result["rounds"] - result["quiet_rounds"]:
        rounds = f"{disturbed} of {result['rounds']} rounds"
        say(f"Other programs used this machine in {rounds}: trust ratios more than rates.")
