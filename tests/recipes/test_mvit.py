"""The recipes of MViT and MViTv2 are those of the authors' configuration files, read as their code reads them.

The tables hold the keys and values of facebookresearch/SlowFast (configs/, and slowfast/config/defaults.py for keys
that a file omits) and of facebookresearch/mvit (configs/, mvit/config/defaults.py). `SHARDS` is the number of
nodes of 8 GPUs that makes the batch which the papers name: the rates grow with it (`BASE_LR_SCALE_NUM_SHARDS`), as the
batch does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hvit import recipes
from hvit.data.clips.settings import ClipData
from hvit.data.images.folders import FolderData
from hvit.models.mvit.config import MvitConfig
from hvit.recipe import Recipe
from hvit.training.schedule import Schedule

K400_CLIPS, SSV2_CLIPS, IMAGENET_IMAGES = 240_436, 168_913, 1_281_167
"""Training sets; of Kinetics as many as were still there to be downloaded."""

DEFAULTS: dict[str, Any] = {  # slowfast/config/defaults.py; mvit/config/defaults.py has the same
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.NESTEROV": True,
    "SOLVER.BETAS": (0.9, 0.999),
    "SOLVER.CLIP_GRAD_L2NORM": None,
    "SOLVER.LAYER_DECAY": 1.0,
    "AUG.NUM_SAMPLE": 1,
    "DATA.RANDOM_FLIP": True,
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": (),
    "DATA.TARGET_FPS": 30,
    "DATA.USE_OFFSET_SAMPLING": False,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
}
MIXING: dict[str, Any] = {  # MIXUP and AUG of every file below
    "MIXUP.ALPHA": 0.8,
    "MIXUP.CUTMIX_ALPHA": 1.0,
    "MIXUP.PROB": 1.0,
    "MIXUP.SWITCH_PROB": 0.5,
    "MIXUP.LABEL_SMOOTH_VALUE": 0.1,
    "AUG.RE_PROB": 0.25,
    "AUG.INTERPOLATION": "bicubic",
    "SOLVER.ZERO_WD_1D_PARAM": True,
    "MVIT.ZERO_DECAY_POS_CLS": False,
}
KINETICS: dict[str, Any] = DEFAULTS | MIXING | {  # what the four files of configs/Kinetics have in common
    "TRAIN.BATCH_SIZE": 16,
    "AUG.NUM_SAMPLE": 2,
    "AUG.AA_TYPE": "rand-m7-n4-mstd0.5-inc1",
    "DATA.TRAIN_JITTER_SCALES": (256, 320),
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": (0.08, 1.0),
    "DATA.USE_OFFSET_SAMPLING": True,
    "SOLVER.OPTIMIZING_METHOD": "adamw",
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.WARMUP_START_LR": 1e-6,
    "SOLVER.WARMUP_EPOCHS": 30,
    "SOLVER.MAX_EPOCH": 200,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.CLIP_GRAD_L2NORM": 1.0,
    "MODEL.DROPOUT_RATE": 0.5,
    "TEST.NUM_SPATIAL_CROPS": 1,
    "SHARDS": 16,  # 512 copies a step: arXiv 2104.11227, D.1, and arXiv 2112.01526, B.4
}  # fmt: skip
SOMETHING: dict[str, Any] = DEFAULTS | MIXING | {  # what MVITv2_S_16x4 and MVITv2_B_32x3 of configs/SSv2 have in common
    "TRAIN.BATCH_SIZE": 16,
    "AUG.NUM_SAMPLE": 1,
    "AUG.AA_TYPE": "rand-m7-n4-mstd0.5-inc1",
    "DATA.TRAIN_JITTER_SCALES": (256, 320),
    "DATA.RANDOM_FLIP": False,
    "SOLVER.OPTIMIZING_METHOD": "sgd",
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.WARMUP_START_LR": 1e-4,
    "SOLVER.WARMUP_EPOCHS": 3,
    "SOLVER.MAX_EPOCH": 100,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "MVIT.DROPPATH_RATE": 0.4,
    "MODEL.DROPOUT_RATE": 0.5,
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "TEST.NUM_SPATIAL_CROPS": 3,
    "SHARDS": 32,  # 512 clips a step: arXiv 2112.01526, B.4
}  # fmt: skip
CLIPS: dict[str, dict[str, Any]] = {
    # configs/Kinetics/MVIT_B_16x4_CONV.yaml; 5 views: arXiv 2104.11227, Table 4 (the file leaves the default, 10)
    "mvit_base_k400": KINETICS
    | {"DATA.NUM_FRAMES": 16, "DATA.SAMPLING_RATE": 4, "MVIT.DROPPATH_RATE": 0.2, "TEST.NUM_ENSEMBLE_VIEWS": 5},
    # configs/Kinetics/MVIT_B_32x3_CONV.yaml, but 16 blocks, their drop path and 5 views of arXiv 2104.11227, D.1
    "mvit_base_k400_32x3": KINETICS
    | {"DATA.NUM_FRAMES": 32, "DATA.SAMPLING_RATE": 3, "MVIT.DROPPATH_RATE": 0.2, "TEST.NUM_ENSEMBLE_VIEWS": 5},
    # configs/Kinetics/MVITv2_S_16x4.yaml
    "mvitv2_small_k400": KINETICS
    | {"DATA.NUM_FRAMES": 16, "DATA.SAMPLING_RATE": 4, "MVIT.DROPPATH_RATE": 0.2, "TEST.NUM_ENSEMBLE_VIEWS": 5},
    # configs/Kinetics/MVITv2_B_32x3.yaml; 5 views: arXiv 2112.01526, Table 9
    "mvitv2_base_k400": KINETICS
    | {"DATA.NUM_FRAMES": 32, "DATA.SAMPLING_RATE": 3, "MVIT.DROPPATH_RATE": 0.3, "TEST.NUM_ENSEMBLE_VIEWS": 5},
    # configs/SSv2/MVITv2_S_16x4.yaml
    "mvitv2_small_ssv2": SOMETHING | {"DATA.NUM_FRAMES": 16, "SOLVER.BASE_LR": 0.0025},
    # configs/SSv2/MVITv2_B_32x3.yaml
    "mvitv2_base_ssv2": SOMETHING | {"DATA.NUM_FRAMES": 32, "SOLVER.BASE_LR": 0.0015},
}
IMAGENET: dict[str, Any] = DEFAULTS | MIXING | {  # SlowFast's configs/ImageNet and mvit's configs and defaults
    "TRAIN.BATCH_SIZE": 256,
    "AUG.AA_TYPE": "rand-m9-n6-mstd0.5-inc1",
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": (0.08, 1.0),  # transforms_imagenet_train
    "SOLVER.OPTIMIZING_METHOD": "adamw",
    "SOLVER.BASE_LR": 0.00025,
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.WARMUP_START_LR": 1e-8,
    "SOLVER.WARMUP_EPOCHS": 70,
    "SOLVER.MAX_EPOCH": 300,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.CLIP_GRAD_L2NORM": 1.0,
    "MODEL.DROPOUT_RATE": 0.0,
    "SHARDS": 8,  # 2048 images a step: arXiv 2112.01526, B.2
}  # fmt: skip
IMAGES: dict[str, dict[str, Any]] = {
    # SlowFast, configs/ImageNet/MVIT_B_16_CONV.yaml
    "mvit_base_imagenet": IMAGENET | {"MVIT.DROPPATH_RATE": 0.1},
    # the same; drop path of arXiv 2104.11227
    "mvit_base24_imagenet": IMAGENET | {"MVIT.DROPPATH_RATE": 0.3},
    # mvit, configs/MVITv2_T.yaml, MVITv2_S.yaml, MVITv2_B.yaml
    "mvitv2_tiny_imagenet": IMAGENET | {"MVIT.DROPPATH_RATE": 0.1},
    "mvitv2_small_imagenet": IMAGENET | {"MVIT.DROPPATH_RATE": 0.1},
    "mvitv2_base_imagenet": IMAGENET | {"MVIT.DROPPATH_RATE": 0.3},
    # mvit, configs/test/MVITv2_L_test.yaml; weight decay of arXiv 2112.01526, B.2
    "mvitv2_large_imagenet": IMAGENET | {"MVIT.DROPPATH_RATE": 0.5, "SOLVER.WEIGHT_DECAY": 0.1},
}


def published_rate(config: dict[str, Any], passes: float) -> float:
    """slowfast/utils/lr_policy.py after `passes` passes of the loader, times the shards (assert_and_infer_cfg)."""
    base, end, start = (config[f"SOLVER.{key}"] for key in ("BASE_LR", "COSINE_END_LR", "WARMUP_START_LR"))
    warmup, last = config["SOLVER.WARMUP_EPOCHS"], config["SOLVER.MAX_EPOCH"]
    if passes < warmup:
        return config["SHARDS"] * (start + passes * (base - start) / warmup)
    cosine = math.cos(math.pi * (passes - warmup) / (last - warmup))
    return config["SHARDS"] * (end + (base - end) * (cosine + 1) / 2)


def check_training(recipe: Recipe, config: dict[str, Any], size: int, schedule: Schedule) -> None:
    """Batch, views, steps, rates, decay, clipping, regularisation and augmentation."""
    copies = config["AUG.NUM_SAMPLE"]
    different = config["TRAIN.BATCH_SIZE"] * config["SHARDS"]
    assert (recipe.loop.batch_size, recipe.loop.repeats) == (different * copies, copies)
    passes, steps_a_pass = config["SOLVER.MAX_EPOCH"], size // different  # drop_last
    assert schedule.total_steps == pytest.approx(passes * steps_a_pass, rel=2e-3)
    assert schedule.total_steps * recipe.loop.batch_size / size == pytest.approx(passes * copies, rel=4e-3)
    assert schedule.warmup_steps == pytest.approx(config["SOLVER.WARMUP_EPOCHS"] * steps_a_pass, rel=2e-3)
    for share in (0.0, 0.01, 0.1, 0.15, 0.3, 0.5, 0.9, 1.0):
        found = schedule.learning_rate(round(share * schedule.total_steps))
        assert found == pytest.approx(published_rate(config, share * passes), rel=2e-3)

    optimize = recipe.optimize
    assert optimize.method == config["SOLVER.OPTIMIZING_METHOD"]
    if optimize.method == "sgd":
        assert (optimize.betas[0], optimize.nesterov) == (config["SOLVER.MOMENTUM"], config["SOLVER.NESTEROV"])
    else:
        assert (optimize.betas, optimize.epsilon) == (config["SOLVER.BETAS"], 1e-8)  # eps: construct_optimizer
    assert optimize.weight_decay == config["SOLVER.WEIGHT_DECAY"]
    assert config["SOLVER.ZERO_WD_1D_PARAM"]
    assert not config["MVIT.ZERO_DECAY_POS_CLS"]
    assert optimize.no_decay == "vectors"
    assert optimize.layer_decay == config["SOLVER.LAYER_DECAY"]
    assert optimize.clip_norm == (config["SOLVER.CLIP_GRAD_L2NORM"] or 0.0)
    assert optimize.average_decay == 0.0

    assert isinstance(recipe.model, MvitConfig)
    assert (recipe.model.drop_path, recipe.model.head_dropout) == (
        config["MVIT.DROPPATH_RATE"],
        config["MODEL.DROPOUT_RATE"],
    )

    augment = recipe.augment
    assert augment.flip == (0.5 if config["DATA.RANDOM_FLIP"] else 0.0)
    assert (augment.rand_augment, augment.rand_augment_shift) == (config["AUG.AA_TYPE"], 0.45)  # create_random_augment
    assert augment.rand_augment_interpolation == config["AUG.INTERPOLATION"]
    # img_mean is given by transforms_imagenet_train, and not by create_random_augment.
    assert augment.rand_augment_fill == ("mean" if len(recipe.model.input_size) == 2 else "grey")
    assert augment.color_jitter == 0.0  # COLOR_JITTER: "Not used if using randaug."
    assert augment.erasing == config["AUG.RE_PROB"]
    assert (augment.mixup, augment.cutmix) == (config["MIXUP.ALPHA"], config["MIXUP.CUTMIX_ALPHA"])
    assert (augment.mix_probability, augment.mix_switch) == (config["MIXUP.PROB"], config["MIXUP.SWITCH_PROB"])
    assert augment.label_smoothing == config["MIXUP.LABEL_SMOOTH_VALUE"]
    if config["DATA.TRAIN_JITTER_SCALES_RELATIVE"]:
        assert (augment.crop, augment.area) == ("resized", config["DATA.TRAIN_JITTER_SCALES_RELATIVE"])
        assert augment.ratio == pytest.approx((0.75, 1.3333), abs=1e-4)  # TRAIN_JITTER_ASPECT_RELATIVE
    else:  # random_short_side_scale_jitter with INV_UNIFORM_SAMPLE, then random_crop
        shortest, longest = config["DATA.TRAIN_JITTER_SCALES"]
        assert (augment.crop, augment.side) == ("window", (224 / longest, 224 / shortest))


@pytest.mark.parametrize("name", CLIPS)
def test_clips_are_learned_as_in_the_authors_files(name: str, schedule_of: Callable[[Recipe, int], Schedule]) -> None:
    recipe, config = recipes.get_recipe(name), CLIPS[name]
    clips = SSV2_CLIPS if name.endswith("ssv2") else K400_CLIPS
    check_training(recipe, config, clips, schedule_of(recipe, clips))
    data = recipe.data
    assert isinstance(data, ClipData)
    assert recipe.model.input_size == (config["DATA.NUM_FRAMES"], 224, 224)  # TRAIN_CROP_SIZE, TEST_CROP_SIZE
    assert (data.temporal_views, data.spatial_views) == (
        config["TEST.NUM_ENSEMBLE_VIEWS"],
        config["TEST.NUM_SPATIAL_CROPS"],
    )
    if name.endswith("ssv2"):  # slowfast/datasets/ssv2.py samples one frame of each segment
        assert data.sampling == "segments"
    else:
        assert (data.sampling, data.stride, data.target_fps) == (
            "span",
            config["DATA.SAMPLING_RATE"],
            config["DATA.TARGET_FPS"],
        )
        assert (data.view_starts == "offset") == config["DATA.USE_OFFSET_SAMPLING"]
    # One crop: the shorter side is TRAIN_JITTER_SCALES[0]; three: it is TEST_CROP_SIZE, which ours always do.
    assert recipe.crop == 224 / config["DATA.TRAIN_JITTER_SCALES"][0]
    assert recipe.interpolation == "bilinear"  # slowfast/datasets/transform.py


def test_kinetics_is_seen_400_times_and_something_something_100_times(
    schedule_of: Callable[[Recipe, int], Schedule],
) -> None:
    """SlowFast's 200 epochs are passes of a loader that gives every clip twice."""
    for name, clips, views, steps in (
        ("mvit_base_k400", K400_CLIPS, 400, 187_800),
        ("mvitv2_small_k400", K400_CLIPS, 400, 187_800),
        ("mvitv2_small_ssv2", SSV2_CLIPS, 100, 32_900),
    ):
        schedule = schedule_of(recipes.get_recipe(name), clips)
        assert schedule.total_steps == pytest.approx(steps, rel=2e-3)
        assert schedule.total_steps * 512 / clips == pytest.approx(views, rel=4e-3)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("mvitv2_small_k400", 1.6e-3), ("mvitv2_small_ssv2", 0.08), ("mvitv2_base_ssv2", 0.048)],
)
def test_the_rate_at_512_clips_is_the_scaled_one(
    name: str, rate: float, schedule_of: Callable[[Recipe, int], Schedule]
) -> None:
    assert schedule_of(recipes.get_recipe(name), K400_CLIPS).peak_learning_rate == pytest.approx(rate)


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_learned_as_in_the_authors_files(name: str, schedule_of: Callable[[Recipe, int], Schedule]) -> None:
    recipe = recipes.get_recipe(name)
    check_training(recipe, IMAGES[name], IMAGENET_IMAGES, schedule_of(recipe, IMAGENET_IMAGES))
    assert isinstance(recipe.data, FolderData)
    assert recipe.model.input_size == (224, 224)
    assert (recipe.interpolation, recipe.crop, recipe.weights) == ("bicubic", 0.875, None)  # VAL_CROP_RATIO


def test_every_published_recipe_of_mvit_is_in_the_tables() -> None:
    elsewhere = ("micro", "_384", "maskfeat")  # those of masked pretraining are in test_masked.py
    found = {name for name in recipes.list_recipes("mvit*") if not any(part in name for part in elsewhere)}
    # Those whose settings are in papers alone.
    further = {"mvit_base_k400_64x3", "mvitv2_large_k400", "mvitv2_large_k400_16x4", "mvitv2_base_k400_from_images"}
    assert found == {*CLIPS, *IMAGES} | further


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_mvitv2_goes_on_at_384_with_small_steps_and_the_largest_without_mixing(size: str) -> None:
    """arXiv 2112.01526, B.2: 30 epochs, 4e-5 for 256 images; mixing, which the largest goes without."""
    recipe, before = recipes.get_recipe(f"mvitv2_{size}_imagenet_384"), recipes.get_recipe(f"mvitv2_{size}_imagenet")
    assert recipe.model == replace(before.model, input_size=(384, 384))
    assert (recipe.loop.epochs, recipe.loop.batch_size, recipe.optimize.learning_rate_per_256) == (30, 512, 4e-5)
    mixing = (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.label_smoothing)
    assert mixing == ((0.0, 0.0, 0.0) if size == "large" else (0.8, 1.0, 0.1))
    same = replace(recipe.augment, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    assert same == before.augment
