"""What masked autoencoders predict: patches of pixels, and histograms of gradients."""

from __future__ import annotations

import torch

from hvit.models.masked.targets import histograms, normalise_patches, patches_to_images, pixel_patches


def test_patches_are_cut_and_laid_back() -> None:
    images, clips = torch.randn(2, 3, 16, 24), torch.randn(2, 3, 4, 16, 24)
    assert torch.equal(patches_to_images(pixel_patches(images, (8, 8)), (8, 8), 3), images)
    assert torch.equal(patches_to_images(pixel_patches(clips, (2, 8, 8)), (2, 8, 8), 3), clips[:, :, ::2])
    patches, mean, deviation = normalise_patches(pixel_patches(images, (8, 8)))
    torch.testing.assert_close(patches * deviation + mean, pixel_patches(images, (8, 8)))
    torch.testing.assert_close(patches.std(-1), torch.ones(2, 2, 3), rtol=1e-4, atol=1e-4)


def test_histograms_show_the_direction_of_an_edge() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1.0  # one vertical edge: every gradient points across
    cells = histograms(image, (16, 16))[0, 0, 0].view(9, 2, 2)
    assert (cells > 0).sum(0).tolist() == [[1, 1], [1, 1]]
    turned = histograms(image.transpose(2, 3), (16, 16))[0, 0, 0].view(9, 2, 2)
    assert not torch.equal(cells.argmax(0), turned.argmax(0))
    torch.testing.assert_close(cells.square().sum(0), torch.ones(2, 2))
    clip = histograms(torch.randn(2, 3, 4, 32, 32), (2, 16, 16))
    assert clip.shape == (2, 2, 2, 2, 3 * 9 * 4)
