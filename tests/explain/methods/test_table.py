"""Every method that a model allows answers for it, and those that it does not allow are not offered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hvit
from hvit.errors import UserError
from hvit.explain.methods.table import MAP_METHODS, methods_for


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("nest_micro_32", {"gradcat", "cam", "gradcam", "gradcam++"}, {"rollout"}),
        ("hiera_micro_32", {"gradcat", "cam", "gradcam"}, {"rollout"}),
        ("vit_micro_32", {"gradcam", "rollout"}, set()),
        ("resnet_micro_32", {"cam", "gradcam"}, {"rollout"}),
    ],
)
def test_what_is_offered_answers_with_a_map_for_each_class(name: str, has: set[str], lacks: set[str]) -> None:
    torch.manual_seed(0)
    model = hvit.create_model(name, num_classes=3).eval()
    offered = methods_for(model)
    assert has <= set(offered)
    assert not lacks & set(offered)
    images = torch.randn(2, 3, *model.config.input_size)
    for method in set(offered) & set(MAP_METHODS):
        maps = MAP_METHODS[method](model, images, [[0, 2], [1, 2]])
        assert maps.shape[:2] == (2, 2)
        assert np.isfinite(maps).all()


def test_a_model_without_classes_has_no_methods() -> None:
    with pytest.raises(UserError):
        methods_for(hvit.create_model("mae_hiera_micro_32"))
