"""Erased blocks are sixteenths with the image's mean colour: one to eight of them, as often as asked."""

from __future__ import annotations

import pytest
import torch

from hvit.data.block_erasing import MOST, NUMBERS, erase_blocks, erased_blocks


def test_every_number_of_blocks_and_every_block_is_replaced_equally_often() -> None:
    numbers = torch.rand(8000, NUMBERS, generator=torch.Generator().manual_seed(0))
    blocks = erased_blocks(numbers, 0.25)
    counts = blocks.flatten(1).sum(1).bincount(minlength=MOST + 1)
    assert len(counts) == MOST + 1 == 9
    assert counts[0].item() / 8000 == pytest.approx(0.75, abs=0.02)
    assert (counts[1:] / 8000 - 0.25 / 8).abs().max() < 0.01
    assert (blocks.float().mean(0) - 0.25 * 4.5 / 16).abs().max() < 0.01
    assert not erased_blocks(numbers, 0.0).any()


@pytest.mark.parametrize("shape", [(3, 18, 22), (3, 4, 18, 22)])
def test_a_block_takes_the_mean_of_its_own_image_in_all_frames(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    blocks = torch.zeros(2, 4, 4, dtype=torch.bool)
    blocks[0, 1, 3] = True
    erased = erase_blocks(inputs, blocks)
    assert torch.equal(erased[1], inputs[1])
    inside = torch.zeros(18, 22, dtype=torch.bool)
    inside[5:9, 17:] = True
    assert torch.equal(erased[0][..., ~inside], inputs[0][..., ~inside])
    mean = inputs[0].flatten(1).mean(1)
    assert torch.allclose(erased[0][..., inside], mean.view(3, *(1,) * (len(shape) - 2)).expand(3, *shape[1:-2], 20))
