"""Why a classifier gives its answers: pictures and a page, for images and clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hvit.data.clips.decoding import probe
from hvit.errors import UserError
from hvit.explain import (
    MAP_METHODS,
    ClipTree,
    Removal,
    Tree,
    block_shapley,
    block_shapley_clips,
    class_activation_map_batch,
    draw_trees,
    gradcat_batch,
    save_figure,
)
from hvit.explain.drawing.clip_picture import draw_clip_maps, write_clip_gif
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.methods.baseline_images import Baseline
from hvit.explain.methods.block_shapley import passes_planned
from hvit.explain.page import ExplainedClass, ExplainedImage, write_page
from hvit.explain.tree import GRADCATS, Absent, Prediction
from hvit.files import JsonObject
from hvit.models import catalogue
from hvit.snapshots.answers import most_asked, reread, shown_answers
from hvit.verbs.classifier import Classifier, Method, clip_input, free_name, read_or_refuse

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
    budget: float | None = None,
    baseline: Baseline = "mean",
    absent: Absent = "exchanged",
    spent: Callable[[float, float], None] | None = None,
    depth: int | None = None,
) -> Iterator[JsonObject]:
    """Writes pictures of why every image gets its classes, and one page of all, and yields the trees as numbers.

    classes: what to explain; None for the `top_k` most probable. methods: the first of block_shapley, gradcat and
    gradcat_libra gives the tree of the pictures, the others a map. folder: where `<file name>_<method>.png`,
    `<file name>_maps.png` and, when all are done, `index.html` go. refused: as in `predict`. level: of the features
    that GradCAT starts from; None for the last. beam: how many paths through a tree are reported. budget, baseline,
    absent: of block Shapley. spent: called with the forward passes that block Shapley has spent since the last call,
    and with how many it plans for an image. depth: how often block Shapley divides the image; None for 2.
    Yields {"file", "pictures": [...], "trees": [{"method", "class", "probability", "logit", "path", "paths", "regions",
    "values", "clear_path", "removal"}, ...]}; regions are (left, top, right, bottom) in pixels of the model's input;
    values that were not computed are None; removal is that of the tree, and None for GradCAT.
    """
    labels = classifier.labels
    outputs = [classifier.name(index) for index in range(classifier.model.config.num_classes)]
    taken: set[str] = set()
    explained: list[ExplainedImage] = []
    planned = 0.0

    def progress(passes: float) -> None:
        if spent is not None:
            spent(passes, planned)

    # The same part of the image as the model sees, in more pixels than a small model has; digits keep their squares.
    size, colours = classifier.preprocess.input_size, len(classifier.preprocess.mean)
    times = max(1, _LEAST_SHOWN // max(size)) if colours == 3 else 1
    finer = replace(classifier.preprocess, input_size=tuple(times * side for side in size))

    def seen(image: Image.Image) -> tuple[torch.Tensor, Image.Image]:
        return classifier.preprocess.tensor(image), finer.shown(image)

    for file, (tensor, shown) in read_or_refuse(files, classifier.preprocess, refused, seen):
        batch = tensor[None].to(classifier.device)
        with torch.inference_mode():
            answers = classifier.answers(batch)[0]
        chosen = classes or most_asked(answers, labels, top_k)
        names = [classifier.name(index) for index in chosen]
        shares = [float(answers[index]) for index in chosen]
        drawn_names, drawn_shares = shown_answers(names, shares, labels)
        stem = free_name(file.stem, taken)
        answer: JsonObject = {"file": str(file), "pictures": [], "trees": []}
        by_method: dict[str, list[Tree]] = {}
        if "block_shapley" in methods:
            model = classifier.model if classifier.prepared is None else classifier.prepared
            if spent is not None:
                planned = planned or passes_planned(model, batch, depth=depth, budget=budget, absent=absent)
            by_method["block_shapley"] = block_shapley(
                model, batch, chosen, depth=depth, baseline=baseline, budget=budget, absent=absent, progress=progress,
                temperature=classifier.confidence.temperature,
            )[0]  # fmt: skip
            by_method["block_shapley"] = reread(by_method["block_shapley"], labels, outputs)
        for method, gradient in GRADCATS.items():
            if method in methods:
                found = gradcat_batch(classifier.model, batch, chosen, level=level, gradient=gradient)
                by_method[method] = found[0]
        trees = next((by_method[one] for one in methods if one in by_method), None)
        if trees is not None:
            path = folder / f"{stem}_{trees[0].method}.png"
            save_figure(draw_trees(shown, trees, drawn_names, drawn_shares, all_names=classifier.classes), path)
            answer["pictures"].append(str(path))
            answer["trees"] = [
                {
                    "method": tree.method,
                    "class": name,
                    "index": tree.class_index,
                    "value" if labels.kind == "regression" else "probability": round(share, 6),
                    "logit": tree.logit,
                    "path": list(tree.path),
                    "paths": [list(path) for path in tree.paths(beam)],
                    "regions": [list(region) for region in tree.regions],
                    "values": [_finite(values) for values in tree.values],
                    "clear_path": list(tree.clear_path),
                    "removal": tree.removal and _removal(tree.removal),
                }
                for tree, name, share in zip(trees, names, shares, strict=True)
            ]
        maps = {
            name: list(MAP_METHODS[name](classifier.model, batch, chosen)[0]) for name in methods if name in MAP_METHODS
        }
        for method, of_method in by_method.items():
            if trees is not None and method != trees[0].method:
                maps = {method: [tree.block_map for tree in of_method], **maps}
        if maps:
            path = folder / f"{stem}_maps.png"
            save_figure(draw_comparison(shown, maps, drawn_names, drawn_shares, trees=trees), path)
            answer["pictures"].append(str(path))
        explained.append(
            ExplainedImage(
                file.name,
                shown,
                [
                    ExplainedClass(
                        name,
                        None if drawn_shares is None else drawn_shares[rank],
                        trees[rank] if trees else None,
                        {key: maps[key][rank] for key in maps},
                    )
                    for rank, name in enumerate(drawn_names)
                ],
                classifier.classes,
            )
        )
        yield answer
    if explained:
        write_page(explained, folder / PAGE, model=catalogue.name_of(classifier.model.config))


def _finite(values: np.ndarray) -> list[list[float | None]]:
    """Values as lists for JSON, which has no word for a number that was not computed."""
    return [[None if np.isnan(one) else float(one) for one in row] for row in values]


def _segments(tree: ClipTree) -> JsonObject:
    """A clip's tree, for JSON."""
    values = [_finite(quadrants) for quadrants in tree.values]
    return {"times": [float(one) for one in tree.times], "values": values, "removal": _removal(tree.removal)}


def _removal(removal: Removal) -> JsonObject:
    """How a tree was computed, for JSON."""
    parts = asdict(removal)
    parts["before"] = _prediction(removal.before)
    parts["without"] = [_prediction(one) for one in removal.without]
    return parts


def _prediction(prediction: Prediction) -> JsonObject:
    """A prediction without blocks, for JSON; its words only where probabilities of classes do not say it."""
    return {name: value for name, value in prediction._asdict().items() if name != "words" or value}


def explain_clips(
    classifier: Classifier,
    files: list[Path],
    classes: list[int] | None,
    top_k: int,
    folder: Path,
    refused: Callable[[str], None],
    methods: tuple[Method, ...] = ("block_shapley", "cam"),
    budget: float | None = None,
    baseline: Baseline = "mean",
    absent: Absent = "exchanged",
    spent: Callable[[float, float], None] | None = None,
) -> Iterator[JsonObject]:
    """Writes the evidence for every class in the middle of each clip: `<name>_<method>.png` (a strip) and `.gif`.

    classes: what to explain; None for the `top_k` most probable. refused: as in `predict_clips`.
    methods: block_shapley, cam, or both; which the model must allow. budget, baseline, absent: of block Shapley.
    Yields {"file", "pictures": [...], "classes": [{"class", "index", "probability", "over_time", "segments"}, ...]};
    over_time is the mean of the class's map in each of the model's times: they add up to the logit without its bias,
    divided by their number. segments has the "times" and "values" of block Shapley (see `ClipTree`), null where a value
    was not computed. Either is missing if its method was not asked for.
    """
    sampling, taken, labels = classifier.preprocess.clip_sampling, set(), classifier.labels
    for file in files:
        try:
            facts = probe(file, page=classifier.preprocess.page)
            tensor, frames = clip_input(classifier, file, facts, sampling.of_view(facts.frames, facts.rate, 0, 1))
        except UserError as error:
            refused(str(error))
            continue
        batch = tensor[None].to(classifier.device)
        with torch.inference_mode():
            shares = classifier.answers(batch)[0].cpu()
        chosen = classes or most_asked(shares, labels, top_k)
        maps: dict[str, list[np.ndarray]] = {}
        trees: list[ClipTree] = []
        if "block_shapley" in methods:
            trees = block_shapley_clips(
                classifier.model, batch, chosen, baseline=baseline, budget=budget, absent=absent,
                temperature=classifier.confidence.temperature,
            )[0]  # fmt: skip
            trees = reread(trees, labels, [classifier.name(one) for one in range(len(shares))])
            maps["block_shapley"] = [tree.block_map for tree in trees]
        if "cam" in methods:
            maps["cam"] = list(class_activation_map_batch(classifier.model, batch, chosen)[0])
        names, probabilities = [classifier.name(one) for one in chosen], [float(shares[one]) for one in chosen]
        drawn = shown_answers(names, probabilities, labels)
        stem = free_name(file.stem, taken)
        pictures = []
        for method, of_method in maps.items():
            strip, moving = folder / f"{stem}_{method}.png", folder / f"{stem}_{method}.gif"
            save_figure(draw_clip_maps(frames, of_method, *drawn), strip)
            write_clip_gif(frames, of_method, moving)
            pictures += [str(strip), str(moving)]
        over_time = [[round(float(value), 6) for value in one.mean((1, 2))] for one in maps.get("cam", [])]
        yield {
            "file": str(file),
            "pictures": pictures,
            "classes": [
                {
                    "class": name,
                    "index": one,
                    "value" if labels.kind == "regression" else "probability": round(share, 6),
                    **({"over_time": over_time[rank]} if over_time else {}),
                    **({"segments": _segments(trees[rank])} if trees else {}),
                }
                for rank, (one, name, share) in enumerate(zip(chosen, names, probabilities, strict=True))
            ],
        }
