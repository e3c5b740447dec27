"""Plans compared with what runs of this machine take: memory of a step, and seconds of a step on 1, 2 and 4 processes.

    python benchmarks/plan_against_run.py [--recipes NAME:BATCH ...] [--memory NAME:BATCH ...] [--steps 6]
        [--repeats 3] [--processes 1 2 4] [--out FILE.jsonl]

Every process has one thread. Seconds are medians over the steps after the first of the slowest process, and medians
over the repeats, in which the numbers of processes take turns. The plan gets what it would be told of a cluster: the
bandwidth of an all-reduce among as many processes, and the share of the peak that one process reaches in this recipe
alone. Gradients are averaged by DDP over gloo, which needs the same cores as the arithmetic, so that nothing overlaps.

Memory is the peak of a process during three steps above what it had before it built the network. Recipes that FILE has
rows of are not measured again, so a call that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import torch.distributed as dist

from hvit.planning.communication import Cluster
from hvit.planning.estimate import Assumed, device_memory, divided, step_time
from hvit.planning.gpus import Gpu
from hvit.planning.step import kept_bytes, pretended_step, real_step
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.runs.kinds import kind_of_run
from hvit.training.distribute import Processes
from hvit.training.optimize import make_optimizer, set_learning_rate

SCALED = ("nest_micro_cifar10:64", "hiera_micro_mae_cifar10:128", "hiera_tiny_imagenet_mae:8")
MEASURED = (
    "nest_tiny_imagenet:8",
    "mvitv2_tiny_imagenet:8",
    "hiera_tiny_imagenet_finetune:8",
    "hiera_tiny_imagenet_mae:8",
)
NUMBERS = 2**23  # of the all-reduce that measures the bandwidth: 32 MiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=SCALED, help="recipes and batches whose steps are timed")
    parser.add_argument("--memory", nargs="*", default=MEASURED, help="recipes and batches whose memory is measured")
    parser.add_argument("--processes", nargs="+", type=int, default=(1, 2, 4), help="numbers of processes")
    parser.add_argument("--steps", type=int, default=6, help="steps of a repeat that count")
    parser.add_argument("--repeats", type=int, default=3, help="times each number of processes runs")
    parser.add_argument("--out", type=Path, help="a file of JSON lines to which rows are added")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.alone == "memory":
        print(json.dumps(memory_of(recipe_of(options.memory[0]))))
        return
    if options.alone:
        print(json.dumps(seconds_of(recipe_of(options.recipes[0]), options)))
        return
    lines = options.out.read_text().splitlines() if options.out and options.out.exists() else []
    done = {(row["recipe"], "processes" in row) for row in map(json.loads, lines)}
    measured = [(name, False, lambda name: [compared_memory(name)]) for name in options.memory]
    measured += [(name, True, lambda name: compared_time(name, options)) for name in options.recipes]
    for name, timed, measure in measured:
        rows = [] if (name, timed) in done else measure(name)
        if options.out:
            with options.out.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def recipe_of(named: str) -> Recipe:
    name, _, batch = named.partition(":")
    recipe = get_recipe(name)
    return replace(recipe, loop=replace(recipe.loop, batch_size=int(batch), accumulate=1))


def compared_memory(named: str) -> dict[str, Any]:
    """Predicted and measured bytes of a step, float32, on the CPU."""
    recipe = recipe_of(named)
    kind, alone = kind_of_run(recipe), Cluster(1, 1, 1.0, 1.0)
    kept = kept_bytes(recipe, kind)
    as_gpu, as_here = (step(recipe, kind, recipe.loop.batch_size, False) for step in (pretended_step, real_step))
    row = {
        "recipe": named,
        "predicted_for_a_gpu": device_memory("ddp", alone, kept, as_gpu, False).total,
        "predicted_for_this_cpu": device_memory("ddp", alone, kept, as_here, False).total,
        "measured": run(["--alone", "memory", "--memory", named])["bytes"],
    }
    print(json.dumps(row), flush=True)
    return row


def memory_of(recipe: Recipe) -> dict[str, float]:
    """Peak memory of a process that takes three steps, above what it had before it built the network."""
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    step = stepper(recipe, recipe.loop.batch_size, Processes(0, 1, torch.device("cpu")))
    for _ in range(3):
        step()
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before}


def compared_time(named: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Predicted and measured seconds of a step for every number of processes."""
    recipe = recipe_of(named)
    kind = kind_of_run(recipe)
    kept, runs = kept_bytes(recipe, kind), {world: [] for world in options.processes}
    for _ in range(options.repeats):
        for world, found in runs.items():
            found.append(together(named, world, options))
    medians = {
        world: {key: statistics.median(one[key] for one in found) for key in found[0]} for world, found in runs.items()
    }
    step, alone = real_step(recipe, kind, recipe.loop.batch_size), medians[options.processes[0]]["seconds"]
    operations = 2 * step.multiply_adds / alone / 1e12  # what one process reaches
    rows = []
    for world, measured in medians.items():
        cluster = Cluster(world, world, measured["bandwidth"] / 1e9, 1.0)
        cpu = Gpu("cpu", 1.0, 0.0, 0.0, operations, cluster.link, world, "measured")
        batch = divided(recipe.loop.batch_size, world, 1)
        planned = step_time("ddp", cluster, kept, step, batch, cpu, Assumed(1.0, 0.0, 0.0), False)
        rows.append({
            "recipe": named, "processes": world, "predicted": planned.seconds, "measured": measured["seconds"],
            "spread": [min(one["seconds"] for one in runs[world]), max(one["seconds"] for one in runs[world])],
            "communication": planned.traffic.seconds, "bandwidth": measured["bandwidth"],
            "bytes": planned.traffic.inside, "gigaflops": 1e3 * operations,
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def together(named: str, world: int, options: argparse.Namespace) -> dict[str, float]:
    """What the first of so many processes measures; the step ends when the slowest one has ended it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--alone", "time", "--recipes", named, "--steps", str(options.steps)]
    started = [
        subprocess.Popen(
            [*command, "--rank", str(rank), "--world", str(world)], env=environment, stdout=subprocess.PIPE
        )
        for rank in range(world)
    ]
    answers = [json.loads(process.communicate()[0]) for process in started]
    return answers[0]


def seconds_of(recipe: Recipe, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step, and the bandwidth of an all-reduce in bytes a second that each process sends."""
    world, bandwidth = options.world, 1e12
    if world > 1:
        dist.init_process_group("gloo", rank=options.rank, world_size=world)
        values, times = torch.ones(NUMBERS), []
        for _ in range(5):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(values)
            times.append(time.perf_counter() - start)
        bandwidth = 2 * (world - 1) / world * values.nbytes / statistics.median(times[1:])
    step = stepper(recipe, recipe.loop.batch_size // world, Processes(options.rank, world, torch.device("cpu")))
    times = []
    for _ in range(options.steps + 1):
        if world > 1:
            dist.barrier()
        start = time.perf_counter()
        step()
        if world > 1:
            dist.barrier()
        times.append(time.perf_counter() - start)
    if world > 1:
        dist.destroy_process_group()
    return {"seconds": statistics.median(times[1:]), "bandwidth": bandwidth}


def stepper(recipe: Recipe, images: int, ranks: Processes) -> Any:
    """A function that takes a training step of a recipe on random images."""
    torch.manual_seed(0)
    kind = kind_of_run(recipe)
    built: Any = kind.build(recipe)
    task = kind.bare_task(recipe, built)
    wrapped = {name: ranks.wrap(network.train()) for name, network in task.networks.items()}
    optimizers = {name: make_optimizer(network, recipe.optimize) for name, network in task.networks.items()}
    config = recipe.model
    batch = {
        "images": torch.randn(images, config.in_channels, *config.input_size),
        "targets": torch.zeros(images, dtype=torch.long),
    }

    def step() -> None:
        for phase in task.phases:
            for network in task.networks.values():
                network.zero_grad()
            loss = task.loss(phase, wrapped, batch)
            loss.backward()
            set_learning_rate(optimizers[phase.network], 1e-4)
            optimizers[phase.network].step()

    return step


def run(options: list[str]) -> dict[str, float]:
    """The answer of a fresh process."""
    done = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
