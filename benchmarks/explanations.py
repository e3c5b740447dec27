"""How well every method finds what it is asked for: methods x models x measures, on pictures with known places.

    python benchmarks/explanations.py NAME=RUN ... --set four_digits [--set alone] [--set clutter] [--set images]
    python benchmarks/explanations.py --cost nest_tiny_224 hiera_tiny_224 ...
    python benchmarks/explanations.py --passes nest_tiny_224 hiera_tiny_224 ...

The first form measures trained models (run folders or weights). Sets: four_digits, alone (one digit on its canvas) and
clutter for models of digits; images makes mosaics of four held-out images of a run's own data set. Each class of each
image is asked for. The rows: block shapley and gradcat (their map is that of their sixteenths), gradcat down (started
one level below the top), gradcat -1 (the sign flipped, a control), gradcat libra and gradcat libra top (LibraGrad's
gradients, started one level below the top and at the top), the methods of `hvit.explain`, with --rivals those of captum
and torchcam (the extra `rivals`), and chance (random maps). The columns are means over all questions:

    found      share of what is asked for that is among as many of the model's most probable classes
    first, second  alone, clutter: the largest quadrant (of trees, by its own value), and the largest of all sixteenths
               of the map, is the one whose blackening reduces the logit most; guesses are right in 25 % and 6 %
    block k    the path's block at step k is on the object (`pointing.block_hits`)
    point      the highest place, for gradcat the middle of the path's last block, is inside the object's box
    energy     share of the map's positive part inside the box
    box        MaxBoxAcc at an overlap of one half, and the mean overlap at that threshold
    deletion, insertion   areas under the curves of the class's probability, on the first --curves pictures
    contrast   median over the maps of: their standard deviation over places, by their absolute mean
    own        four_digits, cam: of what the logit loses when its digit is blackened, the share that the map loses in
               the digit's own quadrant. A quarter says that every place speaks for the digit, wherever it is; one that
               only its own places do
    guess 2    block 2, if the second step were a guess: a digit that fills its quadrant is in every sixteenth of it
    costliest  four_digits: of the four sixteenths of the digit's own quadrant, the one of largest value is the one
               whose blackening costs the logit most, in the first 150 pictures; a guess is right in a quarter

--json has the 95 % intervals of the means, too: Wilson's of shares, of other columns by the bootstrap.

The second form times, in turns, one forward pass of one image, and the explanation of its top four classes. The third
counts the forward passes of block Shapley for all classes of an image, for trees of one, two and three divisions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import numpy as np
import torch
from compare import interleave
from explanation_methods import costliest_squares, explain, methods_of
from PIL import Image

from hvit.data.images.digits import CLASSES, DigitsData, open_digits
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.explain import MAP_METHODS, gradcat_batch, methods_for
from hvit.explain.localization.measures import (
    area_under,
    block_hits,
    box_overlaps,
    boxes_from_maps,
    energy_inside,
    highest_points,
    max_box_accuracy,
    perturbation_curves,
    pointing_hits,
)
from hvit.explain.localization.mosaics import Scenes, digits_on_clutter, four_digits, image_mosaics
from hvit.explain.methods.exchange import Cost
from hvit.explain.methods.exchanged_features import cost_of, local_level
from hvit.explain.methods.solution import Mode
from hvit.explain.methods.solution import passes as passes_of
from hvit.metrics.intervals import mean_interval, share_interval
from hvit.models.create import create_model
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.open import open_weights
from hvit.recipe import read_recipe

SETS = ("four_digits", "alone", "clutter", "images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="NAME=RUN, a name for the table and a run folder; for --cost models")
    parser.add_argument("--set", dest="sets", action="append", choices=SETS, help="what to measure on")
    parser.add_argument("--count", type=int, default=500, help="pictures in a set")
    parser.add_argument("--curves", type=int, default=50, help="pictures for deletion and insertion; 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="what the pictures follow from")
    parser.add_argument("--batch", type=int, default=50, help="pictures at once")
    parser.add_argument("--method", dest="methods", action="append", help="rows to measure; default: all")
    parser.add_argument("--baseline", default="mean", help="of block shapley: blur, mean or zeros")
    parser.add_argument("--rivals", action="store_true", help="measure methods of captum and torchcam, too")
    parser.add_argument("--cost", action="store_true", help="time models of the catalogue instead")
    parser.add_argument("--passes", action="store_true", help="count forward passes of models of the catalogue instead")
    parser.add_argument("--rounds", type=int, default=9, help="turns each implementation of --cost takes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads torch may use")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.cost or arguments.passes:
        rows = cost(arguments.runs, arguments.rounds) if arguments.cost else passes(arguments.runs)
    else:
        rows = measure(arguments)
    if arguments.json:
        about = {"torch": torch.__version__, "machine": platform.machine(), "threads": arguments.threads}
        given = {key: value for key, value in vars(arguments).items() if key not in ("json", "runs")}
        arguments.json.write_text(json.dumps({"about": about, "arguments": given, "rows": rows}, indent=1) + "\n")


class Model(NamedTuple):
    """A trained model with what its pictures need."""

    name: str
    run: Path
    network: Encoder
    preprocess: Preprocess
    classes: tuple[str, ...]


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The table of methods x models x measures, printed row by row."""
    rows: list[dict[str, Any]] = []
    for given in arguments.runs:
        name, _, run = given.partition("=")
        opened = open_weights(run)
        assert opened.preprocess, f"{run} does not say how its pictures are prepared"
        model = Model(name, Path(run), opened.model, Preprocess(**opened.preprocess), opened.classes)
        for kind in arguments.sets or ["four_digits"]:
            scenes = make_scenes(model, kind, arguments.seed, arguments.count)
            for row in rows_of(model, kind, scenes, arguments):
                cells = {key: value for key, value in row.items() if key != "intervals"}
                if not rows or (rows[-1]["model"], rows[-1]["set"]) != (model.name, kind):
                    print("\n" + "  ".join(f"{key:>{width(key)}}" for key in cells))
                print("  ".join(f"{shown(value):>{width(key)}}" for key, value in cells.items()), flush=True)
                rows.append(row)
    return rows


def width(column: str) -> int:
    return 14 if column in ("model", "set", "method") else max(len(column), 7)


def shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


def make_scenes(model: Model, kind: str, seed: int, count: int) -> Scenes:
    """Pictures of the size of the model's input."""
    side = model.preprocess.input_size[0]
    if kind == "images":
        splits = open_data(read_recipe(model.run).data, 0, len(model.preprocess.mean))
        assert splits.classes == model.classes, f"{model.run} and its data have different classes"
        return image_mosaics(splits.held_out, seed, count, side)
    assert model.classes == CLASSES, f"{model.run} does not classify digits"
    if kind == "alone":
        return digits_alone(side, count)
    make = four_digits if kind == "four_digits" else digits_on_clutter
    return make("held_out", seed, count, DigitsData(canvas=side))


def digits_alone(canvas: int, count: int) -> Scenes:
    """Held-out canvases of one digit; the box is that of its ink."""
    held_out = open_digits(DigitsData(canvas=canvas, digits_per_canvas=(1, 1)), seed=0, in_channels=1).held_out
    images = np.stack([np.asarray(held_out.read(index, index)[0]) for index in range(min(count, len(held_out)))])
    boxes = []
    for image in images > 20:
        columns, rows = np.flatnonzero(image.any(0)), np.flatnonzero(image.any(1))
        boxes.append([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
    return Scenes(images, held_out.labels[: len(images), None].astype(np.int64), np.array(boxes, dtype=np.int64))


def rows_of(model: Model, kind: str, scenes: Scenes, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each method that a model allows."""
    mode = model.preprocess.mode
    pictures = [model.preprocess.normalised(Image.fromarray(image).convert(mode)) for image in scenes.images]
    images, size = torch.stack(pictures), model.preprocess.input_size
    asked = scenes.classes.shape[1]
    boxes = scenes.boxes.reshape(-1, 4)
    parts = [slice(start, start + arguments.batch) for start in range(0, len(images), arguments.batch)]
    with torch.inference_mode():
        logits = torch.cat([model.network(images[part]) for part in parts])
    likeliest = logits.topk(asked, dim=1).indices
    found = (likeliest[:, :, None] == torch.from_numpy(scenes.classes)[:, None]).any(1).float().mean().item()

    costs = erasure_costs(model, images, scenes) if kind == "four_digits" else None
    square = partial(costliest_squares, model.network, images, scenes.classes, black=black(model))
    truth = [square(parts=number) for number in (2, 4)] if asked == 1 else None

    def explained(method: str) -> dict[str, Any]:
        found_by = explain(model.network, images, scenes.classes, method, arguments.baseline, arguments.batch)
        maps, paths, points = found_by.maps, found_by.paths, found_by.points
        best = max_box_accuracy(maps, boxes, size)
        row: dict[str, Any] = {"model": model.name, "set": kind, "method": method, "found": found}
        samples: dict[str, np.ndarray] = {}
        if paths is not None:
            hits = block_hits(paths, boxes, size)
            samples |= {f"block {step}": hits[:, step - 1] for step in range(1, min(hits.shape[1], 3) + 1)}
        if truth is not None:
            samples["first"] = found_by.quadrants.argmax(1) == truth[0]
            samples["second"] = found_by.sixteenths.argmax(1) == truth[1]
        samples["point"] = pointing_hits(highest_points(maps, size) if points is None else points, boxes)
        samples["energy"] = energy_inside(maps, boxes, size)
        samples["overlap"] = box_overlaps(boxes_from_maps(maps, size, (best.threshold,))[:, 0], boxes)
        samples["box"] = samples["overlap"] >= 0.5
        if arguments.curves:
            samples |= curves(model, images, maps, scenes, min(arguments.curves, len(images)), kind)
        names = ("block 1", "block 2", "block 3", "first", "second", "point", "energy", "box", "overlap", "deletion",
                 "insertion")  # fmt: skip
        row |= {name: float(samples[name].mean()) if name in samples else None for name in names}
        row["at"] = best.threshold
        spread, level = maps.std((1, 2)), np.abs(maps.mean((1, 2)))
        row["contrast"] = float(np.median(np.divide(spread, level, out=np.full_like(spread, np.inf), where=level > 0)))
        row["guess 2"] = None if paths is None else guessed(paths, boxes, size)
        coarse = costs is None or maps.shape[-1] % 4
        row["costliest"] = None if coarse else costliest(maps[: costs.size // 4], costs)
        row["own"] = locality(model, images, scenes, parts) if (kind, method) == ("four_digits", "cam") else None
        intervals = {
            name: share_interval(values) if values.dtype == bool else mean_interval(values)
            for name, values in samples.items()
        }
        row["intervals"] = {name: [round(end, 4) for end in ends] for name, ends in intervals.items()}
        return row

    methods = methods_of(model.network, arguments.rivals)
    return [explained(method) for method in methods if not arguments.methods or method in arguments.methods]


def guessed(paths: np.ndarray, boxes: np.ndarray, size: Any) -> float:
    """The share of second steps on the object if they were guesses after the first steps of the paths."""
    seconds = [np.stack([paths[:, 0], np.full(len(paths), quadrant)], 1) for quadrant in range(4)]
    return float(np.mean([block_hits(pair, boxes, size)[:, 1] for pair in seconds]))


@torch.inference_mode()
def erasure_costs(model: Model, images: torch.Tensor, scenes: Scenes, most: int = 150) -> np.ndarray:
    """What a digit's logit loses when a sixteenth of its quadrant is blackened: (pictures, quadrants, sixteenths)."""
    images, classes = images[:most], torch.from_numpy(scenes.classes[:most])
    whole, side = model.network(images).gather(1, classes), images.shape[-1] // 4
    costs = np.zeros((len(images), 4, 4), dtype=np.float32)
    for quadrant, part in np.ndindex(4, 4):
        row, column = 2 * (quadrant // 2) + part // 2, 2 * (quadrant % 2) + part % 2
        erased = images.clone()
        erased[..., side * row : side * (row + 1), side * column : side * (column + 1)] = black(model)
        left = model.network(erased).gather(1, classes[:, quadrant : quadrant + 1])[:, 0]
        costs[:, quadrant, part] = (whole[:, quadrant] - left).numpy()
    return costs


def costliest(maps: np.ndarray, costs: np.ndarray) -> float:
    """How often the largest of the own quadrant's four values is at the sixteenth that costs most.

    maps: (pictures times four digits, rows, columns), both divisible by four. costs: (pictures, 4, 4).
    """
    parts = maps.reshape(len(maps), 2, 2, maps.shape[1] // 4, 2, 2, maps.shape[2] // 4).sum((3, 6))
    parts = parts.transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 4)  # picture, digit, quadrant, sixteenth
    own = parts[:, np.arange(4), np.arange(4)]
    return float((own.argmax(2) == costs.argmax(2)).mean())


def black(model: Model) -> torch.Tensor:
    """A black pixel as the model takes it: (channels, 1, 1)."""
    return (-torch.tensor(model.preprocess.mean) / torch.tensor(model.preprocess.std))[:, None, None]


@torch.inference_mode()
def locality(model: Model, images: torch.Tensor, scenes: Scenes, parts: list[slice]) -> float:
    """Of what the logits lose when their quadrant is blackened, the share that the maps lose in that quadrant."""
    half = images.shape[-1] // 2
    own, everywhere = 0.0, 0.0
    for part in parts:
        before = MAP_METHODS["cam"](model.network, images[part], scenes.classes[part])
        for quadrant in range(4):
            erased = images[part].clone()
            top, left = half * (quadrant // 2), half * (quadrant % 2)
            erased[..., top : top + half, left : left + half] = black(model)
            asked = scenes.classes[part, quadrant : quadrant + 1]
            lost = (before[:, quadrant] - MAP_METHODS["cam"](model.network, erased, asked)[:, 0]).sum(0)
            rows, columns = lost.shape[0] // 2, lost.shape[1] // 2
            own += lost.reshape(2, rows, 2, columns).sum((1, 3))[quadrant // 2, quadrant % 2].item()
            everywhere += lost.sum().item()
    return own / everywhere


def curves(
    model: Model, images: torch.Tensor, maps: np.ndarray, scenes: Scenes, count: int, kind: str
) -> dict[str, np.ndarray]:
    """Areas under the deletion and the insertion curves of the first pictures, for each question.

    What is deleted becomes black on canvases of digits, and the mean colour on photographs.
    """
    asked = scenes.classes.shape[1]
    repeated = images[:count].repeat_interleave(asked, 0)
    classes = torch.from_numpy(scenes.classes[:count].reshape(-1, 1))
    baseline = 0.0 if kind == "images" else black(model)[None].numpy()

    @torch.inference_mode()
    def probabilities(batch: np.ndarray) -> np.ndarray:
        parts = [model.network(part) for part in torch.from_numpy(batch).split(100)]
        return torch.cat(parts).softmax(1).gather(1, classes)[:, 0].numpy()

    return {
        way: area_under(perturbation_curves(repeated.numpy(), maps[: len(repeated)], probabilities, way, baseline))
        for way in ("deletion", "insertion")
    }


def cost(names: list[str], rounds: int) -> list[dict[str, Any]]:
    """How many forward passes it takes to explain the top four classes of one image, by method."""
    rows = []
    for name in names:
        torch.manual_seed(0)
        model: Any = create_model(name).eval()
        image = torch.randn(1, model.config.in_channels, *model.config.input_size)

        @torch.inference_mode()
        def forward(model: Encoder = model, image: torch.Tensor = image) -> None:
            model(image)

        implementations: dict[str, Callable[[], object]] = {"forward": forward}
        methods: dict[str, Any] = {name: MAP_METHODS[name] for name in methods_for(model) if name in MAP_METHODS}
        if "gradcat" in methods_for(model):
            methods |= {"gradcat": gradcat_batch, "gradcat libra": partial(gradcat_batch, gradient="libra")}
        for method, call in methods.items():
            implementations[method] = lambda call=call, model=model, image=image: call(model, image, top_k=4)
        times = interleave(implementations, rounds)
        medians = {method: median(values) for method, values in times.items()}
        row: dict[str, Any] = {"model": name, "forward_ms": 1000 * medians.pop("forward")}
        row |= {f"{method} top 4": value * 1000 / row["forward_ms"] for method, value in medians.items()}
        print("  ".join(f"{key} {shown(value)}" for key, value in row.items()), flush=True)
        rows.append(row)
    return rows


def passes(names: list[str]) -> list[dict[str, Any]]:
    """The forward passes of block Shapley for one image and all its classes, by depth and by what is computed."""
    rows = []
    for name in names:
        model = create_model(name).eval()
        for depth in (1, 2, 3):
            level = local_level(model, depth)
            cost = Cost() if level is None else cost_of(model, level)
            row: dict[str, Any] = {
                "model": name,
                "depth": depth,
                "exchanged": "pixels" if level is None else f"level {level}",
            }
            row |= {"one coalition": cost.each, "once": cost.fixed}
            ways: tuple[Mode, ...] = ("exact", "estimated", "along the paths")
            for way in ways:
                steps: list[Mode] = ["exact", *[way] * (depth - 1)]
                row[way] = passes_of((4,) * depth, steps, cost)
            print("  ".join(f"{key} {shown(value)}" for key, value in row.items()), flush=True)
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
