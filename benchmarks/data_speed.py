"""Images a second that one core prepares for training, stage by stage, beside what the model of a recipe learns.

    python benchmarks/data_speed.py [RECIPE ...] --cifar DIR --photos DIR [--images 256] [--rounds 5] [--out FILE.json]

Recipes of CIFAR read DIR, those of folders read the photos, those of digits need nothing. A stage's time is what the
whole takes with it minus what it takes without it: reading alone, then batches of pictures that are read, resized,
normalised and collated, then one part of the recipe's augmentation after the other. All of them run in turn in one
process with one thread, every round anew, and medians are printed. The model's rate is that of its steps (forward,
backward, optimizer) on batches that are ready, on all cores. Times are those for which a core computed (so that other
programs disturb little); the model's is divided by the number of cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
import torch.nn.functional as F
from compare import interleave

from hvit import recipes
from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.device_augment import DeviceAugment
from hvit.data.open import CifarData, FolderData, open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import Splits
from hvit.models.build import build_network
from hvit.recipe import Recipe
from hvit.training.optimize import make_optimizer

RECIPES = ("nest_micro_cifar10", "nest_tiny_cifar10", "nest_micro_digits", "nest_micro_folder", "nest_tiny_imagenet")
PARTS = (("crop",), ("flip",), ("rand_augment",), ("color_jitter",), ("erasing",), ("mixup", "cutmix"))
"""Fields of `AugmentConfig` that switch a part of it on, in its order."""
Work = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="recipes to measure")
    parser.add_argument("--cifar", default="", help="the folder of CIFAR-10's files")
    parser.add_argument("--photos", default="", help="a folder of photos in classes")
    parser.add_argument("--images", type=int, default=256, help="images a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--model-batch", type=int, default=0, help="images a step of the model; 0: the recipe's")
    parser.add_argument("--model-steps", type=int, default=5, help="steps of the model, of which the median counts")
    parser.add_argument("--out", help="a JSON file to write")
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    print(f"{platform.machine()}, {cores} cores, torch {torch.__version__}, {arguments.images} images a round")
    results = {}
    for name in arguments.recipes:
        results[name] = measure(name, arguments)
        show(name, results[name])
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(results, indent=2) + "\n")


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds for an image of every stage, of all of them, and of the model."""
    recipe = recipes.get_recipe(name)
    if isinstance(recipe.data, CifarData):
        recipe = replace(recipe, data=replace(recipe.data, root=arguments.cifar))
    elif isinstance(recipe.data, FolderData):
        recipe = replace(recipe, data=replace(recipe.data, root=arguments.photos, check="header"))
    channels, size = recipe.model.in_channels, recipe.model.input_size
    splits = open_data(recipe.data, recipe.seed, channels)
    preprocess = Preprocess(size, splits.mean, splits.std, recipe.crop, recipe.interpolation)
    works = stages(recipe, splits, preprocess, arguments.images)
    torch.set_num_threads(1)
    times = interleave(works, arguments.rounds, time.process_time)
    medians = {stage: statistics.median(values) * 1e3 / arguments.images for stage, values in times.items()}
    torch.set_num_threads(os.cpu_count() or 1)
    batch = arguments.model_batch or recipe.loop.batch_size
    medians["model"] = model_time(recipe, len(splits.classes), batch, arguments.model_steps)
    return {
        "milliseconds": medians,
        "image": [channels, *size],
        "model_batch": batch,
        "training_images": len(splits.train),
    }


def stages(recipe: Recipe, splits: Splits, preprocess: Preprocess, count: int) -> dict[str, Work]:
    """What is timed: each takes so many images through everything up to a stage."""
    batch = min(recipe.loop.batch_size, 64, count)

    def loads(augment: AugmentConfig, of: Splits = splits) -> Work:
        def work() -> None:
            batches = train_batches(
                of.train, num_classes=len(of.classes), preprocess=preprocess, augment=augment, seed=0,
                batch_size=batch, total_steps=count // batch,
            )  # fmt: skip
            vary = DeviceAugment(augment, preprocess, 0, batch, 0, 1) if augment.on_device else None
            for step, made in enumerate(batches):
                if vary:
                    vary(made["images"], made["targets"], step)

        return work

    wanted, growing = recipe.augment, AugmentConfig()
    works: dict[str, Work] = {"read": lambda: [splits.train.read(i % len(splits.train), i) for i in range(count)]}
    works["resize, normalise"] = loads(growing)
    for fields in PARTS:
        if any(getattr(wanted, field) != getattr(growing, field) for field in fields):
            more = {field: getattr(wanted, field) for field in fields}
            if "crop" in fields:
                more |= {"area": wanted.area, "ratio": wanted.ratio, "pad": wanted.pad}
            growing = replace(growing, **more)
            works[" ".join(fields)] = loads(growing)
    works["all"] = loads(wanted)
    if isinstance(recipe.data, FolderData):
        reduced = open_data(replace(recipe.data, decode="reduced"), recipe.seed, recipe.model.in_channels)
        works["all, decoded reduced"] = loads(wanted, reduced)
    elif preprocess.frame_size <= (64, 64):
        batched = replace(wanted, rand_augment="", color_jitter=0.0)
        if batched != wanted:
            works["all but RandAugment"] = loads(batched)
        works["the same, on device"] = loads(replace(batched, on_device=True))
    return works


def model_time(recipe: Recipe, num_classes: int, batch: int, steps: int) -> float:
    """Milliseconds that the machine takes for an image in a step of the recipe's model."""
    config = replace(recipe.model, num_classes=num_classes)  # pyright: ignore[reportCallIssue]
    model = build_network(config).train()  # pyright: ignore[reportArgumentType]
    optimizer = make_optimizer(model, recipe.optimize)
    images = torch.randn(batch, config.in_channels, *config.input_size)
    targets = torch.full((batch, num_classes), 1 / num_classes)
    times = []
    for _ in range(steps + 1):
        start = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
        times.append((time.process_time() - start) * 1e3 / batch / torch.get_num_threads())
    return statistics.median(times[1:])


def show(name: str, result: dict[str, Any]) -> None:
    """The table of a recipe."""
    times = result["milliseconds"]
    print(f"\n{name}: {'x'.join(map(str, result['image']))}, {result['training_images']:,} images")
    print(f"{'':26}{'ms an image':>14}{'more':>10}{'images/s a core':>18}")
    before = 0.0
    for stage, value in times.items():
        if stage == "model":
            continue
        more = f"{value - before:10.3f}" if not stage.startswith(("all", "the same")) else " " * 10
        before = value
        print(f"{stage:26}{value:14.3f}{more}{1e3 / value:18,.0f}")
    wanted = {stage: times[stage] / times["model"] for stage in times if stage.startswith(("all", "the same"))}
    cores = ", ".join(f"{share:.2f} ({stage})" for stage, share in wanted.items())
    print(f"{'model, all cores':26}{times['model']:14.3f}{'':10}{1e3 / times['model']:18,.0f} in batches of "
          f"{result['model_batch']}")  # fmt: skip
    print(f"data workers at full speed that keep up with it: {cores}")


if __name__ == "__main__":
    main()
