"""The path from MViTv2 to Hiera: every step is what its row of the paper's table says, and the last one is Hiera."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.build import build_empty, count_parameters
from hvit.models.catalogue import entry
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.hiera.model import Hiera
from hvit.models.layers.masking import Mask, zero_masked
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig
from hvit.models.mvit.model import Mvit
from hvit.models.mvit.simplification import SIMPLIFIED, STEPS, simplify
from hvit.models.weights.load import load_weights

IMAGE = replace(
    SIMPLIFIED["mvitv2_micro_64_step_0"], dims=(8, 16, 32, 64), heads=(1, 2, 4, 8), depths=(1, 2, 2, 1), num_classes=5
)  # fmt: skip
CLIP = replace(
    SIMPLIFIED["mvitv2_micro_16x64_step_0"], input_size=(4, 64, 64), dims=IMAGE.dims, heads=IMAGE.heads,
    depths=IMAGE.depths, num_classes=5,
)  # fmt: skip
STARTS = pytest.mark.parametrize("start", [IMAGE, CLIP], ids=["image", "clip"])


def shaken(model: Any, seed: int = 0) -> Any:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * 0.2)
    return model.eval()


def some_images(config: Any, count: int = 2) -> Tensor:
    return torch.randn(count, 3, *config.input_size, generator=torch.Generator().manual_seed(1))


def some_visible(config: MvitConfig, count: int = 2) -> Tensor:
    """Half of the mask units, others in every sample."""
    draws = torch.rand(count, torch.Size(config.unit_grid).numel(), generator=torch.Generator().manual_seed(2))
    return (draws.argsort(1).argsort(1) < draws.shape[1] // 2).view(count, *config.unit_grid)


def hiera_like(start: MvitConfig) -> Hiera:
    rank = len(start.input_size)
    return Hiera(
        replace(
            HIERA_SIZES["hiera_tiny_224" if rank == 2 else "hiera_base_16x224"], input_size=start.input_size,
            num_classes=5, dims=start.dims, heads=start.heads, depths=start.depths, drop_path=0.0,
        )
    )  # fmt: skip


def test_step_0_is_mvitv2() -> None:
    assert SIMPLIFIED["mvitv2_base_224_step_0"] == MVIT_SIZES["mvitv2_base_224"]
    # The released large model widens in the MLP; the path starts from the form that widens in attention.
    released = MVIT_SIZES["mvitv2_large_224"]
    assert SIMPLIFIED["mvitv2_large_224_step_0"] == replace(released, expansion="attention")


@STARTS
def test_step_f_is_hiera_with_the_same_weights(start: MvitConfig) -> None:
    ours = shaken(Mvit(simplify(start, "f")))
    hiera = hiera_like(start).eval()
    hiera.load_state_dict(ours.state_dict())
    images = some_images(start)
    torch.testing.assert_close(hiera(images), ours(images), rtol=1e-5, atol=1e-5)
    for grid, other in zip(hiera.levels(images), ours.levels(images), strict=True):
        torch.testing.assert_close(grid, other, rtol=1e-5, atol=1e-5)


@STARTS
def test_step_f_leaves_units_out_as_hiera_does(start: MvitConfig) -> None:
    ours = shaken(Mvit(simplify(start, "f")))
    hiera = hiera_like(start).eval()
    hiera.load_state_dict(ours.state_dict())
    images, visible = some_images(start), some_visible(ours.config)
    for grid, other in zip(hiera.levels(images, Mask(visible)), ours.levels(images, Mask(visible)), strict=True):
        torch.testing.assert_close(grid, other, rtol=1e-5, atol=1e-5)


@STARTS
def test_steps_b_to_f_share_one_state_dict_and_give_different_answers(start: MvitConfig) -> None:
    first = shaken(Mvit(simplify(start, "b")))
    images = some_images(start)
    answers = []
    for step in STEPS[2:]:
        model = Mvit(simplify(start, step)).eval()
        model.load_state_dict(first.state_dict())
        answers.append(model(images))
    for one, other in pairwise(answers):
        assert (one - other).abs().max() > 1e-3


def test_the_large_path_has_the_parameters_of_hiera_large() -> None:
    counts = {step: count_parameters(build_empty(SIMPLIFIED[f"mvitv2_large_224_step_{step}"])) for step in STEPS}
    assert counts["0"] == 213_635_368
    assert counts["a"] == 213_853_960
    assert {counts[step] for step in "bcdef"} == {213_739_912}
    assert count_parameters(build_empty(entry("hiera_large_224").config)) == 213_739_912


@STARTS
def test_every_step_changes_what_its_row_says_and_nothing_else(start: MvitConfig) -> None:
    changes = {
        "a": {"positions", "unit_size", "max_padding", "norm_after_mean"},
        "b": {"pool"},
        "c": {"query_pooling", "key_pooling"},
        "d": {"pool_kernel", "max_padding"},
        "e": {"query_residual"},
        "f": {"key_stride", "unit_attention"},
    }
    before = simplify(start, "0")
    for step, expected in changes.items():
        after = simplify(start, step)  # pyright: ignore[reportArgumentType]
        changed = {field.name for field in fields(after) if getattr(before, field.name) != getattr(after, field.name)}
        assert changed == expected
        before = after


@STARTS
@pytest.mark.parametrize("step", STEPS[1:])
def test_all_units_visible_is_the_dense_model(step: Any, start: MvitConfig) -> None:
    model = shaken(Mvit(simplify(start, step)))
    images = some_images(start)
    visible = torch.ones(2, *model.config.unit_grid, dtype=torch.bool)
    sparse = model.levels(images, Mask(visible))
    torch.testing.assert_close(model.classify(sparse[-1]), model(images), rtol=1e-5, atol=1e-5)


@STARTS
@pytest.mark.parametrize("step", STEPS[1:])
def test_what_is_under_masked_units_reaches_nothing(step: Any, start: MvitConfig) -> None:
    model = shaken(Mvit(simplify(start, step)))
    images, visible = some_images(start), some_visible(model.config)
    other = zero_masked(images, visible) + zero_masked(torch.randn_like(images) * 10, ~visible)
    for grid, same in zip(model.levels(images, Mask(visible)), model.levels(other, Mask(visible)), strict=True):
        torch.testing.assert_close(grid, same, rtol=0, atol=0)


@STARTS
def test_from_d_on_no_pooling_window_crosses_a_unit(start: MvitConfig) -> None:
    images = some_images(start)
    for step, isolated in (("c", False), ("d", True), ("e", True)):
        config = simplify(start, step)  # pyright: ignore[reportArgumentType]
        model = shaken(Mvit(config))
        whole = Mvit(replace(config, unit_size=None)).eval()
        whole.load_state_dict(model.state_dict())
        difference = (model(images) - whole(images)).abs().max()
        assert (difference < 1e-5) == isolated, step


@STARTS
def test_masked_equals_dense_on_the_visible_units_while_attention_stays_inside_them(start: MvitConfig) -> None:
    model = shaken(Mvit(simplify(start, "f")))
    images, visible = some_images(start), some_visible(model.config)
    sparse = model.levels(images, Mask(visible))
    dense = model.levels(zero_masked(images, visible))
    for level in (0, 1):
        side = sparse[level].shape[2:-1]
        unit_grid = model.config.unit_grid
        cut = [
            dense[level][(row, *(slice(i * n, (i + 1) * n) for i, n in zip(place, side, strict=True)))]
            for row in range(2)
            for place in visible[row].nonzero().tolist()
        ]
        assert visible.shape[1:] == unit_grid
        torch.testing.assert_close(sparse[level].flatten(0, 1), torch.stack(cut), rtol=1e-5, atol=1e-5)
    # From the third level on attention is global, and masked units are part of what the dense model attends to.
    assert not torch.allclose(model.classify(sparse[-1]), model.classify(dense[-1]), atol=1e-3)


def test_weights_of_a_step_are_loaded_into_hiera() -> None:
    source = shaken(Mvit(simplify(IMAGE, "f")))
    hiera = hiera_like(IMAGE).eval()
    report = load_weights(hiera, source.state_dict())
    assert report.format == "hvit"
    assert not report.dropped
    torch.testing.assert_close(hiera(some_images(IMAGE)), source(some_images(IMAGE)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("visible", "words"),
    [
        (torch.ones(2, 2, 2), "bool tensor of shape"),
        (torch.ones(1, 2, 2, dtype=torch.bool), "bool tensor of shape"),
        (torch.zeros(2, 2, 2, dtype=torch.bool), "at least one"),
        (torch.tensor([[[1, 0], [0, 0]], [[1, 1], [0, 0]]]).bool(), "same number"),
    ],
)
def test_a_wrong_mask_is_refused(visible: Tensor, words: str) -> None:
    for model in (Mvit(simplify(IMAGE, "d")), hiera_like(IMAGE)):
        with pytest.raises(UserError, match=words):
            model.levels(some_images(IMAGE), Mask(visible))


def test_only_mvitv2_starts_the_path() -> None:
    with pytest.raises(UserError, match="starts from an MViTv2"):
        simplify(MVIT_SIZES["mvit_base_224"], "a")
    with pytest.raises(UserError, match="0, a, b, c, d, e, f"):
        simplify(IMAGE, "g")  # pyright: ignore[reportArgumentType]
