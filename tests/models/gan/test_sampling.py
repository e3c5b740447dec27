"""Latents follow from a seed, and labels and columns from the classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hvit.models.gan.config import GENERATOR_SIZES, build_generator
from hvit.models.gan.sampling import (
    columns_of,
    draw_latents,
    generate_images,
    interpolate,
    labels_in_order,
    to_bytes,
)

CONFIG = replace(GENERATOR_SIZES["nest_generator_digits_32"], num_classes=3)


def test_latents_are_a_function_of_the_seed_and_the_purpose() -> None:
    latents = draw_latents(CONFIG, 4, 0, "samples")
    assert latents.shape == (4, CONFIG.latent_dim)
    assert torch.equal(latents, draw_latents(CONFIG, 4, 0, "samples"))
    for other in (draw_latents(CONFIG, 4, 1, "samples"), draw_latents(CONFIG, 4, 0, "walk", 1)):
        assert not torch.equal(latents, other)


@pytest.mark.parametrize(("classes", "columns"), [(0, 8), (1, 8), (2, 2), (16, 16), (17, 8)])
def test_a_picture_has_a_column_for_each_of_a_few_classes(classes: int, columns: int) -> None:
    assert columns_of(replace(CONFIG, num_classes=classes)) == columns


def test_labels_go_through_the_classes_and_images_are_bytes_in_their_order() -> None:
    labels = labels_in_order(CONFIG, 5)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 0, 1]
    assert labels_in_order(replace(CONFIG, num_classes=0), 5) is None
    torch.manual_seed(0)
    generator = build_generator(CONFIG)
    latents = draw_latents(CONFIG, 5, 0, "samples")
    images = generate_images(generator, latents, labels)
    assert not generator.training
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    torch.testing.assert_close(images[3:4], generate_images(generator, latents[3:4], labels[3:4]), rtol=1e-4, atol=1e-5)
    assert to_bytes(images).shape == (5, 32, 32, 1)


def test_interpolation_keeps_the_length_of_latents() -> None:
    first, last = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    way = interpolate(first, last, 5)
    torch.testing.assert_close(way[[0, -1]], torch.stack([first, last]))
    torch.testing.assert_close(way.norm(dim=1), torch.full((5,), 3.0))
