"""A classifier that the app serves, and photos to drop into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hvit
from hvit.app.state import Images, Limits
from hvit.data.preprocess import Preprocess
from hvit.tasks.confidence import Confidence
from hvit.verbs.classifier import Classifier


def photo(seed: int = 0, size: tuple[int, int] = (48, 40), kind: str = "PNG") -> bytes:
    """The content of an image file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    torch.manual_seed(0)
    model = hvit.create_model("nest_micro_32", num_classes=12).eval()
    with torch.no_grad():
        model.head.weight.normal_(0, 0.6)
    names = (*(f"class_{number}" for number in range(11)), "<b>bold</b>")
    preprocess = Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3, 1.0, "bilinear")
    return Classifier(
        model, names, preprocess, torch.device("cpu"), confidence=Confidence(temperature=2.0, unsure_below=1.1)
    )


@pytest.fixture
def make_images(classifier: Classifier) -> Callable[..., Images]:
    """Makes what the app keeps, of the classifier with other fields, within limits."""

    def make(limits: Limits | None = None, **fields: Any) -> Images:
        return Images(replace(classifier, **fields), limits=limits)

    return make
