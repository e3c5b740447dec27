"""Claims about removing blocks of one image: the model's own answers, block Shapley's values, and nothing twice."""

from __future__ import annotations

import pytest
import torch

from hvit.errors import UserError
from hvit.explain import block_shapley
from hvit.explain.methods.hidden_blocks import HiddenBlocks
from tests.explain.methods.test_block_shapley import Products, random_images, randomised

EVERY = [(row, column) for row in range(4) for column in range(4)]


@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_32"])
def test_nothing_hidden_is_the_image_and_everything_hidden_its_baseline(name: str) -> None:
    model, image = randomised(name), random_images(1)[0]
    blocks = HiddenBlocks(model, image)
    assert blocks.side == 4
    with torch.inference_mode():
        whole, blank = model(image[None])[0], model(blocks.baseline[None])[0]
    assert torch.allclose(blocks.logits(), whole, atol=1e-5)
    assert torch.allclose(blocks.logits(EVERY), blank, atol=1e-5)


def test_a_hidden_block_is_the_part_of_the_image_at_its_row_and_column() -> None:
    image, seen = random_images(1)[0], []

    def model(images: torch.Tensor) -> torch.Tensor:
        seen.extend(images.clone())
        return images.flatten(1)[:, :3]

    blocks = HiddenBlocks(model, image)
    blocks.logits([(1, 2), (3, 0)])
    hidden = torch.zeros(32, 32, dtype=torch.bool)
    hidden[8:16, 16:24] = hidden[24:32, 0:8] = True
    assert torch.equal(seen[-1], torch.where(hidden, blocks.baseline, image))


def test_the_values_are_block_shapleys_and_the_next_class_computes_nothing_new() -> None:
    model, image, spent = randomised("nest_micro_32"), random_images(1)[0], []
    blocks = HiddenBlocks(model, image, temperature=1.5)
    for index in (3, 1):
        (expected,) = block_shapley(model, image, index, temperature=1.5)[0]
        (tree,) = blocks.trees([index], spent.append)
        assert all((one == other).all() for one, other in zip(tree.values, expected.values, strict=True))
        assert tree.removal == expected.removal
    before = len(spent)
    blocks.trees([2], spent.append)
    assert len(spent) == before


def test_work_that_was_stopped_goes_on_where_it_was() -> None:
    blocks = HiddenBlocks(Products(), random_images(1, 1, 16)[0], budget=44)

    def stop(passes: float) -> None:
        raise UserError("late")

    with pytest.raises(UserError, match="late"):
        blocks.trees([1], stop)
    spent: list[float] = []
    (tree,) = blocks.trees([1], spent.append)
    assert tree.removal
    assert sum(spent) < tree.removal.passes == 44


def test_questions_that_users_make_up_are_not_kept() -> None:
    blocks = HiddenBlocks(Products(), random_images(1, 1, 16)[0])
    known = len(blocks._worths.known)
    for cell in EVERY:
        blocks.logits([cell])
    assert len(blocks._worths.known) == known


def test_what_the_image_does_not_have_is_refused() -> None:
    blocks = HiddenBlocks(Products(), random_images(1, 1, 16)[0])
    with pytest.raises(UserError, match="rows and columns 0 to 3; got 4, 0"):
        blocks.logits([(4, 0)])
    with pytest.raises(UserError, match="class index 99 is out of range"):
        blocks.trees([99])
    with pytest.raises(UserError, match="not finite"):
        HiddenBlocks(lambda images: images.flatten(1)[:, :3] * float("nan"), random_images(1)[0])
