"""Features of an encoder go with one class each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.snapshots.features import encoder_features


class Means(nn.Module):
    """The mean of an image as its only feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def features(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] * self.scale


def test_images_of_several_classes_are_not_probed() -> None:
    model: Any = Means()
    splits = open_data(DigitsData(canvas=16), 0, 1)
    preprocess = Preprocess((16, 16), splits.mean, splits.std, 1.0, "bilinear")
    features, classes = encoder_features(model, splits.train, preprocess, 200)
    assert features.shape == (len(classes), 1)
    assert classes.ndim == 1
    assert not classes.is_floating_point()
    assert 0 < len(classes) < 200
    assert len(encoder_features(model, splits.held_out, preprocess, 100)[1]) == 100
