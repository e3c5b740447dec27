"""Claims about removed mask units: a coalition is what the model makes of its visible units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.explain import block_shapley, block_shapley_clips
from hvit.explain.methods.exchange import image_leaves
from hvit.explain.methods.removed_units import RemovedUnits, cost_of, leaves_touched, removes_units
from hvit.models.create import create_model
from hvit.models.layers.masking import Mask


def randomised(name: str, **fields: Any) -> Any:
    model = create_model(name, num_classes=5, **fields).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def images(count: int, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_coalition_is_what_the_model_makes_of_its_visible_units() -> None:
    model, own = randomised("hiera_micro_32"), images(2)
    removal = RemovedUnits(model, model, image_leaves((32, 32), 1), own, torch.zeros_like(own))
    quadrants = [(slice(row, row + 2), slice(column, column + 2)) for row in (0, 2) for column in (0, 2)]
    for image, coalition in ((0, 0b0001), (1, 0b1010), (0, 0b0111), (1, 0b1111)):
        visible = torch.zeros(1, 4, 4, dtype=torch.bool)
        for number, (rows, columns) in enumerate(quadrants):
            visible[0, rows, columns] = bool(coalition >> number & 1)
        expected = model.classify(model.levels(own[image : image + 1], Mask(visible))[-1])[0]
        assert removal.logits([(image, coalition)])[0] == pytest.approx(expected, abs=1e-5)
    assert removal.logits([(1, 0b1111)])[0] == pytest.approx(model(own)[1], abs=1e-5)
    alone = torch.eye(16, dtype=torch.bool).view(16, 4, 4)
    units = model.classify(model.levels(torch.zeros(16, 3, 32, 32), Mask(alone))[-1])
    assert removal.empty[1] == pytest.approx(units.mean(0), abs=1e-5)


def test_removed_content_has_no_effect_at_all() -> None:
    model, own = randomised("hiera_micro_32"), images(1)
    other = own.clone()
    other[..., 16:, :] = 7.0
    removals = [
        RemovedUnits(model, model, image_leaves((32, 32), 1), one, torch.zeros_like(one)) for one in (own, other)
    ]
    first, second = (removal.logits([(0, 0b0011), (0, 0b0001)]) for removal in removals)
    assert torch.equal(first, second)


def test_units_that_a_border_cuts_stay_visible_with_the_baselines_pixels_in_the_absent_part() -> None:
    model: Any = randomised("hiera_micro_32", input_size=(24, 24))  # three by three units
    touched = leaves_touched(model, image_leaves((24, 24), 1))
    assert touched.shape == (3, 3, 4)
    assert touched.sum(-1).tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert cost_of(model, image_leaves((24, 24), 1)).each == pytest.approx(1 - (4 / 2 + 4 / 4 + 1 / 16) / 9)
    own = images(1, 24)
    (tree,) = block_shapley(model, own, 1, depth=1, absent="removed")[0]
    assert tree.removal
    assert tree.values[0].sum() == pytest.approx(tree.logit - tree.removal.before.logit, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "fields"), [("hiera_micro_32", {}), ("mvitv2_micro_32", {"unit_size": (4, 4), "positions": "absolute"})]
)
def test_values_add_up_when_units_are_removed(name: str, fields: dict[str, Any]) -> None:
    model = randomised(name, **fields)
    assert removes_units(model)
    for tree in block_shapley(model, images(1), top_k=2, absent="removed", budget=1e6)[0]:
        assert tree.removal
        assert tree.removal.absent == "removed"
        assert tree.values[0].sum() == pytest.approx(tree.logit - tree.removal.before.logit, abs=1e-4)
        parents = tree.values[1].astype(np.float64).reshape(2, 2, 2, 2).sum((1, 3))
        assert parents == pytest.approx(tree.values[0], abs=1e-4)
        assert np.abs(tree.values[0]).max() > 1e-3


def test_a_clip_of_a_hiera_has_its_units_removed_in_time_and_space() -> None:
    model = randomised("hiera_micro_16x64")
    clip = torch.randn(1, 3, 16, 64, 64, generator=torch.Generator().manual_seed(1))
    (tree,) = block_shapley_clips(model, clip, 0, segments=2, absent="removed", budget=20)[0]
    assert tree.removal.absent == "removed"
    assert tree.times.sum() == pytest.approx(tree.logit - tree.removal.before.logit, abs=1e-4)


@pytest.mark.parametrize("name", ["nest_micro_32", "mvitv2_micro_32", "resnet_micro_32"])
def test_models_that_compute_all_of_an_image_are_refused(name: str) -> None:
    model = create_model(name)
    assert not removes_units(model)
    with pytest.raises(UserError, match="blocks can be removed from a Hiera"):
        block_shapley(model, images(1), 1, absent="removed")
    with pytest.raises(UserError, match="absent must be one of exchanged, removed; got 'gone'"):
        block_shapley(model, images(1), 1, absent="gone")  # pyright: ignore[reportArgumentType]
