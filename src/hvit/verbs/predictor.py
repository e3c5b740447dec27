"""One object that predicts, or computes features, of batches of images wherever they come from: here, or on Ray."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hvit.data.images.held import HeldImage, Rows
from hvit.data.images.reading import read_image
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.runtime.predictions_csv import flat
from hvit.verbs import folds
from hvit.verbs.classifier import Classifier, answer_of, open_classifier, open_ensemble
from hvit.verbs.embed import Embedder, file_hash, fingerprint, open_embedder

Kind = Literal["text", "number", "flag", "vector"]
IMAGE_COLUMNS = ("bytes", "image", "path", "file", "item")
"""Where the images of a batch are looked for, in this order."""
ERROR = "error"


@dataclass(frozen=True)
class Read:
    """Images that were read: the inputs of those that could be, and for each a sentence where it could not be.

    inputs: (readable images, channels, height, width) float32, None for none. hashes: of the content, for features.
    """

    inputs: torch.Tensor | None
    errors: list[str]
    hashes: list[str]


class Predictor:
    """Predicts classes of images, or computes their features, a batch at a time.

    It can be pickled, opens the model when it is first needed in a process, and takes and gives batches as
    `ray.data.Dataset.map_batches` does.

    weights: a run folder or a weights file, as for `hvit predict` and `hvit embed`. output: "classes" or "features".
    top_k: number of classes of an image. level: of features, as for `hvit embed`. device: "auto", "cpu", "cuda", "mps".
    column: the column of the images; default: the first that there is of bytes, image, path, file, item. threads: in
    which images are read; default: one a core.
    """

    def __init__(
        self,
        weights: str | Path,
        output: Literal["classes", "features"] = "classes",
        top_k: int = 5,
        level: int | None = None,
        device: str = "auto",
        column: str = "",
        threads: int | None = None,
    ) -> None:
        if output not in ("classes", "features"):
            raise UserError(f"output must be classes or features, not {output!r}")
        self.weights, self.output, self.top_k, self.level = str(weights), output, top_k, level
        self.device, self.column = device, column
        self.threads = threads or os.cpu_count() or 1
        self._opened: Classifier | Embedder | None = None
        self._dim = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def open(self) -> Classifier | Embedder:
        """The model, which is opened once in a process. Raises UserError as the verbs do, and for models of clips."""
        if self._opened is None:
            path = Path(self.weights)
            if self.output == "features":
                self._opened = open_embedder(self.weights, self.device, self.level)
            elif folds.is_cross_validation(path):
                self._opened = open_ensemble(folds.members_of(path), self.device)
            else:
                self._opened = open_classifier(path, self.device)
            if self._opened.preprocess.takes_clips:
                raise UserError(f"{self.weights} takes clips, and these are images")
        return self._opened

    def fingerprint(self) -> str:
        """A checksum of the weights, of how images are prepared for them, and of what is answered."""
        opened = self.open()
        models = [opened, *(opened.others if isinstance(opened, Classifier) else ())]
        parts = [fingerprint(one.model, one.preprocess) for one in models]
        return hashlib.sha256("/".join([*parts, self.output, str(self.top_k), str(self.level)]).encode()).hexdigest()

    @property
    def columns(self) -> dict[str, Kind]:
        """The names of all columns of the answers, and what they hold; "error" is empty where there is an answer."""
        opened = self.open()
        if isinstance(opened, Embedder):
            return {ERROR: "text", "sha256": "text", "features": "vector"}
        found: dict[str, Kind] = {ERROR: "text"}
        count = opened.model.config.num_classes
        if opened.labels.kind == "regression":
            found.update((_free(opened.name(index)), "number") for index in range(count))
            return found
        for rank in range(1, min(self.top_k, count) + 1):
            found[f"class_{rank}"], found[f"probability_{rank}"] = "text", "number"
        if opened.labels.kind == "multi":
            found["labels"] = "text"
        for level in opened.labels.levels:
            found[f"level_{level.name}"], found[f"level_{level.name}_probability"] = "text", "number"
        if opened.confidence.unsure_below is not None and not opened.others:
            found["unsure"] = "flag"
        if opened.training is not None and opened.prepared is None and not opened.others:
            found["distance"] = found["outlier"] = "number"
        return found

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        opened = self.open()
        assert isinstance(opened, Embedder)
        if not self._dim:
            shape = (1, len(opened.preprocess.mean), *opened.preprocess.input_size)
            self._dim = opened.features(torch.zeros(shape)).shape[1]
        return self._dim

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The answers of a batch, with the columns of the batch but images themselves.

        batch: arrays by the names of their columns; the images are paths (text), contents of files (bytes), or arrays
        (height, width, channels). Returns a column for each of `columns`; of an image that cannot be read "error" is a
        sentence, texts are empty, and numbers are NaN.
        """
        column = self.column or next((name for name in IMAGE_COLUMNS if name in batch), "")
        if column not in batch:
            raise UserError(
                f"a batch needs a column of images ({', '.join(IMAGE_COLUMNS)}, or the one that Predictor is told); it "
                f"has {', '.join(map(str, batch))}"
            )
        items = list(batch[column])
        rest = {name: values for name, values in batch.items() if name != column or _are_names(items)}
        names = next((list(map(str, batch[name])) for name in ("path", "file") if name in batch), None)
        return {**rest, **self.answer(self.read(items, names))}

    def read(self, items: Sequence[object], names: Sequence[str] | None = None) -> Read:
        """Reads images in threads. names: what to call those that are no files."""
        opened = self.open()
        rows = _Items(items, names or [f"image {number}" for number in range(len(items))])
        with ThreadPoolExecutor(min(self.threads, max(1, len(items)))) as pool:
            found = list(pool.map(lambda number: self._read(opened.preprocess, rows, number), range(len(items))))
        inputs = [one for one, _, _ in found if one is not None]
        errors, hashes = [error for _, error, _ in found], [content for _, _, content in found]
        return Read(torch.stack(inputs) if inputs else None, errors, hashes)

    def _read(self, preprocess: Preprocess, rows: _Items, number: int) -> tuple[torch.Tensor | None, str, str]:
        item = rows.items[number]
        is_file = isinstance(item, str | Path)
        source = (
            Path(os.fsdecode(item)) if is_file else item if isinstance(item, HeldImage) else HeldImage(rows, number)
        )
        try:
            image = read_image(source, len(preprocess.mean), preprocess.grey_range, preprocess.page)
            content = _content_hash(source) if self.output == "features" else ""
            return preprocess.tensor(image), "", content
        except UserError as error:
            return None, str(error), ""

    def answer(self, read: Read) -> dict[str, np.ndarray]:
        """The answers to images that were read, a column each (see `columns`)."""
        opened, count = self.open(), len(read.errors)
        kinds = self.columns
        found = {name: _empty(kind, count) for name, kind in kinds.items() if kind != "vector"}
        found[ERROR][:] = read.errors
        places = [place for place, error in enumerate(read.errors) if not error]
        if isinstance(opened, Embedder):
            found["sha256"][:] = read.hashes
            features = np.full((count, self.dim), np.nan, np.float32)
            if read.inputs is not None:
                features[places] = opened.features(read.inputs)
            return {**found, "features": features}
        if read.inputs is None:
            return found
        with torch.inference_mode():
            answers, features = opened.look(read.inputs.to(opened.device))
        for place, answer, remark in zip(places, answers, opened.remarks(answers, features), strict=True):
            for name, value in flat({**answer_of(opened, answer, self.top_k), **remark}).items():
                column = name if name in found else _free(name)
                if column in found:
                    found[column][place] = value
        return found


class _Items(Rows):
    """Images as a batch holds them."""

    def __init__(self, items: Sequence[object], names: Sequence[str]) -> None:
        self.items, self.names = items, names

    def __len__(self) -> int:
        return len(self.items)

    def value(self, number: int) -> object:
        item = self.items[number]
        return bytes(item) if isinstance(item, bytearray | memoryview) else item

    def name(self, number: int) -> str:
        return self.names[number]


def _are_names(items: Sequence[object]) -> bool:
    return all(isinstance(item, str | Path) for item in items)


def _free(name: str) -> str:
    """The name of a number of a model, as a column that is no other."""
    return f"{name}_value" if name in (ERROR, "file", "index", *IMAGE_COLUMNS) else name


def _empty(kind: Kind, count: int) -> np.ndarray:
    if kind == "text":
        return np.full(count, "", object)
    return np.zeros(count, bool) if kind == "flag" else np.full(count, np.nan, np.float32)


def _content_hash(source: Path | HeldImage) -> str:
    if isinstance(source, HeldImage):
        return hashlib.sha256(source.content()).hexdigest()
    return file_hash(source)
