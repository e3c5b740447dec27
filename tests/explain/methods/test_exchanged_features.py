"""Claims about a NesT's exchanged features: where they are, what they cost, and that parts add up to the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvit.explain.methods.exchanged_features import ExchangedFeatures, cost_of, local_level
from hvit.models.build import count_multiply_adds, multiply_adds
from hvit.models.create import create_model
from hvit.models.nest.model import Nest

QUESTIONS = [(0, 0b0000), (0, 0b0110), (1, 0b1011), (1, 0b1111)]


def nest(**fields: Any) -> Nest:
    torch.manual_seed(0)
    model = create_model("nest_micro_32", num_classes=5, **fields).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model  # pyright: ignore[reportReturnType]


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_a_nest_exchanges_features_where_blocks_are_whole_and_other_models_none() -> None:
    assert [local_level(nest(), depth) for depth in (1, 2, 3)] == [1, 0, None]
    assert local_level(create_model("hiera_micro_32"), 1) is None
    assert local_level(torch.nn.Linear(1, 1), 1) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"aggregation": "conv5_norm_max3"},
        {"aggregation": "conv1_norm_max3"},
        {"aggregation": "strided_conv3"},
        {"aggregation": "merge2"},
        {"aggregation_plane": "parent"},
    ],
)
@pytest.mark.parametrize("level", [0, 1])
@torch.no_grad()
def test_a_coalition_is_the_levels_above_on_the_mixed_map(fields: dict[str, Any], level: int) -> None:
    model, own, blank = nest(**fields), images(), torch.zeros(2, 3, 32, 32)
    exchange = ExchangedFeatures(model, level, own, blank)
    maps = torch.stack([model.levels(blank)[level], model.levels(own)[level]])
    questions = QUESTIONS if level else [(image, 0xA5C3 * coalition % 2**16) for image, coalition in QUESTIONS]
    for (image, coalition), logits in zip(questions, exchange.logits(questions), strict=True):
        present = torch.tensor([coalition >> leaf & 1 for leaf in range(4 ** (2 - level))])[exchange.leaf_map]
        mixed = torch.where(present.bool()[..., None], maps[1, image], maps[0, image])
        expected = model.classify(model.levels_from(level, mixed[None])[-1])[0]
        assert logits == pytest.approx(expected, abs=1e-4)
    assert torch.equal(exchange.full, model(own))
    assert torch.equal(exchange.empty, model(blank))


def test_a_layer_that_adapters_may_have_changed_is_called_and_not_taken_apart() -> None:
    model = nest()
    assert isinstance(model.convolution_of(1), nn.Conv2d)
    assert model.convolution_of(0) is None
    convolution = model.convolution_of(2)
    assert convolution is not None
    handle = convolution.register_forward_hook(lambda *given: 2 * given[-1])
    assert model.convolution_of(2) is None
    handle.remove()
    assert model.convolution_of(2) is convolution


def counted(run: Callable[[], object]) -> int:
    return count_multiply_adds(run)


def test_the_counted_cost_is_what_runs_and_a_published_nest_takes_ten_passes_for_its_quadrants() -> None:
    tiny: Any = create_model("nest_tiny_224", num_classes=5)
    cost = cost_of(tiny, 1)
    assert cost.fixed + 14 * cost.each < 10
    small = nest()
    whole = multiply_adds(small.config)
    for level in (0, 1):
        cost, made = cost_of(small, level), []
        fixed = counted(lambda level=level, made=made: made.append(ExchangedFeatures(small, level, *images().split(1))))
        each = counted(lambda made=made: made[0].logits([(0, 1), (0, 2), (0, 3)])) / 3
        assert (fixed / whole, each / whole) == pytest.approx((cost.fixed, cost.each), rel=1e-6)
