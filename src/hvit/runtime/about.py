"""What an exported file says about itself: its kind, its classes, and how images become its input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.errors import UserError
from hvit.labels import LabelSpec, spec_from_json

KEY = "hvit"
"""The name of the metadata of an exported file, in every format."""
FORMAT = 1
LONGEST = 10_000_000  # characters, as in weights files

Kind = Literal["classifier", "features", "generator"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True)
class About:
    """The metadata of an exported file."""

    kind: Kind
    """classifier: logits or probabilities, and perhaps feature maps; features: maps alone; generator: images."""
    name: str
    """The catalogue name of the model."""
    input_size: tuple[int, ...]
    """Height and width in pixels, of clips the frames before them; of a generator the size of its images."""
    channels: int
    """Channels of the images."""
    num_classes: int
    """How many classes there are; 0: none."""
    precision: Precision
    """What the weights were converted to."""
    inside: bool = False
    """Whether normalisation and softmax are in the graph: bytes in, probabilities out."""
    classes: tuple[str, ...] = ()
    """Names of the classes, or none."""
    preprocess: dict[str, object] | None = None
    """How images become the input, as weights files have it; none for generators."""
    temperature: float = 1.0
    """What logits are divided by before the softmax."""
    unsure_below: float | None = None
    """The highest probability below which an answer is unsure; none: it always answers."""
    labels: dict[str, object] | None = None
    """What the outputs stand for where they are not single classes, as weights files have it."""
    latent_dim: int = 0
    """Numbers of a latent, of a generator."""

    def text(self) -> str:
        """As the metadata of a file have it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, allow_nan=False)

    def preparation(self, where: str) -> Preprocess:
        """How images become its input. Raises UserError for metadata that say something impossible."""
        if self.preprocess is None:
            raise UserError(f"{where} does not say how images are prepared for it")
        return stored_preprocess(self.preprocess, self.input_size, where)

    def spec(self, where: str) -> LabelSpec:
        """What the outputs stand for. Raises UserError for metadata that say something impossible."""
        return spec_from_json(self.labels, self.classes, self.num_classes, where)

    def name_of(self, index: int) -> str:
        """The name of a class, or its number where there are no names."""
        return self.classes[index] if self.classes else f"class {index}"


def read_about(text: str | None, where: str) -> About:
    """What the metadata of a file say. where: the file, for the error.

    Raises UserError where there are none, and for anything that `About.text` does not write.
    """
    if text is None:
        raise UserError(f"{where} was not written by `hvit export`: it does not say its classes and preprocessing")
    try:
        stored = json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise UserError(f"{where} is damaged: its metadata cannot be read")
    if stored.pop("format", None) != FORMAT:
        raise UserError(f"{where} is of another version of hvit: this one reads format {FORMAT}")
    if set(stored) != {field.name for field in fields(About)} or not _fits(stored):
        raise UserError(f"{where} is damaged: its metadata are not those of an exported model")
    size, classes = tuple(stored.pop("input_size")), tuple(stored.pop("classes"))
    return About(input_size=size, classes=classes, **stored)


def _fits(stored: Mapping[str, object]) -> bool:
    classes, size = stored["classes"], stored["input_size"]
    below, temperature = stored["unsure_below"], stored["temperature"]
    counts = [stored["channels"], stored["num_classes"], stored["latent_dim"]]
    return (
        stored["kind"] in ("classifier", "features", "generator")
        and stored["precision"] in ("float32", "float16", "bfloat16", "int8")
        and isinstance(stored["name"], str)
        and isinstance(stored["inside"], bool)
        and isinstance(stored["preprocess"], dict | None)
        and isinstance(stored["labels"], dict | None)
        and isinstance(size, list)
        and len(size) in (2, 3)
        and all(type(one) is int and 0 <= one <= 2**20 for one in (*size, *counts))
        and isinstance(classes, list)
        and all(isinstance(one, str) for one in classes)
        and len(classes) in (0, stored["num_classes"])
        and _is_number(temperature)
        and temperature > 0  # pyright: ignore[reportOperatorIssue]
        and (below is None or _is_number(below))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
