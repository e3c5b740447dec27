"""The recipes of masked ViTs and of MaskFeat are those of the authors' code.

Masked autoencoders: facebookresearch/mae, PRETRAIN.md and FINETUNE.md. MaskFeat: SlowFast, configs/masked_ssl, whose
rates are for the batch of 8 GPUs (TRAIN.BATCH_SIZE, times AUG.NUM_SAMPLE copies).
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hvit import recipes
from hvit.data.augment_settings import AugmentConfig, hiera_imagenet_augment
from hvit.data.clips.settings import ClipData
from hvit.models.baselines import VitConfig
from hvit.models.masked.config import MaskedConfig
from hvit.recipe import Recipe


@dataclass(frozen=True)
class File:
    """A configuration file: BATCH_SIZE x NUM_SAMPLE, BASE_LR, WARMUP_START_LR, COSINE_END_LR, and so on."""

    batch: int
    rate: float
    start: float
    end: float
    epochs: int
    warmup: int
    copies: int = 1
    clip: float = 0.0
    layer_decay: float = 1.0
    drop_path: float = 0.0


MASKFEAT = {
    "vit_base_maskfeat": File(256, 2e-4, 1e-6, 1e-6, 1600, 30, clip=0.02),  # in1k_VIT_B_MaskFeat_PT
    "vit_large_maskfeat": File(256, 2e-4, 1e-6, 1e-6, 1600, 30, clip=0.02),  # in1k_VIT_L_MaskFeat_PT
    "mvitv2_small_maskfeat": File(32, 1e-4, 1e-6, 1e-6, 300, 10, clip=0.02),  # k400_MVITv2_S_16x4_MaskFeat_PT
    "mvitv2_large_maskfeat": File(32, 1e-4, 1e-6, 1e-6, 800, 10, clip=0.02),  # k400_MVITv2_L_16x4_MaskFeat_PT
}
FINETUNED = {
    # in1k_VIT_{B,L}_MaskFeat_FT, k400_MVITv2_{S,L}_16x4_FT
    "vit_base_maskfeat_finetune": File(512, 2e-3, 1e-8, 1e-6, 100, 20, layer_decay=0.65, drop_path=0.1),
    "vit_large_maskfeat_finetune": File(256, 1e-3, 1e-8, 1e-6, 50, 5, layer_decay=0.75, drop_path=0.1),
    "mvitv2_small_maskfeat_finetune": File(
        16, 6e-4, 1e-6, 1e-6, 100, 20, copies=2, clip=5.0, layer_decay=0.75, drop_path=0.1
    ),
    "mvitv2_large_maskfeat_finetune": File(16, 6e-4, 1e-8, 1e-5, 75, 5, clip=5.0, layer_decay=0.875, drop_path=0.2),
}


def check(recipe: Recipe, file: File) -> None:
    optimize, scale = recipe.optimize, 256 / (file.batch * file.copies)
    rates = (optimize.learning_rate_per_256, optimize.start_learning_rate_per_256, optimize.final_learning_rate_per_256)
    assert rates == pytest.approx((file.rate * scale, file.start * scale, file.end * scale))
    assert (recipe.loop.epochs, recipe.loop.repeats) == (file.epochs * file.copies, file.copies)
    assert (optimize.warmup_epochs, optimize.clip_norm) == (file.warmup * file.copies, file.clip)
    assert (optimize.weight_decay, optimize.betas, optimize.no_decay) == (0.05, (0.9, 0.999), "vectors")
    assert (optimize.layer_decay, optimize.layer_decay_from) == (file.layer_decay, "head")
    is_clip = isinstance(recipe.data, ClipData)
    assert (recipe.crop, recipe.interpolation) == (0.875, "bilinear" if is_clip else "bicubic")


@pytest.mark.parametrize("name", MASKFEAT)
def test_maskfeat_pretrains_as_its_files_say(name: str) -> None:
    recipe = recipes.get_recipe(name)
    check(recipe, MASKFEAT[name])
    assert recipe.augment == AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5)
    model = recipe.model
    assert isinstance(model, MaskedConfig)
    assert (model.target, model.mask_pattern, model.mask_ratio, model.encoding) == ("hog", "block", 0.4, "dense")
    assert model.encoder.drop_path == 0.0


@pytest.mark.parametrize("name", FINETUNED)
def test_maskfeat_is_fine_tuned_as_its_files_say(name: str) -> None:
    recipe, file = recipes.get_recipe(name), FINETUNED[name]
    check(recipe, file)
    assert recipe.model.drop_path == file.drop_path  # pyright: ignore[reportAttributeAccessIssue]
    augment = hiera_imagenet_augment()
    assert (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.erasing) == (0.8, 1.0, 0.25)
    if isinstance(recipe.data, ClipData):
        assert recipe.augment.rand_augment == "rand-m7-mstd0.5-inc1"
        assert (recipe.data.temporal_views, recipe.data.spatial_views) == (10, 1)
    else:
        assert recipe.augment == augment
    assert recipe.weights == f"runs/{name.removesuffix('_finetune')}"


@pytest.mark.parametrize(
    ("size", "patch", "epochs", "rate", "decay", "drop_path"),
    [
        ("base", 16, 100, 5e-4, 0.65, 0.1),
        ("large", 16, 50, 1e-3, 0.75, 0.2),
        ("huge", 14, 50, 1e-3, 0.75, 0.3),
    ],
)
def test_masked_autoencoders_of_vits_are_trained_as_their_code_says(
    size: str, patch: int, epochs: int, rate: float, decay: float, drop_path: float
) -> None:
    before = recipes.get_recipe(f"vit_{size}_imagenet_mae")
    assert isinstance(before.model, MaskedConfig)
    assert (before.model.mask_ratio, before.model.encoding, before.model.patch) == (0.75, "sparse", (patch, patch))
    decoder = (before.model.decoder_dim, before.model.decoder_depth, before.model.decoder_heads)
    assert decoder == (512, 8, 16)
    optimize = before.optimize
    assert (optimize.learning_rate_per_256, optimize.betas, optimize.weight_decay) == (1.5e-4, (0.9, 0.95), 0.05)
    assert (before.loop.epochs, before.loop.batch_size, optimize.warmup_epochs) == (1600, 4096, 40)
    assert before.augment == AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5)
    after = recipes.get_recipe(f"vit_{size}_imagenet_mae_finetune")
    assert isinstance(after.model, VitConfig)
    assert (after.model.drop_path, after.model.norm_after_mean) == (drop_path, True)
    optimize = after.optimize
    assert (optimize.learning_rate_per_256, optimize.layer_decay, optimize.warmup_epochs) == (rate, decay, 5)
    assert optimize.final_learning_rate_per_256 * 1024 / 256 == pytest.approx(1e-6)
    assert (after.loop.epochs, after.loop.batch_size) == (epochs, 1024)
    assert after.augment == hiera_imagenet_augment()
    assert after.weights == f"runs/{before.name}"


def test_every_published_recipe_of_this_file_is_in_the_tables() -> None:
    mae = {f"vit_{size}_imagenet_mae{end}" for size in ("base", "large", "huge") for end in ("", "_finetune")}
    names = {
        one for one in (*recipes.list_recipes("vit_*"), *recipes.list_recipes("*_maskfeat*")) if "micro" not in one
    }
    assert names == {*MASKFEAT, *FINETUNED, *mae}
