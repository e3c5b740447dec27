"""The recipes of Hiera are those of the tables of its paper (arXiv 2306.00989), and of an author's unfinished code.

That code is hiera/train/config.py of dbolya/hiera, branch v0.2.0 (`in1k_mae`, `in1k_finetune`); it is for images only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from hvit import recipes
from hvit.data.augment_settings import AugmentConfig
from hvit.data.clips.settings import ClipData
from hvit.models.hiera.config import HieraConfig
from hvit.models.masked.config import MaskedConfig
from hvit.recipe import Recipe
from hvit.training.schedule import Schedule

SIZES = {"imagenet": 1_281_167, "k400": 240_436, "ssv2": 168_913}


@dataclass(frozen=True)
class Published:
    """A column of a table; the rate is that at the batch."""

    batch: int
    rate: float
    epochs: int
    warmup: int
    drop_path: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    clip: float = 0.0
    repeats: int = 1
    method: str = "adamw"
    dropout: float = 0.0


def pretraining(drop_path: float) -> Published:
    """Table 14, left, and in1k_mae: the longer of two schedules."""
    return Published(4096, 8e-4, 1600, 40, drop_path, betas=(0.9, 0.95))


def finetuning(rate: float, epochs: int, drop_path: float, layer_decay: float) -> Published:
    """Table 14, right, and in1k_finetune."""
    return Published(1024, rate, epochs, 5, drop_path, layer_decay=layer_decay)


def clips_pretraining(rate: float, drop_path: float) -> Published:
    """Table 11, left, for 3,200 epochs."""
    return Published(512, rate, 3200, 120, drop_path, betas=(0.9, 0.95), repeats=4)


def clips_finetuning(rate: float, epochs: int, drop_path: float, dropout: float, layer_decay: float) -> Published:
    """Table 11, right, after 3,200 epochs."""
    return Published(
        256, rate, epochs, 10, drop_path, layer_decay=layer_decay, clip=5.0, repeats=2, dropout=dropout
    )  # fmt: skip


PRETRAINED = {
    "hiera_tiny_imagenet_mae": pretraining(0.0),
    "hiera_small_imagenet_mae": pretraining(0.0),
    "hiera_base_imagenet_mae": pretraining(0.2),
    "hiera_base_plus_imagenet_mae": pretraining(0.2),
    "hiera_large_imagenet_mae": pretraining(0.2),
    "hiera_huge_imagenet_mae": pretraining(0.3),
    "hiera_base_k400_mae": clips_pretraining(8e-4, 0.1),
    "hiera_base_plus_k400_mae": clips_pretraining(8e-4, 0.2),
    "hiera_large_k400_mae": clips_pretraining(8e-4, 0.2),
    "hiera_huge_k400_mae": clips_pretraining(3.2e-4, 0.4),
    # Table 12; repeated sampling, of which it does not speak, as in Table 11
    "hiera_large_ssv2_mae": Published(1024, 8e-4, 1600, 30, 0.2, betas=(0.9, 0.95), clip=0.02, repeats=4),
}
FINETUNED = {
    "hiera_tiny_imagenet_finetune": finetuning(2e-3, 300, 0.1, 0.65),
    "hiera_small_imagenet_finetune": finetuning(2e-3, 200, 0.1, 0.65),
    "hiera_base_imagenet_finetune": finetuning(2e-3, 100, 0.1, 0.7),
    "hiera_base_plus_imagenet_finetune": finetuning(1e-3, 100, 0.1, 0.7),
    "hiera_large_imagenet_finetune": finetuning(1e-3, 50, 0.1, 0.85),
    "hiera_huge_imagenet_finetune": finetuning(1e-3, 50, 0.3, 0.85),
    "hiera_base_k400_finetune": clips_finetuning(8e-4, 150, 0.2, 0.3, 0.8),
    "hiera_base_plus_k400_finetune": clips_finetuning(8e-4, 150, 0.2, 0.3, 0.8),
    "hiera_large_k400_finetune": clips_finetuning(8e-4, 100, 0.2, 0.5, 0.875),
    "hiera_huge_k400_finetune": clips_finetuning(4e-4, 100, 0.3, 0.5, 0.875),
    # Table 12
    "hiera_large_ssv2_finetune": Published(
        256, 0.16, 40, 3, 0.1, weight_decay=1e-4, layer_decay=0.875, method="sgd", dropout=0.5
    ),
}  # fmt: skip


def check_training(recipe: Recipe, published: Published, schedule_of: Callable[[Recipe, int], Schedule]) -> None:
    size = next(size for data, size in SIZES.items() if f"_{data}_" in recipe.name)
    schedule, optimize = schedule_of(recipe, size), recipe.optimize
    assert (recipe.loop.batch_size, recipe.loop.repeats) == (published.batch, published.repeats)
    # "effective" epochs: a clip that is in its batch four times counts as four.
    views = schedule.total_steps * published.batch / size
    assert views == pytest.approx(published.epochs, rel=1e-2)  # whole batches
    assert schedule.warmup_steps / schedule.total_steps == pytest.approx(published.warmup / published.epochs)
    warm, last = round(schedule.warmup_steps), schedule.total_steps
    assert schedule.learning_rate(warm) == pytest.approx(published.rate, rel=1e-6)
    assert schedule.learning_rate(0) == 0.0
    assert schedule.learning_rate(last) == pytest.approx(0.0, abs=1e-12)
    assert schedule.learning_rate((warm + last) // 2) == pytest.approx(published.rate / 2, rel=1e-3)  # cosine
    assert optimize.method == published.method
    assert (
        optimize.betas[: 1 if published.method == "sgd" else 2]
        == published.betas[: 1 if published.method == "sgd" else 2]
    )
    assert (optimize.weight_decay, optimize.clip_norm) == (published.weight_decay, published.clip)
    assert optimize.no_decay == "positions_and_vectors"  # make_param_groups and Hiera.no_weight_decay
    assert optimize.layer_decay == published.layer_decay
    assert optimize.layer_decay == 1.0 or optimize.layer_decay_from == "last_layer"  # Hiera.get_layer_id
    assert optimize.average_decay == 0.0


def check_pixels(recipe: Recipe) -> None:
    """Crop of testing and interpolation."""
    clips = isinstance(recipe.data, ClipData)
    assert (recipe.crop, recipe.interpolation) == (0.875, "bilinear" if clips else "bicubic")
    data = recipe.data
    if not isinstance(data, ClipData):
        return
    if "ssv2" in recipe.name:
        assert data.sampling == "segments"
    else:
        assert (data.sampling, data.stride) == ("span", 4)


@pytest.mark.parametrize("name", PRETRAINED)
def test_hiera_is_pretrained_as_its_paper_says(name: str, schedule_of: Callable[[Recipe, int], Schedule]) -> None:
    recipe, published = recipes.get_recipe(name), PRETRAINED[name]
    check_training(recipe, published, schedule_of)
    check_pixels(recipe)
    model = recipe.model
    assert isinstance(model, MaskedConfig)
    assert isinstance(model.encoder, HieraConfig)
    assert (model.encoder.drop_path, model.encoder.head_dropout) == (published.drop_path, published.dropout)
    images = "imagenet" in name
    assert model.mask_ratio == (0.6 if images else 0.9)
    assert (model.decoder_depth, model.decoder_dim, model.decoder_heads) == (8, 512, 16)  # heads: the authors' code
    assert model.target == "normalised_pixels"
    assert model.encoder.query_pools == 2
    flip = 0.0 if "ssv2" in name else 0.5
    assert recipe.augment == AugmentConfig(crop="resized", area=(0.2 if images else 0.5, 1.0), flip=flip)
    assert recipe.weights is None


@pytest.mark.parametrize("name", FINETUNED)
def test_hiera_is_fine_tuned_as_its_paper_says(name: str, schedule_of: Callable[[Recipe, int], Schedule]) -> None:
    recipe, published = recipes.get_recipe(name), FINETUNED[name]
    check_training(recipe, published, schedule_of)
    check_pixels(recipe)
    assert isinstance(recipe.model, HieraConfig)
    assert (recipe.model.drop_path, recipe.model.head_dropout) == (published.drop_path, published.dropout)
    mixed = AugmentConfig(
        crop="resized", area=(0.08, 1.0), flip=0.5, mixup=0.8, cutmix=1.0, mix_probability=1.0, mix_switch=0.5,
        label_smoothing=0.1, rand_augment_interpolation="bicubic",
    )  # fmt: skip
    if "imagenet" in name:  # erasing, and the fill of timm's create_transform, are of the unfinished code alone
        mixed = replace(mixed, rand_augment="rand-m9-mstd0.5-inc1", rand_augment_fill="mean", erasing=0.25)
    else:
        mixed = replace(mixed, rand_augment="rand-m7-mstd0.5-inc1", flip=0.0 if "ssv2" in name else 0.5)
        data = recipe.data
        assert isinstance(data, ClipData)
        assert (data.temporal_views, data.spatial_views) == ((1, 3) if "ssv2" in name else (5, 3))
    assert recipe.augment == mixed
    assert recipe.weights is not None


def test_every_published_recipe_of_hiera_is_in_the_tables() -> None:
    assert {name for name in recipes.list_recipes("hiera*") if "micro" not in name} == {*PRETRAINED, *FINETUNED}
