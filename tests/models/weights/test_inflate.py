"""A model of clips starts from the weights of a model of images."""

from __future__ import annotations

import pytest
import torch

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.weights.load import load_weights


@pytest.mark.parametrize(
    ("image", "clip"), [("hiera_micro_64", "hiera_micro_16x64"), ("mvitv2_micro_64", "mvitv2_micro_16x64")]
)
def test_a_clip_that_stands_still_is_embedded_as_the_image_it_shows(image: str, clip: str) -> None:
    torch.manual_seed(0)
    source, target = create_model(image), create_model(clip)
    report = load_weights(target, source.state_dict())
    assert "kernels are shared out over the frames" in str(report)
    assert not report.missing
    assert report.resized["patch_embed.weight"] == ((32, 3, 7, 7), (32, 3, 3, 7, 7))
    images = torch.randn(2, 3, 64, 64)
    still = images[:, :, None].expand(-1, -1, 16, -1, -1)
    expected, found = source.patch_embed(images), target.patch_embed(still)
    # The first place in time looks beyond the beginning of the clip.
    torch.testing.assert_close(found[:, :, 1:], expected[:, :, None].expand(-1, -1, 7, -1, -1), rtol=1e-5, atol=1e-5)
    for name, tensor in target.state_dict().items():
        if "temporal_positions" in name or "relative_time" in name:
            assert not tensor.any()
        elif tensor.shape == source.state_dict()[name].shape:
            assert torch.equal(tensor, source.state_dict()[name])
        else:
            torch.testing.assert_close(tensor.sum(2), source.state_dict()[name])


def test_colours_are_summed_for_grey_clips() -> None:
    source, target = create_model("hiera_micro_64"), create_model("hiera_micro_16x64", in_channels=1)
    load_weights(target, source.state_dict())
    torch.testing.assert_close(target.patch_embed.weight.sum((1, 2)), source.patch_embed.weight.sum(1))


def test_a_model_of_images_does_not_take_the_weights_of_clips() -> None:
    with pytest.raises(UserError, match="patch_embed"):
        load_weights(create_model("hiera_micro_64"), create_model("hiera_micro_16x64").state_dict())


def test_positions_in_time_are_interpolated_for_other_numbers_of_frames() -> None:
    source, target = create_model("hiera_micro_16x64"), create_model("hiera_micro_16x64", input_size=(8, 64, 64))
    with torch.no_grad():
        source.temporal_positions.copy_(torch.arange(8.0)[None, :, None].expand(1, 8, 32))
    report = load_weights(target, source.state_dict())
    assert report.resized["temporal_positions"] == ((1, 8, 32), (1, 4, 32))
    assert (target.temporal_positions.diff(dim=1) > 0).all()
