"""Every configuration says its sizes in the same words; a model needs a number of classes, a recipe does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvit.errors import UserError
from hvit.models.build import build_empty
from hvit.models.catalogue import ModelConfig, entry, list_models
from hvit.models.create import create_model
from hvit.models.gan.config import GAN_SIZES
from hvit.models.hiera.config import HieraConfig
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.sizes import MultiscaleConfig, SizedConfig, class_count, known_classes

CLASSIFIERS = ("nest_micro_32", "mvitv2_micro_32", "hiera_micro_32", "vit_micro_32", "resnet_micro_32")


def test_every_configuration_says_its_sizes_in_the_same_words() -> None:
    configs = {type(entry(name).config): entry(name).config for name in list_models()}
    for config in (*configs.values(), next(iter(GAN_SIZES.values()))):
        assert isinstance(config, SizedConfig), type(config)
        assert all(isinstance(number, int) for number in (*config.input_size, *config.depths, config.in_channels))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_only_a_recipe_leaves_the_number_of_classes_open(name: str) -> None:
    config = entry(name).config
    assert isinstance(config, ModelConfig)
    left_open = replace(config, num_classes=None)
    assert (known_classes(left_open), known_classes(config)) == ((), (config.num_classes,))
    assert class_count(config) == config.num_classes
    with pytest.raises(UserError, match="a model needs a number of classes"):
        build_empty(left_open)
    with pytest.raises(UserError, match="a model needs a number of classes"):
        create_model(name, num_classes=None)


def test_mvit_and_hiera_share_their_fields() -> None:
    assert issubclass(MvitConfig, MultiscaleConfig)
    assert issubclass(HieraConfig, MultiscaleConfig)


@pytest.mark.parametrize("config", [NestConfig(), MvitConfig(), HieraConfig()])
def test_shared_checks_refuse_the_same_mistakes(config: NestConfig | MvitConfig | HieraConfig) -> None:
    with pytest.raises(UserError, match="dims must be divisible by heads"):
        replace(config, heads=(5, *config.heads[1:]))
    with pytest.raises(UserError, match="drop_path must be at least 0 and below 1; got 1"):
        replace(config, drop_path=1.0)
