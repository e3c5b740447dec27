"""Models x images x methods: every explanation, measured on images with known places, one file for each.

    python benchmarks/explanation_grid.py NesT=RUN NesT=RUN ResNet=RUN --data alone --data clutter --out runs/explained
    python benchmarks/explanation_tables.py runs/explained                        # the tables, also of a part of it

A model is a name for the table and a run folder; runs of the same name differ in their seed. Data:

    alone, clutter, four_digits   held-out digits: one on its canvas, one among fragments of others, four
    images                        mosaics of four held-out images of the run's own data
    pasted                        --pasted FOLDER, images with masks, as `benchmarks/pasted_objects.py` writes them

A file OUT/DATA/MODEL-SEED/METHOD.json has every question's measures, of which each is a class of an image. What is
there already with the same settings is skipped, so that a killed run continues where it was. The measures:

    found       the class is among as many of the most probable ones as the image shows objects
    quadrant    mosaics: the largest quadrant of the map is the object's
    first, second   the largest quadrant, and the largest of all sixteenths, is the one whose blackening reduces the
                logit most
    point       the highest place of the map is on the object: in its box, or on its mask
    overlap     intersection over union of the box around the map's largest part with the object's, at the threshold
                that is best for the method; `box`: it is at least one half (MaxBoxAcc)
    mask        the same of the map above a threshold with the object's mask
    deletion, insertion   area under the curve of the class's probability, on the first --curves images
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from explanation_methods import FINER, SHAPLEY, Explained, costliest_squares, explain, methods_of
from explanations import Model, black, curves, make_scenes
from pasted_objects import PastedScenes, read_pasted
from PIL import Image
from torch import Tensor

from hvit.data.preprocess import Preprocess
from hvit.explain.localization.measures import (
    box_overlaps,
    boxes_from_maps,
    highest_points,
    mask_overlaps,
    max_box_accuracy,
    pointing_hits,
)
from hvit.explain.localization.mosaics import Scenes
from hvit.explain.methods.baseline_images import BaselineName
from hvit.files import read_object, write_text
from hvit.models.weights.open import open_weights
from hvit.recipe import read_recipe

DATA = ("alone", "clutter", "four_digits", "images", "pasted")
CONTROLS = (
    FINER, "gradcat down", "gradcat -1", "gradcat libra", "gradcat libra top", "gradcam", "layercam", "finercam",
)  # fmt: skip
"""Methods that are measured on request only."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="NAME=RUN, a name for the table and a run folder")
    parser.add_argument("--data", action="append", choices=DATA, required=True, help="images to measure on")
    parser.add_argument("--out", type=Path, required=True, help="folder of the files")
    parser.add_argument("--count", type=int, default=64, help="images")
    parser.add_argument("--curves", type=int, default=32, help="images for deletion and insertion")
    parser.add_argument("--method", dest="methods", action="append", help="methods; default: all but the controls")
    parser.add_argument("--baselines", nargs="*", default=[], help="further baselines for block Shapley: blur, zeros")
    parser.add_argument("--budget", type=float, help="forward passes of block Shapley for an image")
    parser.add_argument("--pasted", type=Path, help="folder of images with masks")
    parser.add_argument("--label", help="folder of the files of this data; default: its name")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads torch may use")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for kind in arguments.data:
        for given in arguments.runs:
            for cell in cells_of(given, kind, arguments):
                print(f"{cell.path}  {cell.settings['seconds']:.0f} s", flush=True)


class Cell(NamedTuple):
    """A file of the grid that was written."""

    path: Path
    settings: dict[str, Any]


class Questions(NamedTuple):
    """Images with known places, and what is true of a model on them whatever explains it."""

    model: Model
    scenes: Scenes
    images: Tensor
    masks: np.ndarray | None
    found: np.ndarray
    costliest: tuple[np.ndarray, np.ndarray]
    """The quadrant and the sixteenth whose blackening costs the logit most: (questions,) each."""


def cells_of(given: str, kind: str, arguments: argparse.Namespace) -> Iterator[Cell]:
    """Computes what is missing of one model on one kind of images."""
    name, _, run = given.partition("=")
    seed = read_recipe(Path(run)).seed
    folder = arguments.out / (arguments.label or kind) / f"{name}-{seed}"
    opened = open_weights(run)
    assert opened.preprocess, f"{run} does not say how its images are prepared"
    model = Model(name, Path(run), opened.model, Preprocess(**opened.preprocess), opened.classes)
    offered = [one for one in methods_of(model.network, rivals=True) if one not in CONTROLS]
    wanted: list[tuple[str, BaselineName]] = [(one, "mean") for one in arguments.methods or offered]
    known = get_args(BaselineName)
    assert set(arguments.baselines) <= set(known), f"baselines are {', '.join(known)}, not {arguments.baselines}"
    wanted += [(SHAPLEY, one) for one in arguments.baselines]
    questions: Questions | None = None
    for method, baseline in wanted:
        title = method if baseline == "mean" else f"{method}, {baseline}"
        settings = {"model": name, "seed": seed, "data": arguments.label or kind, "method": title}
        settings |= {"count": arguments.count, "curves": arguments.curves, "budget": arguments.budget}
        path = folder / f"{title}.json"
        if method not in methods_of(model.network, rivals=True) or is_done(path, settings):
            continue
        if questions is None:
            questions = ask(model, kind, arguments)
        begun = time.process_time()
        found = explain(model.network, questions.images, questions.scenes.classes, method, baseline,
                        budget=arguments.budget)  # fmt: skip
        seconds = time.process_time() - begun
        samples, threshold = measures(questions, found, kind, arguments.curves)
        settings |= {"threshold": threshold, "seconds": round(seconds, 2), "about": about(arguments.threads)}
        rounded = {key: [round(float(one), 4) for one in values] for key, values in samples.items()}
        write_text(path, json.dumps({"settings": settings, "samples": rounded}) + "\n")
        yield Cell(path, settings)


def is_done(path: Path, settings: dict[str, Any]) -> bool:
    """Whether a file has what was asked for, with these settings."""
    if not path.is_file():
        return False
    stored = read_object(path).get("settings")
    return isinstance(stored, dict) and all(stored.get(key) == value for key, value in settings.items())


def about(threads: int) -> dict[str, Any]:
    return {"torch": torch.__version__, "machine": platform.machine(), "threads": threads, "date": time.strftime("%F")}


def ask(model: Model, kind: str, arguments: argparse.Namespace) -> Questions:
    """Makes or reads the images, and what is true of them."""
    masks = None
    if kind == "pasted":
        assert arguments.pasted, "--data pasted needs --pasted FOLDER"
        pasted: PastedScenes = read_pasted(arguments.pasted, model.classes, model.preprocess, arguments.count)
        scenes, masks = pasted.scenes, pasted.masks
    else:
        scenes = make_scenes(model, kind, 0, arguments.count)
    mode = model.preprocess.mode
    images = torch.stack([model.preprocess.normalised(Image.fromarray(one).convert(mode)) for one in scenes.images])
    with torch.inference_mode():
        logits = torch.cat([model.network(part) for part in images.split(50)])
    likeliest = logits.topk(scenes.classes.shape[1], dim=1).indices.numpy()
    found = (likeliest[:, :, None] == scenes.classes[:, None]).any(1).reshape(-1)
    first, second = (costliest_squares(model.network, images, scenes.classes, parts, black(model)) for parts in (2, 4))
    return Questions(model, scenes, images, masks, found, (first, second))


def measures(questions: Questions, found: Explained, kind: str, most: int) -> tuple[dict[str, np.ndarray], float]:
    """All measures of every question, and the threshold of the boxes."""
    scenes, size = questions.scenes, (questions.images.shape[2], questions.images.shape[3])
    boxes, asked = scenes.boxes.reshape(-1, 4), scenes.classes.shape[1]
    points = highest_points(found.maps, size) if found.points is None else found.points
    best = max_box_accuracy(found.maps, boxes, size)
    overlaps = box_overlaps(boxes_from_maps(found.maps, size, (best.threshold,))[:, 0], boxes)
    samples = {
        "found": questions.found,
        "first": found.quadrants.argmax(1) == questions.costliest[0],
        "second": found.sixteenths.argmax(1) == questions.costliest[1],
        "point": pointing_hits(points, boxes),
        "overlap": overlaps,
        "box": overlaps >= 0.5,
    }
    if asked == 4:
        samples["quadrant"] = found.quadrants.argmax(1) == np.tile(np.arange(4), len(scenes))
    if questions.masks is not None:
        columns, rows = points.astype(int).T
        samples["point"] = questions.masks[np.arange(len(points)), rows, columns]
        samples["mask"] = mask_overlaps(found.maps, questions.masks)
    count = min(most, len(scenes))
    if count:
        # Black replaces what is deleted of digits, the mean colour what is deleted of photos.
        colour = "images" if kind == "pasted" else kind
        few = replace(scenes, images=scenes.images[:count], classes=scenes.classes[:count], boxes=scenes.boxes[:count])
        samples |= curves(questions.model, questions.images, found.maps, few, count, colour)
    return samples, best.threshold


if __name__ == "__main__":
    main()
