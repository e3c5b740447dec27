"""Weights and files in, answers out: predictions and explanations for pictures on disk."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from PIL import Image

from hvit.class_names import find_class
from hvit.data.augment import Preprocess
from hvit.data.open import read_image
from hvit.data.preprocess import stored_preprocess
from hvit.data.sets import IMAGENET_MEAN, IMAGENET_STD, statistics_for
from hvit.errors import UserError
from hvit.explain import MAP_METHODS, draw_trees, gradcat_batch, methods_for, save_figure
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.page import ExplainedClass, ExplainedImage, write_page
from hvit.markup import shown as printable
from hvit.models import catalogue
from hvit.models.inference.prepare import PreparedModel, prepare_for_inference
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.save import open_weights
from hvit.training.distribute import choose_device

Made = TypeVar("Made")
Method = Literal["gradcat", "cam", "gradcam", "gradcam++", "rollout"]
PAGE = "index.html"
_LEAST_SHOWN = 448  # pixels of a side of the pictures
_LONGEST_STEM = 120  # bytes


@dataclass(frozen=True)
class Classifier:
    """A model with everything a picture needs on its way through it."""

    model: Encoder
    classes: tuple[str, ...]
    preprocess: Preprocess
    device: torch.device
    prepared: PreparedModel | None = None
    """The model made ready for inference (see `made_fast`), for answers that need no gradients."""

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (batch, num_classes), float32, of a batch on the device."""
        return (self.model if self.prepared is None else self.prepared)(batch).float()

    @property
    def methods(self) -> tuple[Method, ...]:
        """The explanations that this model allows, the most telling first."""
        return methods_for(self.model)  # pyright: ignore[reportReturnType]

    def name(self, class_index: int) -> str:
        """The name of a class, or its number where the weights carry no names."""
        return self.classes[class_index] if self.classes else f"class {class_index}"

    def class_index(self, wanted: str) -> int:
        """The number of the class that a person means (see `find_class`). Raises UserError for one it does not have."""
        return find_class(wanted, self.classes, self.model.config.num_classes)


def open_classifier(weights: Path, device: str = "auto") -> Classifier:
    """A classifier from a weights file in any known format, or from a run folder.

    Weights without a stored preprocessing get that of ImageNet: the shorter side to 8/7 of the input, the centre cut
    out, ImageNet's mean and deviation.
    """
    opened = open_weights(weights)
    config = opened.model.config
    if opened.preprocess:
        preprocess = stored_preprocess(opened.preprocess, config.input_size, printable(str(weights)))
    else:
        mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, config.in_channels)
        preprocess = Preprocess(config.input_size, mean, std, 0.875, "bilinear", grey_range="auto")
    chosen = choose_device(device)
    return Classifier(opened.model.eval().to(chosen), tuple(opened.classes), preprocess, chosen)


def made_fast(classifier: Classifier, batch_size: int) -> tuple[Classifier, str]:
    """The classifier with its model prepared for batches of a size, and the sentence that says what was chosen."""
    prepared = prepare_for_inference(classifier.model, batch_size)
    return replace(classifier, prepared=prepared), str(prepared.choice)


def predict(
    classifier: Classifier, files: list[Path], top_k: int, batch_size: int, refused: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The likeliest classes of every picture, in the order of the files.

    refused: called with one sentence for each file that cannot be read; the others go on.
    Yields {"file", "classes": [{"class", "index", "probability"}, ...]}, likeliest first.
    """
    for start in range(0, len(files), batch_size):
        # One image at a time becomes the model's input: a batch of huge ones would take gigabytes.
        portion = files[start : start + batch_size]
        read = list(_read(portion, classifier.preprocess, refused, classifier.preprocess.tensor))
        if not read:
            continue
        batch = torch.stack([tensor for _, tensor in read]).to(classifier.device)
        with torch.inference_mode():
            probabilities = classifier.logits(batch).softmax(dim=1).cpu()
        likely = probabilities.topk(min(top_k, probabilities.shape[1]), dim=1)
        for (file, _), values, indices in zip(read, likely.values.tolist(), likely.indices.tolist(), strict=True):
            ranked = [
                {"class": classifier.name(index), "index": index, "probability": round(value, 6)}
                for value, index in zip(values, indices, strict=True)
            ]
            yield {"file": str(file), "classes": ranked}


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
    """Writes pictures of why every picture gets its classes, and one page of all, and yields the trees as numbers.

    classes: what to explain; None for the `top_k` likeliest. folder: where `<file name>_gradcat.png`,
    `<file name>_maps.png` and, when all are done, `index.html` go. refused: as in `predict`. level: of the features
    that GradCAT starts from; None for the last. beam: how many paths through a tree are told.
    Yields {"file", "pictures": [...], "trees": [{"class", "probability", "logit", "path", "paths", "regions",
    "values"}, ...]}; regions are (left, top, right, bottom) in pixels of the model's input.
    """
    taken: set[str] = set()
    explained: list[ExplainedImage] = []
    # The same part of the picture as the model sees, in more pixels than a small model has; digits keep their squares.
    size, colours = classifier.preprocess.input_size, len(classifier.preprocess.mean)
    times = max(1, _LEAST_SHOWN // max(size)) if colours == 3 else 1
    finer = replace(classifier.preprocess, input_size=tuple(times * side for side in size))

    def seen(image: Image.Image) -> tuple[torch.Tensor, Image.Image]:
        return classifier.preprocess.tensor(image), finer.shown(image)

    for file, (tensor, shown) in _read(files, classifier.preprocess, refused, seen):
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
                    "values": [grid.tolist() for grid in tree.values],
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


def _read(
    files: list[Path], preprocess: Preprocess, refused: Callable[[str], None], make: Callable[[Image.Image], Made]
) -> Iterator[tuple[Path, Made]]:
    """Every readable file with what is made of its image, which is let go of before the next one is read."""
    for file in files:
        try:
            yield file, make(read_image(file, len(preprocess.mean), preprocess.grey_range, preprocess.page))
        except UserError as error:
            refused(str(error))


def free_name(stem: str, taken: set[str]) -> str:
    """What the pictures of an input file are called: as it is, escaped, and as no other picture of this call.

    Long names are cut, with a few letters of their checksum, so that what is added to them fits into the 255 bytes that
    a name may have. Names that some file systems do not tell apart, such as A and a, count as equal.
    """
    name = printable(stem)
    if len(name.encode()) > _LONGEST_STEM:
        checksum = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name.encode()[:_LONGEST_STEM].decode(errors='ignore')}~{checksum}"
    first, number = name, 1
    while (same := unicodedata.normalize("NFC", name).casefold()) in taken:
        number += 1
        name = f"{first}_{number}"
    taken.add(same)
    return name
