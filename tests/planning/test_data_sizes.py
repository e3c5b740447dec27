"""Recipes of published sets know how large these are."""

from __future__ import annotations

import pytest

from hvit.planning.data_sizes import published_size
from hvit.recipes import get_recipe


@pytest.mark.parametrize(
    ("recipe", "name", "samples"),
    [
        ("hiera_large_imagenet_mae", "ImageNet-1K", 1_281_167),
        ("nest_base_imagenet22k", "ImageNet-22K", 14_197_122),
        ("nest_base_imagenet22k_384", "ImageNet-1K", 1_281_167),
        ("hiera_large_k400_mae", "Kinetics-400", 240_000),
        ("mvitv2_large_k400", "Kinetics-400", 240_000),
        ("mvitv2_small_ssv2", "Something-Something v2", 168_913),
        ("nest_gan_imagenet_64", "ImageNet-1K", 1_281_167),
        ("nest_tiny_cifar100", "CIFAR-100", 50_000),
        ("nest_micro_fashion", "Fashion-MNIST", 60_000),
    ],
)
def test_recipes_of_papers_name_their_set(recipe: str, name: str, samples: int) -> None:
    found = published_size(get_recipe(recipe))
    assert found is not None
    assert (found.name, found.samples) == (name, samples)
    assert found.source


@pytest.mark.parametrize("recipe", ["nest_micro_digits", "nest_micro_folder", "hiera_micro_actions", "photos"])
def test_data_of_your_own_has_no_published_size(recipe: str) -> None:
    assert published_size(get_recipe(recipe)) is None
