"""Does training with random blocks replaced make block Shapley sharper, and what does it cost in accuracy?

    python benchmarks/block_erasing.py --cifar DIR --photos DIR --out runs/block_erasing [--run NAME ...]

Trains every model with and without `--augment.block-erasing`, with two seeds, and measures block Shapley (all
sixteenths, from two contexts) of the predicted class of held-out images. A run that has weights is not trained again.
The columns:

    accuracy    of all held-out images
    deletion, insertion   areas under the curves of the class's probability while pixels are replaced by the mean
                colour, or take its place; next to them those of the same map with its cells in random order
    first, second   share of images whose largest quadrant, and largest sixteenth, is the one without which the logit
                is lowest; a guess is right in 25 and 6 %
    stands out  share of images of which a path is drawn
    before      probability of the predicted class for the mean colour alone
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.explain import block_shapley
from hvit.explain.localization.measures import area_under, perturbation_curves
from hvit.explain.methods.baseline_images import baseline_images
from hvit.metrics.intervals import mean_interval, share_interval
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.open import open_weights
from hvit.recipe import read_recipe

CIFAR = ("--data.num-per-class", "500", "--loop.epochs", "6")
MODELS = {
    "nest_cifar": ("nest_micro_cifar10", *CIFAR),
    "hiera_cifar": ("hiera_micro_cifar10", *CIFAR),
    "nest_photos": ("nest_micro_folder", "--loop.epochs", "12"),
    "hiera_photos": ("hiera_micro_folder", "--loop.epochs", "12"),
}


class Run(NamedTuple):
    """A model to train."""

    model: str
    probability: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}_{'blocks' if self.probability else 'plain'}_{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder with CIFAR-10")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos with train and val")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and numbers")
    parser.add_argument(
        "--run", dest="names", action="append", help="runs to do, such as nest_cifar_plain_1; default: all"
    )
    parser.add_argument("--probability", type=float, default=0.5, help="of erasing blocks of an image")
    parser.add_argument("--count", type=int, default=100, help="held-out images to explain")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = [Run(model, p, seed) for model in MODELS for seed in (1, 2) for p in (0.0, arguments.probability)]
    for run in runs:
        if arguments.names and run.name not in arguments.names:
            continue
        folder = arguments.out / run.name
        if not (folder / "weights.safetensors").exists():
            train(run, folder, arguments.cifar if "cifar" in run.model else arguments.photos)
        row = {"run": run.name} | measure(folder, arguments.count)
        (arguments.out / f"{run.name}.json").write_text(json.dumps(row, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def train(run: Run, folder: Path, root: Path) -> None:
    """One run of `hvit train`, with nothing printed."""
    recipe, *options = MODELS[run.model]
    options += ["--seed", str(run.seed), "--augment.block-erasing", str(run.probability), "--loop.workers", "0"]
    command = [sys.executable, "-m", "hvit", "train", recipe, "--data.root", str(root), *options, "--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@torch.no_grad()
def measure(folder: Path, count: int) -> dict[str, Any]:
    """The numbers of one run, with 95 % intervals."""
    opened, recipe = open_weights(folder), read_recipe(folder)
    assert opened.preprocess
    network, preprocess = opened.model.eval(), Preprocess(**opened.preprocess)
    held_out = open_data(recipe.data, recipe.seed, len(preprocess.mean)).held_out
    chosen = np.random.default_rng(0).permutation(len(held_out))[:count]
    images = torch.stack([preprocess.tensor(held_out.read(int(one), 0)[0]) for one in chosen])
    classes = network(images).argmax(1, keepdim=True)
    trees = [tree for (tree,) in block_shapley(network, images, classes, exact=False)]
    maps = np.stack([tree.block_map for tree in trees])
    random = np.random.default_rng(0)
    orders = {"": maps, " at random": np.stack([random.permutation(one.ravel()).reshape(one.shape) for one in maps])}
    blanks = baseline_images(images, "mean")

    def probabilities(batch: np.ndarray) -> np.ndarray:
        logits = torch.cat([network(part) for part in torch.from_numpy(batch).split(100)])
        return logits.softmax(1).gather(1, classes)[:, 0].numpy()

    samples = {
        f"{kind}{words}": area_under(perturbation_curves(images.numpy(), order, probabilities, kind, blanks.numpy()))
        for kind in ("deletion", "insertion")
        for words, order in orders.items()
    }
    for name, depth in (("first", 1), ("second", 2)):
        largest = np.array([tree.values[depth - 1].argmax() for tree in trees])
        samples[name] = largest == most_costly(network, images, blanks, classes, 2**depth)
    samples["stands out"] = np.array([len(tree.clear_path) > 0 for tree in trees])
    samples["before"] = np.array([tree.removal.before.explained for tree in trees if tree.removal])
    scores = json.loads((folder / "scores.json").read_text()) if (folder / "scores.json").exists() else {}
    row: dict[str, Any] = {"accuracy": scores.get("top1"), "images": len(images)}
    for name, values in samples.items():
        interval = share_interval(values) if values.dtype == bool else mean_interval(values)
        row[name] = {"mean": round(float(values.mean()), 4), "interval": [round(end, 4) for end in interval]}
    return row


def most_costly(network: Encoder, images: Tensor, blanks: Tensor, classes: Tensor, parts: int) -> np.ndarray:
    """Which of parts x parts squares of an image costs the logit most when it becomes the baseline's: (images,)."""
    side, left = images.shape[-1] // parts, []
    for row, column in np.ndindex(parts, parts):
        square = (..., slice(side * row, side * (row + 1)), slice(side * column, side * (column + 1)))
        erased = images.clone()
        erased[square] = blanks[square]
        logits = torch.cat([network(part) for part in erased.split(100)])
        left.append(logits.gather(1, classes)[:, 0].numpy())
    return np.stack(left, 1).argmin(1)


if __name__ == "__main__":
    main()
