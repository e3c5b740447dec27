"""A probe: an encoder whose features a head takes."""

from __future__ import annotations

import pytest
import torch

import hvit
from hvit.errors import UserError
from hvit.models.probe import ProbeConfig, head_features, set_head


def test_the_features_are_what_the_head_takes() -> None:
    torch.manual_seed(1)
    images = torch.randn(2, 3, 16, 16)
    for name, changes in {
        "nest_micro_32": {"input_size": 32},
        "hiera_micro_32": {},
        "mvitv2_micro_32": {},
        "resnet_micro_32": {},
    }.items():
        model = hvit.create_model(name, num_classes=2, **changes).eval()
        images = torch.randn(2, 3, *model.config.input_size)
        features = head_features(model, images)
        set_head(model, torch.ones(2, features.shape[1]), torch.tensor([0.0, 1.0]))
        sums = features.sum(1)
        assert torch.allclose(model(images), torch.stack([sums, sums + 1], 1), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mean": (0.5,)}, "one number for each of 3 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be above 0"),
        ({"heads": ("forest",)}, "heads must be"),
    ],
)
def test_a_probe_that_cannot_be_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ProbeConfig(**change)
