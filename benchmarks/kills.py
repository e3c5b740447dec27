"""Kills runs at random moments, resumes them, and compares what they leave with runs that nobody disturbed.

    python benchmarks/kills.py 200

Every run is killed (SIGKILL) up to eight times before it may end: at a random time, or in the middle of writing its
n-th file, which may be a checkpoint, the weights, a picture or the report. As many runs go on at once as there are
processors. The three tasks take turns: classification, masked pretraining, generation. Prints a line a run, and at the
end how many kills there were, how many runs left other weights, other scores or another journal, and how many seconds
it took; the exit status is 1 if there was any.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: processes are forked, and threads would not come along

import torch
from safetensors.torch import load_file

from hvit import files
from hvit.data.images.digits import DigitsData
from hvit.models.gan.config import GanConfig
from hvit.models.masked.config import MaskedConfig
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.run_names import RECIPE
from hvit.training.journal import read_journal
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from hvit.verbs import train

_MOST_KILLS_A_RUN = 8
_TIMES = ("seconds", "images_per_second", "time")


def recipes() -> list[Recipe]:
    """The smallest runs of the three tasks: 12 steps, three evaluations, and checkpoints between them."""
    loop = LoopConfig(
        epochs=12, batch_size=16, max_steps=12, evaluate_steps=4, checkpoint_steps=3, workers=0, device="cpu"
    )
    optimize = OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=0.0, average_decay=0.9)
    classify = NestConfig(
        input_size=(8, 8), in_channels=1, num_classes=10, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1),
        drop_path=0.2,
    )  # fmt: skip
    masked = get_recipe("hiera_micro_mae_cifar10").model
    assert isinstance(masked, MaskedConfig)
    encoder = replace(masked.encoder, in_channels=1, dims=(8, 16, 32), heads=(1, 1, 1), depths=(1, 1, 1))
    pretrain = replace(masked, encoder=encoder, decoder_dim=8, decoder_depth=1, decoder_heads=1)
    gan = get_recipe("nest_gan_digits_32").model
    assert isinstance(gan, GanConfig)
    generator: Any = replace(gan.generator, dims=(16, 8, 8, 8), heads=(1, 1, 1, 1), depths=(1, 1, 1, 1))
    generate = replace(
        gan, generator=generator, discriminator=replace(gan.discriminator, dims=(8, 8, 8, 8)), compared=32
    )
    named = {"classify": (classify, 8), "pretrain": (pretrain, 32), "generate": (generate, 32)}
    return [
        Recipe(
            name=name, summary="A run that is killed", model=model, data=DigitsData(canvas=canvas), loop=loop,
            optimize=optimize,
        )
        for name, (model, canvas) in named.items()
    ]  # fmt: skip


def work(recipe: Recipe, folder: Path, dies_at_write: int = 0) -> int:
    """Starts a process that begins or resumes a run; returns its number. It may kill itself at its n-th write."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        if not os.environ.get("HVIT_KILLS_SPEAK"):
            os.dup2(silence, 2)
        if dies_at_write:
            files.os.fsync = _killing(os.fsync, dies_at_write)
        train.resume(folder) if (folder / RECIPE).exists() else train.train(recipe, folder)
        status = 0
    finally:
        os._exit(status)


def _killing(usual: Callable[[int], None], number: int) -> Callable[[int], None]:
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        usual(descriptor)

    return fsync


def killed(recipe: Recipe, folder: Path, chance: random.Random, usual_seconds: float) -> bool:
    """Begins or resumes a run and kills it, unless it ends before. Returns whether it was killed."""
    if chance.random() < 0.5:
        child = work(recipe, folder, dies_at_write=chance.randint(1, 60))
    else:
        child = work(recipe, folder)
        time.sleep(chance.uniform(0.0, usual_seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"{folder} could not be begun or resumed: run again with HVIT_KILLS_SPEAK=1")
    return os.WIFSIGNALED(status)


def finish(recipe: Recipe, folder: Path) -> float:
    """Begins or resumes a run and lets it end. Returns the seconds it took."""
    start = time.monotonic()
    _, status = os.waitpid(work(recipe, folder), 0)
    if status:
        raise SystemExit(f"{folder} did not end: run again with HVIT_KILLS_SPEAK=1")
    return time.monotonic() - start


def differences(one: Path, other: Path) -> list[str]:
    """Which of the weights, the scores and the journal of two finished runs are not the same."""
    weights, others = (load_file(folder / "weights.safetensors") for folder in (one, other))
    same_weights = weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
    scores = [json.loads((folder / "scores.json").read_text()) for folder in (one, other)]
    rows = [
        [
            {name: value for name, value in row.items() if name not in _TIMES}
            for row in read_journal(folder / "journal.jsonl")
            if row["kind"] in ("train", "evaluate", "finish")
        ]
        for folder in (one, other)
    ]
    left = [path.name for path in other.rglob("*") if path.name.endswith(files.UNFINISHED)]
    return [
        *([] if same_weights else ["weights"]),
        *([] if scores[0] == scores[1] else ["scores"]),
        *([] if rows[0] == rows[1] else ["journal"]),
        *(["unfinished files"] if left else []),
    ]


def kill_often(kills: int, seed: int, place: Path, whole: Mapping[str, Path], usual: Mapping[str, float]) -> list[int]:
    """Kills so many times, each run up to eight times. Returns the numbers of kills, of runs and of runs that differed.

    seed: what moments are drawn from. whole: a finished run that nobody disturbed, by the name of its recipe; usual:
    the seconds that it took.
    """
    chance = random.Random(seed)
    done = differing = runs = 0
    while done < kills:
        recipe = recipes()[(runs + seed) % len(whole)]
        folder = place / f"{recipe.name}_{seed}_{runs}"
        here = 0
        while here < min(_MOST_KILLS_A_RUN, kills - done) and killed(recipe, folder, chance, usual[recipe.name]):
            here += 1
        finish(recipe, folder)
        found = differences(whole[recipe.name], folder)
        print(f"{recipe.name}, killed {here} times: {', '.join(found) or 'the same'}", flush=True)
        done, differing, runs = done + here, differing + bool(found), runs + 1
        shutil.rmtree(folder)
    return [done, runs, differing]


def main(kills: int, jobs: int) -> int:
    """Kills so many times, in several processes at once; returns how many runs differed."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        whole = {recipe.name: place / f"{recipe.name}_whole" for recipe in recipes()}
        usual = {recipe.name: finish(recipe, whole[recipe.name]) for recipe in recipes()}
        children = []
        for job in range(jobs):
            share = kills * (job + 1) // jobs - kills * job // jobs
            child = os.fork()
            if not child:
                status = 1
                try:
                    found = kill_often(share, job, place, whole, usual)
                    (place / f"{job}.json").write_text(json.dumps(found))
                    status = 0
                except SystemExit as stop:
                    print(stop, file=sys.stderr, flush=True)
                finally:
                    os._exit(status)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        if any(statuses):
            raise SystemExit("a run could not be begun, resumed or ended")
        counts = [json.loads((place / f"{job}.json").read_text()) for job in range(jobs)]
    done, runs, differing = map(sum, zip(*counts, strict=True))
    seconds = time.monotonic() - start
    print(f"{done} kills in {runs} runs, {differing} with differences, {seconds:.0f} seconds")
    return differing


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sys.exit(1 if main(asked, max(1, min(os.cpu_count() or 1, 8, asked))) else 0)
