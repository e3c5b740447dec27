"""Classification of clips: the published recipes of MViT and MViTv2, and micro ones of Hiera for a CPU.

Kinetics and Something-Something are named by their lists, as SlowFast has them (docs/data.md). Where papers and code
differ, these are the settings of the code, and the source says so. SlowFast's epochs are passes of the loader, which
gives every clip `NUM_SAMPLE` times; ours count the copies, so that its 200 epochs of 2 copies are 400 here, and its 30
of warm-up 60. Its rates are for the clips of 8 GPUs and grow with their number (`BASE_LR_SCALE_NUM_SHARDS`).
The authors resize clips bilinearly.
"""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment import AugmentConfig, mvit_imagenet_augment
from hvit.data.clips.collections import ClipData
from hvit.data.clips.moving_digits import MovingDigitsData
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES
from hvit.models.mvit.config import MVIT_SIZES
from hvit.recipe import Recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


def hiera_micro_moving_digits() -> Recipe:
    """A small Hiera on digits whose motion is told by the order of the frames only, for a CPU.

    claim: time is seen: with the frames shuffled no more than chance (25 %) is left
    command: hvit train hiera_micro_moving_digits
    cost: 10 minutes on one busy CPU core; 95 % are passed in the second of eight epochs
    expected: at least 95 % of held-out clips
    source: ours
    run here: 100 % of 400 held-out clips, 21 and 23 % with shuffled frames; see docs/results.md
    """
    return Recipe(
        name="hiera_micro_moving_digits",
        summary="A small Hiera on moving digits: the label is the motion",
        model=replace(
            HIERA_SIZES["hiera_micro_16x64"], input_size=(8, 32, 32), in_channels=1, num_classes=4,
            patch_size=(1, 4, 4), patch_kernel=(3, 7, 7), unit_size=(1, 4, 4),
        ),
        data=MovingDigitsData(),
        optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=1, clip_norm=1.0),
        loop=LoopConfig(epochs=8, batch_size=64),
    )  # fmt: skip


def hiera_micro_actions() -> Recipe:
    """A small Hiera on your own short clips in class folders, for a CPU.

    claim: a folder of clips becomes a classifier on any computer
    command: hvit train hiera_micro_actions --data.root DIR
    cost: 2 minutes for 48 short clips on one CPU core
    expected: depends on the clips
    source: ours
    run here: on 48 clips, see docs/results.md
    """
    return Recipe(
        name="hiera_micro_actions",
        summary="A small Hiera on a folder of short clips",
        model=HIERA_SIZES["hiera_micro_16x64"],
        data=ClipData(stride=2, temporal_views=2),
        augment=AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5, label_smoothing=0.1),
        optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=4, clip_norm=1.0),
        loop=LoopConfig(epochs=60, batch_size=16, repeats=2, evaluate_every=10),
        crop=0.875,
    )


def hiera_micro_mae_clips() -> Recipe:
    """Masked pretraining of a small Hiera on a folder of clips, labelled or not, for a CPU.

    claim: an encoder is pretrained without labels, for hiera_micro_actions to start from (--weights)
    command: hvit train hiera_micro_mae_clips --data.root DIR
    cost: not measured
    expected: depends on the clips
    source: ours, after arXiv 2306.00989, Table 11
    run here: on 48 clips, see docs/results.md
    """
    return Recipe(
        name="hiera_micro_mae_clips",
        summary="Masked pretraining of a small Hiera on a folder of clips",
        model=MASKED_SIZES["mae_hiera_micro_16x64"],
        data=ClipData(stride=2, labels="auto"),
        augment=AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5),
        optimize=OptimizeConfig(
            learning_rate_per_256=4e-3, betas=(0.9, 0.95), warmup_epochs=10, clip_norm=1.0,
            no_decay="positions_and_vectors",
        ),
        loop=LoopConfig(epochs=200, batch_size=16, repeats=4, evaluate_every=50),
        crop=0.875,
    )  # fmt: skip


def mvit_base_k400() -> Recipe:
    """MViT-B, 16 frames by 4, on Kinetics-400 as published.

    claim: 37 M parameters, from random initialisation, reach 78.4 % in 200 passes of two copies of every clip
    command: torchrun --nproc-per-node 8 -m hvit train mvit_base_k400 --data.root DIR --out DIR
    cost: not measured; 400 epochs of 70.6 GMAC clips, for many GPUs
    expected: top-1 78.4 % with 5 views
    source: arXiv 2104.11227, D.1 (batch, 5 views), and the authors' code (SlowFast,
        configs/Kinetics/MVIT_B_16x4_CONV.yaml)
    departures: frames are antialiased where they shrink, there not; bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _mvit("mvit_base_16x224", "mvit_base_k400", "MViT-B, 16 frames by 4,", stride=4, drop_path=0.2)


def mvit_base_k400_32x3() -> Recipe:
    """MViT-B, 32 frames by 3, on Kinetics-400 as published.

    claim: 37 M parameters, from random initialisation, reach 80.2 % in 200 passes of two copies of every clip
    command: torchrun --nproc-per-node 8 -m hvit train mvit_base_k400_32x3 --data.root DIR --out DIR
    cost: not measured; 400 epochs of 170 GMAC clips, for many GPUs
    expected: top-1 80.2 % with 5 views
    source: arXiv 2104.11227, D.1 (batch, 5 views), and the authors' code (SlowFast,
        configs/Kinetics/MVIT_B_32x3_CONV.yaml)
    departures: that file, and the weights given out for it, have 24 blocks and stochastic depth 0.3; here are the 16
        blocks of the paper's table with its 0.2; frames are antialiased where they shrink, there not; bfloat16 on a
        GPU, there float32
    run here: two steps only
    """
    return _mvit("mvit_base_32x224", "mvit_base_k400_32x3", "MViT-B, 32 frames by 3,", stride=3, drop_path=0.2)


def mvitv2_small_k400() -> Recipe:
    """MViTv2-S, 16 frames by 4, on Kinetics-400 as published.

    claim: 34.5 M parameters, from random initialisation, reach 81.0 % in 200 passes of two copies of every clip
    command: torchrun --nproc-per-node 8 -m hvit train mvitv2_small_k400 --data.root DIR --out DIR
    cost: not measured; 400 epochs of 64.5 GMAC clips, for many GPUs
    expected: top-1 81.0 % with 5 views
    source: arXiv 2112.01526, B.4 (batch), and the authors' code (SlowFast, configs/Kinetics/MVITv2_S_16x4.yaml)
    departures: frames are antialiased where they shrink, there not; bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _mvit("mvitv2_small_16x224", "mvitv2_small_k400", "MViTv2-S, 16 frames by 4,", stride=4, drop_path=0.2)


def mvitv2_base_k400() -> Recipe:
    """MViTv2-B, 32 frames by 3, on Kinetics-400 as published.

    claim: 51 M parameters, from random initialisation, reach 82.9 % in 200 passes of two copies of every clip
    command: torchrun --nproc-per-node 8 -m hvit train mvitv2_base_k400 --data.root DIR --out DIR
    cost: not measured; 400 epochs of 225 GMAC clips, for many GPUs
    expected: top-1 82.9 % with 5 views
    source: arXiv 2112.01526, B.4 (batch), and the authors' code (SlowFast, configs/Kinetics/MVITv2_B_32x3.yaml)
    departures: frames are antialiased where they shrink, there not; bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _mvit("mvitv2_base_32x224", "mvitv2_base_k400", "MViTv2-B, 32 frames by 3,", stride=3, drop_path=0.3)


def mvitv2_small_ssv2() -> Recipe:
    """MViTv2-S on Something-Something v2 as published, from the weights of Kinetics-400.

    claim: classes that only motion tells apart
    command: torchrun --nproc-per-node 8 -m hvit train mvitv2_small_ssv2 --data.root DIR --data.train-list FILE
        --data.held-out-list FILE --weights FILE --out DIR
    cost: not measured; 100 epochs of 64.5 GMAC clips, for many GPUs
    expected: top-1 68.2 % with 3 crops
    source: the authors' code (SlowFast, configs/SSv2/MVITv2_S_16x4.yaml), whose rate is 0.08 at the batch of arXiv
        2112.01526, B.4 (which names 0.02)
    departures: frames are antialiased where they shrink, there not; bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _mvit_ssv2(mvitv2_small_k400(), "small", "S", 0.0025, "MViTv2_S_16x4_k400_f302660347.pyth")


def mvitv2_base_ssv2() -> Recipe:
    """MViTv2-B on Something-Something v2 as published, from the weights of Kinetics-400.

    claim: classes that only motion tells apart
    command: torchrun --nproc-per-node 8 -m hvit train mvitv2_base_ssv2 --data.root DIR --data.train-list FILE
        --data.held-out-list FILE --weights FILE --out DIR
    cost: not measured; 100 epochs of 225 GMAC clips, for many GPUs
    expected: top-1 70.5 % with 3 crops
    source: the authors' code (SlowFast, configs/SSv2/MVITv2_B_32x3.yaml), whose rate is 0.048 at the batch of arXiv
        2112.01526, B.4 (which names 0.02)
    departures: frames are antialiased where they shrink, there not; bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _mvit_ssv2(mvitv2_base_k400(), "base", "B", 0.0015, "MViTv2_B_32x3_k400_f304025456.pyth")


def _mvit(model: str, name: str, title: str, stride: int, drop_path: float) -> Recipe:
    """The authors' rates are for 16 clips, two copies of each, on 8 GPUs, and 8 times as large for 256 copies."""
    return Recipe(
        name=name,
        summary=f"{title} on Kinetics-400, as published",
        model=replace(MVIT_SIZES[model], drop_path=drop_path, head_dropout=0.5),
        data=ClipData(stride=stride, temporal_views=5),
        augment=mvit_clip_augment(),
        optimize=OptimizeConfig(
            learning_rate_per_256=1e-4 * 8, final_learning_rate_per_256=1e-6 * 8,
            start_learning_rate_per_256=1e-6 * 8, no_decay="vectors", warmup_epochs=30 * 2, clip_norm=1.0,
        ),
        loop=LoopConfig(epochs=200 * 2, batch_size=512, repeats=2, evaluate_every=10 * 2, workers=8),
        crop=0.875,
        interpolation="bilinear",
    )  # fmt: skip


def _mvit_ssv2(recipe: Recipe, size: str, letter: str, rate: float, weights: str) -> Recipe:
    """rate: BASE_LR of the authors' file, for the 16 clips of 8 GPUs."""
    return replace(
        recipe,
        name=f"mvitv2_{size}_ssv2",
        summary=f"MViTv2-{letter} on Something-Something v2 from the weights of Kinetics-400, as published",
        model=replace(recipe.model, drop_path=0.4),
        data=ClipData(sampling="segments", temporal_views=1, spatial_views=3),
        # Left and right are part of what happens. Crops of 224 from a shorter side of 256 to 320.
        augment=replace(recipe.augment, crop="window", side=(224 / 320, 224 / 256), flip=0.0),
        optimize=OptimizeConfig(
            method="sgd", nesterov=True, learning_rate_per_256=rate * 16, final_learning_rate_per_256=1e-6 * 16,
            start_learning_rate_per_256=1e-4 * 16, weight_decay=1e-4, no_decay="vectors", warmup_epochs=3,
        ),
        loop=replace(recipe.loop, epochs=100, repeats=1, evaluate_every=2),
        weights=weights,
    )  # fmt: skip


def mvit_clip_augment() -> AugmentConfig:
    """MViT's augmentation of clips: four operations of RandAugment, and the crops, mixing and erasing of images."""
    return replace(mvit_imagenet_augment(), rand_augment="rand-m7-n4-mstd0.5-inc1", rand_augment_fill="grey")


VIDEO = (
    hiera_micro_moving_digits,
    hiera_micro_actions,
    hiera_micro_mae_clips,
    mvit_base_k400,
    mvit_base_k400_32x3,
    mvitv2_small_k400,
    mvitv2_base_k400,
    mvitv2_small_ssv2,
    mvitv2_base_ssv2,
)
