"""Claims about what stands in the place of removed blocks."""

from __future__ import annotations

import pytest
import torch

from hvit.errors import UserError
from hvit.explain.methods.baseline_images import Baseline, baseline_images, mean_image, name_of

IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("baseline", ["blur", "mean", "zeros"])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[:, :, None].expand(-1, -1, 4, -1, -1)])
def test_a_baseline_has_the_shape_of_the_images(baseline: Baseline, images: torch.Tensor) -> None:
    assert baseline_images(images, baseline).shape == images.shape


def test_the_mean_is_each_images_own_colour_and_the_blur_keeps_a_plain_image() -> None:
    assert torch.allclose(baseline_images(IMAGES, "mean")[1, 2], IMAGES[1, 2].mean())
    plain = torch.full((1, 1, 8, 8), 0.7)
    assert torch.allclose(baseline_images(plain, "blur"), plain, atol=1e-6)
    blurred = baseline_images(IMAGES, "blur")
    assert blurred.std() < 0.3 * IMAGES.std()


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (3, 16, 24), (2, 3, 16, 24)])
def test_an_image_of_your_own_may_have_any_shape_that_fits(shape: tuple[int, ...]) -> None:
    own = torch.rand(shape)
    made = baseline_images(IMAGES, own)
    assert made.shape == IMAGES.shape
    last = own[-1] if len(shape) == 4 else own
    last = last[:, None, None] if len(shape) == 1 else last
    assert torch.equal(made[-1], last.expand(3, 16, 24))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"must be \(channels, height, width\)"):
        baseline_images(IMAGES, torch.zeros(16, 24))
    with pytest.raises(UserError, match="floating-point"):
        baseline_images(IMAGES, torch.zeros(3, dtype=torch.int64))


def test_the_mean_of_a_data_set_is_a_baseline_with_a_name() -> None:
    mean = mean_image(iter(IMAGES), "the mean photo")
    assert torch.allclose(baseline_images(IMAGES, mean), IMAGES.mean(0).expand_as(IMAGES), atol=1e-6)
    assert name_of(mean) == "the mean photo"
    with pytest.raises(UserError, match="no mean of no images"):
        mean_image([])
    with pytest.raises(UserError, match=r"one shape; got \(3, 2, 2\) and \(3, 2, 4\)"):
        mean_image([torch.zeros(3, 2, 2), torch.zeros(3, 2, 4)])
