"""The recipes of NesT, and of its generator, are those of the authors' configuration files and commands.

The tables hold the keys and values of google-research/nested-transformer (configs/*.py, libml/*.py, models/nest_net.py)
and of google-research/hit-gan (README.md, run.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hvit import recipes
from hvit.data.augment_settings import AugmentConfig
from hvit.models.build import build_empty, count_parameters
from hvit.models.gan.config import GanConfig
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.training.schedule import Schedule

COMMON: dict[str, Any] = {  # in configs/imagenet_nest.py and configs/cifar_nest.py alike
    "learning_rate": 2.5e-4,  # for 256 images: train_and_evaluate
    "optim": "adamw",
    "optim_wd_ignore": ["pos_embedding"],
    "grad_clip_max_norm": 0,
    "learning_rate_schedule": "cosine",
    "weight_decay": 0.05,
    "num_epochs": 300,
    "seed": 42,
    "augment.randaugment_num_layers": 2,
    "augment.randaugment_magnitude": 9,
    "augment.randaugment_magstd": 0.5,
    "augment.randaugment_prob_to_apply": 0.5,
    "randerasing.erase_prob": 0.25,
    "mix.mixup_alpha": 0.8,
    "mix.prob_to_apply": 1.0,
    "mix.smoothing": 0.1,
}
IMAGENET = COMMON | {"warmup_epochs": 20, "colorjitter.colorjitter_strength": 0.3, "batch": 1024}  # batch: README.md
CIFAR = COMMON | {"warmup_epochs": 5, "colorjitter.colorjitter_strength": 0.0}
PUBLISHED: dict[str, dict[str, Any]] = {
    # stochastic depth: models/nest_net.py; batch of CIFAR: per_device_batch_size in the docstring of cifar_nest.py
    "nest_tiny_imagenet": IMAGENET | {"stochastic_depth_drop": 0.2},
    "nest_small_imagenet": IMAGENET | {"stochastic_depth_drop": 0.3},
    "nest_base_imagenet": IMAGENET | {"stochastic_depth_drop": 0.5},
    "nest_tiny_cifar10": CIFAR | {"batch": 192, "stochastic_depth_drop": 0.1},
    "nest_small_cifar10": CIFAR | {"batch": 64, "stochastic_depth_drop": 0.1},
    "nest_base_cifar10": CIFAR | {"batch": 32, "stochastic_depth_drop": 0.1},
    "nest_tiny_cifar100": CIFAR | {"batch": 192, "stochastic_depth_drop": 0.1},
    "nest_small_cifar100": CIFAR | {"batch": 64, "stochastic_depth_drop": 0.1},
    "nest_base_cifar100": CIFAR | {"batch": 32, "stochastic_depth_drop": 0.1},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_nest_is_trained_as_in_the_authors_files(name: str, schedule_of: Callable[[Recipe, int], Schedule]) -> None:
    recipe, config = recipes.get_recipe(name), PUBLISHED[name]
    is_cifar = "cifar" in name
    size = 50_000 if is_cifar else 1_281_167
    schedule, optimize = schedule_of(recipe, size), recipe.optimize
    assert (recipe.loop.batch_size, recipe.loop.repeats) == (config["batch"], 1)
    assert schedule.total_steps == config["num_epochs"] * (size // config["batch"])
    assert schedule.warmup_steps == config["warmup_epochs"] * (size // config["batch"])
    assert schedule.peak_learning_rate == pytest.approx(config["learning_rate"] * config["batch"] / 256)
    assert (schedule.start_learning_rate, schedule.final_learning_rate) == (0.0, 0.0)
    assert (optimize.method, optimize.betas, optimize.epsilon) == ("adamw", (0.9, 0.999), 1e-8)  # flax.optim.Adam
    assert (optimize.weight_decay, optimize.no_decay) == (config["weight_decay"], "positions")
    assert (optimize.clip_norm, optimize.layer_decay, optimize.average_decay) == (0.0, 1.0, 0.0)
    assert isinstance(recipe.model, NestConfig)
    assert recipe.model.drop_path == config["stochastic_depth_drop"]
    assert recipe.seed == config["seed"]
    augment = recipe.augment
    # timm's words: two operations, each with probability 0.5, are what it takes where -n and -p are not given.
    assert augment.rand_augment == "rand-m9-mstd0.5"
    assert (augment.rand_augment_fill, augment.rand_augment_interpolation) == ("grey", "nearest")  # augment_ops.py
    assert augment.rand_augment_shift == pytest.approx(10 / 32 if is_cifar else 100 / 224)
    assert (augment.crop, augment.flip) == ("pad" if is_cifar else "resized", 0.5)
    assert augment.pad == 2 if is_cifar else augment.area == (0.05, 1.0)
    assert augment.color_jitter == config["colorjitter.colorjitter_strength"]
    assert augment.erasing == config["randerasing.erase_prob"]
    assert (augment.mixup, augment.cutmix, augment.mix_switch) == (config["mix.mixup_alpha"], 1.0, 0.5)
    assert (augment.mix_probability, augment.label_smoothing) == (config["mix.prob_to_apply"], config["mix.smoothing"])
    assert (recipe.crop, recipe.interpolation) == (1.0 if is_cifar else 0.875, "bilinear")


def test_every_published_recipe_of_nest_is_in_the_table() -> None:
    found = {name for size in ("tiny", "small", "base") for name in recipes.list_recipes(f"nest_{size}_*")}
    assert found == {
        *PUBLISHED, "nest_base_imagenet_384", "nest_base_imagenet22k", "nest_base_imagenet22k_384",
        *(f"nest_{size}_cifar10_block8" for size in ("tiny", "small", "base")),
    }  # fmt: skip


def test_nest_goes_on_at_384_from_published_weights_with_the_augmentation_of_224() -> None:
    """Only the resizing of positions is the authors' (libml/utils.py); the header says so."""
    recipe, before = recipes.get_recipe("nest_base_imagenet_384"), recipes.get_recipe("nest_base_imagenet")
    assert recipe.augment == before.augment
    assert (recipe.model.input_size, recipe.position_resize) == ((384, 384), "block")
    assert "ours" in recipes.header("nest_base_imagenet_384").departures


HIT: dict[str, Any] = {  # google-research/hit-gan: the command for ImageNet in README.md, and the flags of run.py
    "train_batch_size": 256,
    "generator_lr": 1e-4,
    "discriminator_lr": 1e-4,
    "beta1": 0.0,
    "beta2": 0.99,
    "ema_decay": 0.999,
    "use_consistency_regularization": False,
    "gan_loss_type": "non-saturating",
    "grad_penalty_type": "r1",
    "grad_penalty_cost": 10.0,
    "random_flip": True,
    "image_crop_proportion": 0.875,
}
SAGAN: dict[str, Any] = {  # arXiv 1805.08318, and brain-research/self-attention-gan: model.py, train_imagenet.py
    "num_towers * batch_size": 4 * 32,
    "generator_lr": 1e-4,
    "discriminator_lr": 4e-4,
    "betas": (0.0, 0.9),
    "loss_type": "hinge",
}
EPOCHS = 1000  # the authors' blog of 2022-02-09: "ImageNet 64x64 ... with single 1000-epoch training"


@pytest.mark.parametrize("name", ["nest_gan_imagenet_64", "conv_gan_imagenet_64"])
def test_the_generator_is_trained_for_1000_epochs_and_else_as_the_authors_later_one(
    name: str, schedule_of: Callable[[Recipe, int], Schedule]
) -> None:
    recipe = recipes.get_recipe(name)
    schedule, game, optimize = schedule_of(recipe, 1_281_167), recipe.model, recipe.optimize
    assert isinstance(game, GanConfig)
    assert recipe.loop.batch_size == HIT["train_batch_size"]
    assert schedule.total_steps == EPOCHS * (1_281_167 // 256)
    for step in (0, schedule.total_steps // 2, schedule.total_steps):  # constant
        assert schedule.learning_rate(step) == pytest.approx(HIT["generator_lr"])
    assert game.discriminator_rate == HIT["discriminator_lr"] / HIT["generator_lr"]
    assert (optimize.method, optimize.betas, optimize.weight_decay) == ("adamw", (HIT["beta1"], HIT["beta2"]), 0.0)
    assert (optimize.average_decay, optimize.clip_norm) == (HIT["ema_decay"], 0.0)
    assert (game.loss, game.r1_weight) == ("logistic", HIT["grad_penalty_cost"])
    assert (game.consistency, game.diff_augment) == (0.0, ())
    side = HIT["image_crop_proportion"]
    assert recipe.augment == AugmentConfig(crop="window", side=(side, side), flip=0.5)  # data_utils.random_crop
    assert (recipe.crop, recipe.interpolation) == (side, "bicubic")  # center_crop, preprocess_image


def test_sagan_is_trained_as_its_paper_says_with_the_parameters_of_the_talk(
    schedule_of: Callable[[Recipe, int], Schedule],
) -> None:
    recipe, nest = recipes.get_recipe("sagan_imagenet_64"), recipes.get_recipe("nest_gan_imagenet_64")
    schedule, networks, optimize = schedule_of(recipe, 1_281_167), recipe.model, recipe.optimize
    assert isinstance(networks, GanConfig)
    assert round(count_parameters(build_empty(networks.generator)) / 1e6, 1) == 77.8
    assert networks.discriminator.family == "sagan_discriminator"
    assert (networks.loss, networks.r1_weight, networks.conditional) == (SAGAN["loss_type"], 0.0, False)
    assert recipe.loop.batch_size == SAGAN["num_towers * batch_size"]
    assert schedule.total_steps == EPOCHS * (1_281_167 // 128)
    for step in (0, schedule.total_steps):  # constant
        assert schedule.learning_rate(step) == pytest.approx(SAGAN["generator_lr"])
    assert networks.discriminator_rate == pytest.approx(SAGAN["discriminator_lr"] / SAGAN["generator_lr"])
    assert (optimize.betas, optimize.weight_decay, optimize.average_decay) == (SAGAN["betas"], 0.0, 0.0)
    assert (recipe.augment, recipe.crop, recipe.data) == (nest.augment, nest.crop, nest.data)
