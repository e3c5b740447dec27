"""Features of images by any encoder, written to a table; a call that is killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hvit.data.feature_table import FeatureTable, Portion, check_name, read_features, write_features
from hvit.data.images.listing import list_images, show
from hvit.data.images.perceptual_hash import perceptual_hash
from hvit.data.images.reading import read_image
from hvit.data.layout import HELD_OUT_NAMES, spelling
from hvit.data.open import ImageSet, Splits, moved, open_data
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.regular_files import is_folder, open_regular
from hvit.data.sets import IMAGENET_MEAN, IMAGENET_STD, statistics_for
from hvit.errors import UserError
from hvit.files import as_path, replacing
from hvit.models.catalogue import entry
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.probe import ProbeConfig, head_features
from hvit.models.weights.open import open_any
from hvit.recipe import read_recipe
from hvit.recipes import get_recipe
from hvit.run_names import EMBEDDINGS, RECIPE
from hvit.runs.kinds import kind_of
from hvit.runs.prepare import new_model
from hvit.runs.starting import TIMM, WEIGHTS_BY_NAME, choose_start, started
from hvit.training.distribute import choose_device

_PORTION = 256
"""Images whose features are written together, and lost together when the program is killed."""


@dataclass(frozen=True)
class Embedder:
    """A model, and which of its features are taken.

    level: of the hierarchy, 0 the finest, whose feature map is averaged over its positions; None for what the head
    takes. facts: what says of a table which features it has.
    """

    model: Encoder | MaskedAutoencoder
    preprocess: Preprocess
    device: torch.device
    level: int | None
    facts: dict[str, Any]

    @torch.inference_mode()
    def features(self, images: Tensor) -> np.ndarray:
        """Features (batch, dim) float32 of normalised images (batch, channels, height, width)."""
        images = images.to(self.device)
        if self.level is None and isinstance(self.model, Encoder) and isinstance(self.model.head, nn.Linear):
            found = head_features(self.model, images)
        else:
            encoder = self.model.encoder if isinstance(self.model, MaskedAutoencoder) else self.model
            found = encoder.levels(images)[-1 if self.level is None else self.level].flatten(1, -2).mean(1)
        return found.float().cpu().numpy()


def open_embedder(weights: str, device: str = "auto", level: int | None = None) -> Embedder:
    """The model whose features are wanted.

    weights: a run folder, a weights file, "timm/NAME", "teacher", or "auto" for the best that this machine has (see
    `choose_start`). Raises UserError for weights that are not there, for a level that the model does not have, for
    generators and for models of clips.
    """
    if weights in WEIGHTS_BY_NAME or weights.startswith("timm/"):
        model, preprocess, name = _pretrained(weights)
    else:
        opened = open_any(as_path(weights))
        model, name = opened.model, opened.name
        if not isinstance(model, Encoder | MaskedAutoencoder):
            raise UserError(f"{weights} holds {name}, which has no features of images")
        config = model.config
        if opened.preprocess:
            preprocess = stored_preprocess(opened.preprocess, config.input_size, show(weights))
        else:
            mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, config.in_channels)
            preprocess = Preprocess(config.input_size, mean, std, 0.875, "bilinear", grey_range="auto")
    if preprocess.takes_clips:
        raise UserError(f"features are of images, and {weights} takes clips")
    encoder = model.encoder if isinstance(model, MaskedAutoencoder) else model
    count = len(encoder.level_dims)
    if level is not None and not 0 <= level < count:
        raise UserError(f"--level must be a number from 0 (the finest) to {count - 1} for this model; got {level}")
    facts = {"weights": weights, "model": name, "level": level, "fingerprint": fingerprint(model, preprocess)}
    chosen = choose_device(device)
    return Embedder(model.eval().to(chosen), preprocess, chosen, level, facts)


def _pretrained(weights: str) -> tuple[Encoder, Preprocess, str]:
    recipe = get_recipe("photos")
    assert isinstance(recipe.model, ProbeConfig)
    if weights.startswith("timm/"):
        recipe, weights = replace(recipe, model=replace(recipe.model, encoder=entry(weights).config)), TIMM
    start = choose_start(recipe.model, weights)  # pyright: ignore[reportArgumentType]
    if start is None:
        raise UserError(
            "no pretrained weights are at hand: install hvit[teacher], connect to the network, or name a weights file"
        )
    mean, std = (start.mean or IMAGENET_MEAN), (start.std or IMAGENET_STD)
    preprocess = Preprocess(
        start.encoder.input_size, mean, std, start.crop, start.interpolation, grey_range="auto"  # pyright: ignore
    )  # fmt: skip
    recipe = started(recipe, start)
    assert isinstance(recipe.model, ProbeConfig)
    if recipe.model.num_classes is None:
        recipe = replace(recipe, model=recipe.model.with_classes(1000))
    model = new_model(recipe, kind_of(recipe.model))
    assert isinstance(model, Encoder)
    return model, preprocess, start.name


def fingerprint(model: nn.Module, preprocess: Preprocess) -> str:
    """A checksum of the weights and of how images are prepared for them."""
    digest = hashlib.sha256(json.dumps(asdict(preprocess), default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Images(ABC):
    """Images to embed, which are read one at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def row(self, index: int) -> tuple[str, str, str]:
        """The name of an image, its part of the data and its class; the last two empty where they are not known."""

    @abstractmethod
    def stamp(self, index: int) -> str:
        """What changes when the image does, without reading it."""

    @abstractmethod
    def read(self, index: int, preprocess: Preprocess) -> tuple[Image.Image, str]:
        """The image, and the SHA-256 of its content. Raises UserError where it cannot be read."""


class FileImages(Images):
    """The images that some files and folders stand for.

    Below a folder the first folder on the way to an image is its class, or its part (train, val, test) and the next one
    its class.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files: list[Path] = []
        self.places: list[tuple[str, str]] = []
        known: set[Path] = set()
        for path in paths:
            for file in list_images([path]):
                if file not in known:
                    known.add(file)
                    self.files.append(file)
                    self.places.append(_place(file, path) if is_folder(path) else ("", ""))

    def __len__(self) -> int:
        return len(self.files)

    def row(self, index: int) -> tuple[str, str, str]:
        """See `Images.row`."""
        return str(self.files[index]), *self.places[index]

    def stamp(self, index: int) -> str:
        """See `Images.stamp`."""
        return _file_stamp(self.files[index])

    def read(self, index: int, preprocess: Preprocess) -> tuple[Image.Image, str]:
        """See `Images.read`."""
        file = self.files[index]
        image = read_image(file, len(preprocess.mean), preprocess.grey_range, preprocess.page)
        return image, file_hash(file)


def _place(file: Path, folder: Path) -> tuple[str, str]:
    folders = file.relative_to(folder).parts[:-1]
    is_part = bool(folders) and spelling(folders[0]).lower() in ("train", *HELD_OUT_NAMES)
    part, below = (folders[0], folders[1:]) if is_part else ("", folders)
    return part, (below[0] if below else "")


def _file_stamp(file: Path) -> str:
    try:
        state = file.stat()
    except OSError:
        return "missing"
    return f"{state.st_size} {state.st_mtime_ns}"


def file_hash(file: Path) -> str:
    try:
        with open_regular(file) as content:
            return hashlib.file_digest(content, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise UserError(f"cannot read {show(file)}: {error.strerror or error}.") from error


class RunImages(Images):
    """All images of the data of a run: its training part, its held-out part and, where there is one, its test part."""

    def __init__(self, splits: Splits) -> None:
        self.parts = {"train": splits.train, "held_out": splits.held_out}
        if splits.test is not None:
            self.parts["test"] = splits.test
        self.classes = splits.classes
        self.ends = np.cumsum([len(one) for one in self.parts.values()])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def of(self, index: int) -> tuple[str, ImageSet, int]:
        """The part that an image is in, and its index there."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        name, images = list(self.parts.items())[place]
        return name, images, index - (int(self.ends[place - 1]) if place else 0)

    def row(self, index: int) -> tuple[str, str, str]:
        """See `Images.row`."""
        part, images, own = self.of(index)
        labels = images.labels
        single = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and len(self.classes) > 1
        return images.name(own), part, (self.classes[int(labels[own])] if single else "")

    def stamp(self, index: int) -> str:
        """See `Images.stamp`."""
        _, images, own = self.of(index)
        file = _file_of(images, own)
        return _file_stamp(file) if file is not None else str(own)

    def read(self, index: int, preprocess: Preprocess) -> tuple[Image.Image, str]:
        """See `Images.read`."""
        _, images, own = self.of(index)
        image, _ = images.read(own, own)
        if not isinstance(image, Image.Image):
            raise UserError("features are of images, and this data is clips")
        file = _file_of(images, own)
        return image, file_hash(file) if file is not None else hashlib.sha256(image.tobytes()).hexdigest()


def _file_of(images: ImageSet, index: int) -> Path | None:
    file = getattr(images, "file", None)
    return Path(str(file(index))) if callable(file) else None


def run_images(run: Path, root: str | None = None) -> RunImages:
    """The images of a run's data. Raises UserError for a folder that is no run, and for clips."""
    if not (run / RECIPE).is_file():
        raise UserError(f"{show(run)} is no run folder, so name images, or folders of them, after the weights")
    recipe = read_recipe(run)
    return RunImages(open_data(moved(recipe.data, root), recipe.seed, recipe.model.in_channels, None))


def embed(
    embedder: Embedder,
    images: Images,
    out: Path,
    batch_size: int,
    refused: Callable[[str], None],
    done: Callable[[], None] = lambda: None,
) -> int:
    """Writes the features of images to a table (see `feature_table`); returns how many there are.

    Features are kept in a folder next to the table until it is complete, 256 images a file, so that a call that was
    killed goes on where it was; images that have changed since are read again. refused: called with one sentence for
    each image that cannot be read, which the table then lacks. done: called after each image.
    Raises UserError where nothing can be read or written.
    """
    check_name(out)
    work = out.with_name(f".{out.name}.portions")
    keys = []
    for start in range(0, len(images), _PORTION):
        members = range(start, min(start + _PORTION, len(images)))
        keys.append(_key(embedder, images, members))
        path = work / f"{keys[-1]}.npz"
        if (stored := _stored(path)) is None:
            stored = _computed(embedder, images, members, batch_size, done)
            features, rows, sentences = stored
            with replacing(path) as file:
                values = {"features": features, "rows": np.array(json.dumps([rows, sentences]))}
                np.savez(file, **values)  # pyright: ignore[reportArgumentType]
        else:
            for _ in members:
                done()
        for sentence in stored[2]:
            refused(sentence)
    dims = [stored[0].shape[1] for key in keys if (stored := _stored(work / f"{key}.npz")) and len(stored[1])]
    if not dims:
        shutil.rmtree(work, ignore_errors=True)
        raise UserError("none of the images can be read, so there are no features to write")

    def portions() -> Iterator[Portion]:
        for key in keys:
            stored = _stored(work / f"{key}.npz")
            if stored is None:
                raise UserError(f"{show(work)} was changed while it was written; start again")
            if stored[1]:
                yield stored[0], stored[1]

    count = write_features(out, embedder.facts, dims[0], portions())
    shutil.rmtree(work, ignore_errors=True)
    return count


def _key(embedder: Embedder, images: Images, members: range) -> str:
    """What the features of some images depend on, as the name of a file."""
    values = [embedder.facts, [(*images.row(index), images.stamp(index)) for index in members]]
    return hashlib.sha256(json.dumps(values).encode("utf-8", "surrogatepass")).hexdigest()[:32]


Stored = tuple[np.ndarray, list[list[str]], list[str]]
"""Features of images, their rows, and the sentences on those that cannot be read."""


def _stored(path: Path) -> Stored | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows, sentences = json.loads(str(stored["rows"]))
            return stored["features"], rows, sentences
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _computed(embedder: Embedder, images: Images, members: range, batch_size: int, done: Callable[[], None]) -> Stored:
    found: list[np.ndarray] = []
    rows: list[list[str]] = []
    sentences: list[str] = []
    waiting: list[Tensor] = []

    def flush() -> None:
        if waiting:
            found.append(embedder.features(torch.stack(waiting)))
            waiting.clear()

    for index in members:
        try:
            image, content = images.read(index, embedder.preprocess)
            shown = embedder.preprocess.shown(image)
            del image
            waiting.append(embedder.preprocess.normalised(shown))
            name, part, label = images.row(index)
            rows.append([name, content, perceptual_hash(shown), part, label])
        except UserError as error:
            sentences.append(str(error))
        if len(waiting) == batch_size:
            flush()
        done()
    flush()
    return (np.concatenate(found) if found else np.zeros((0, 0), np.float32)), rows, sentences


def features_of_run(run: Path) -> FeatureTable | None:
    """The table that `hvit embed RUN` has left in a run folder; None where there is none."""
    path = run / EMBEDDINGS
    return read_features(path) if path.exists() else None
