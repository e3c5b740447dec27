"""Tensors take the shape of a model where an input size, colours or a time axis differ, and no other."""

from __future__ import annotations

from typing import Any

import torch

from hvit.models.create import create_model
from hvit.models.weights.adapt import adapt, has_other_classes, head_names, inflate, is_finite, same_kind


def test_kernels_of_colour_are_summed_for_grey_and_shared_out_for_colour() -> None:
    model: Any = create_model("nest_micro_32")
    colour = torch.rand(4, 3, 2, 2)
    grey = adapt(model, "patch_embed.weight", colour, (4, 1, 2, 2), "plane")
    assert grey is not None
    assert torch.equal(grey, colour.sum(1, keepdim=True))
    back = adapt(model, "patch_embed.weight", grey, (4, 3, 2, 2), "plane")
    assert back is not None
    assert torch.allclose(back.sum(1, keepdim=True), grey)
    assert adapt(model, "head.weight", torch.rand(3, 4), (3, 5), "plane") is None


def test_a_kernel_is_shared_out_over_the_frames() -> None:
    image, clip = torch.rand(4, 3, 7, 7), torch.empty(4, 3, 2, 7, 7)
    wanted = {"patch_embed.weight": clip, "temporal_positions": torch.ones(1, 2, 4)}
    made = inflate({"patch_embed.weight": image}, wanted)
    assert torch.allclose(made["patch_embed.weight"].sum(2), image)
    assert not made["temporal_positions"].any()
    assert inflate({"patch_embed.weight": image}, {"patch_embed.weight": image}) == {}


def test_a_head_differs_in_its_classes_only() -> None:
    model: Any = create_model("nest_micro_32")
    assert head_names(model, model.state_dict()) == {"head.weight", "head.bias"}
    assert has_other_classes(torch.ones(3, 4), torch.ones(5, 4))
    assert not has_other_classes(torch.ones(3, 4), torch.ones(3, 5))


def test_numbers_are_finite_and_of_one_kind() -> None:
    assert is_finite(torch.full((4,), 1e38))
    assert not is_finite(torch.tensor([1.0, float("nan")]))
    assert same_kind(torch.ones(1), torch.ones(1, dtype=torch.float64))
    assert not same_kind(torch.ones(1), torch.ones(1, dtype=torch.long))
