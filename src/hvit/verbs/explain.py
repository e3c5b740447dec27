"""Why a classifier gives its answers: pictures and a page, for images and clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from hvit.data.clips.decoding import probe
from hvit.errors import UserError
from hvit.explain import MAP_METHODS, class_activation_map_batch, draw_trees, gradcat_batch, save_figure
from hvit.explain.drawing.clip_picture import draw_clip_maps, write_clip_gif
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.page import ExplainedClass, ExplainedImage, write_page
from hvit.models import catalogue
from hvit.verbs.classifier import Classifier, Method, clip_input, frame_sampling, free_name, read_or_refuse

PAGE = "index.html"


_LEAST_SHOWN = 448  # pixels of a side of the pictures


def explain(
    classifier: Classifier,
    files: list[Path],
    classes: list[int] | None,
    top_k: int,
    methods: tuple[Method, ...],
    folder: Path,
    refused: Callable[[str], None],
    level: int | None = None,
    beam: int = 1,
) -> Iterator[dict[str, Any]]:
    """Writes pictures of why every image gets its classes, and one page of all, and yields the trees as numbers.

    classes: what to explain; None for the `top_k` most probable. folder: where `<file name>_gradcat.png`,
    `<file name>_maps.png` and, when all are done, `index.html` go. refused: as in `predict`. level: of the features
    that GradCAT starts from; None for the last. beam: how many paths through a tree are reported.
    Yields {"file", "pictures": [...], "trees": [{"class", "probability", "logit", "path", "paths", "regions",
    "values"}, ...]}; regions are (left, top, right, bottom) in pixels of the model's input.
    """
    taken: set[str] = set()
    explained: list[ExplainedImage] = []
    # The same part of the image as the model sees, in more pixels than a small model has; digits keep their squares.
    size, colours = classifier.preprocess.input_size, len(classifier.preprocess.mean)
    times = max(1, _LEAST_SHOWN // max(size)) if colours == 3 else 1
    finer = replace(classifier.preprocess, input_size=tuple(times * side for side in size))

    def seen(image: Image.Image) -> tuple[torch.Tensor, Image.Image]:
        return classifier.preprocess.tensor(image), finer.shown(image)

    for file, (tensor, shown) in read_or_refuse(files, classifier.preprocess, refused, seen):
        batch = tensor[None].to(classifier.device)
        with torch.inference_mode():
            probabilities = classifier.logits(batch)[0].softmax(dim=0)
        chosen = classes or probabilities.topk(min(top_k, len(probabilities))).indices.tolist()
        names = [classifier.name(index) for index in chosen]
        shares = [float(probabilities[index]) for index in chosen]
        stem = free_name(file.stem, taken)
        answer: dict[str, Any] = {"file": str(file), "pictures": [], "trees": []}
        trees = None
        if "gradcat" in methods:
            trees = gradcat_batch(classifier.model, batch, chosen, level=level)[0]
            path = folder / f"{stem}_gradcat.png"
            save_figure(draw_trees(shown, trees, names, shares), path)
            answer["pictures"].append(str(path))
            answer["trees"] = [
                {
                    "class": name,
                    "index": tree.class_index,
                    "probability": round(share, 6),
                    "logit": tree.logit,
                    "path": list(tree.path),
                    "paths": [list(path) for path in tree.paths(beam)],
                    "regions": [list(region) for region in tree.regions],
                    "values": [values.tolist() for values in tree.values],
                }
                for tree, name, share in zip(trees, names, shares, strict=True)
            ]
        maps = {
            name: list(MAP_METHODS[name](classifier.model, batch, chosen)[0]) for name in methods if name in MAP_METHODS
        }
        if maps:
            path = folder / f"{stem}_maps.png"
            save_figure(draw_comparison(shown, maps, names, shares, trees=trees), path)
            answer["pictures"].append(str(path))
        explained.append(
            ExplainedImage(
                file.name,
                shown,
                [
                    ExplainedClass(name, share, trees[rank] if trees else None, {key: maps[key][rank] for key in maps})
                    for rank, (name, share) in enumerate(zip(names, shares, strict=True))
                ],
            )
        )
        yield answer
    if explained:
        write_page(explained, folder / PAGE, model=catalogue.name_of(classifier.model.config))


def explain_clips(
    classifier: Classifier,
    files: list[Path],
    classes: list[int] | None,
    top_k: int,
    folder: Path,
    refused: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Writes the evidence for every class in the middle of each clip: `<name>_cam.png` (a strip) and `<name>_cam.gif`.

    classes: what to explain; None for the `top_k` most probable. refused: as in `predict_clips`.
    Yields {"file", "pictures": [...], "classes": [{"class", "index", "probability", "over_time"}, ...]}; over_time is
    the mean of the class's map in each of the model's times: they add up to the logit without its bias, divided by
    their number.
    """
    sampling, taken = frame_sampling(classifier), set()
    for file in files:
        try:
            facts = probe(file, page=classifier.preprocess.page)
            tensor, frames = clip_input(classifier, file, facts, sampling.of_view(facts.frames, facts.rate, 0, 1))
        except UserError as error:
            refused(str(error))
            continue
        batch = tensor[None].to(classifier.device)
        with torch.inference_mode():
            shares = classifier.logits(batch)[0].softmax(dim=0)
        chosen = classes or shares.topk(min(top_k, len(shares))).indices.tolist()
        maps = list(class_activation_map_batch(classifier.model, batch, chosen)[0])
        names, probabilities = [classifier.name(one) for one in chosen], [float(shares[one]) for one in chosen]
        stem = free_name(file.stem, taken)
        strip, moving = folder / f"{stem}_cam.png", folder / f"{stem}_cam.gif"
        save_figure(draw_clip_maps(frames, maps, names, probabilities), strip)
        write_clip_gif(frames, maps, moving)
        yield {
            "file": str(file),
            "pictures": [str(strip), str(moving)],
            "classes": [
                {
                    "class": name,
                    "index": one,
                    "probability": round(share, 6),
                    "over_time": [round(float(value), 6) for value in values.mean((1, 2))],
                }
                for one, name, share, values in zip(chosen, names, probabilities, maps, strict=True)
            ],
        }
