"""MViT (arXiv 2104.11227) and MViTv2 (arXiv 2112.01526) as published: ImageNet, Kinetics and Something-Something v2.

Where papers and code differ, these are the settings of the code (facebookresearch/SlowFast and mvit), and the source
says so. The authors' rates are for the batch of 8 GPUs and grow with their number (`BASE_LR_SCALE_NUM_SHARDS`).
SlowFast's epochs are passes of the loader, which gives every clip `NUM_SAMPLE` times; ours count the copies, so that
its 200 epochs of 2 copies are 400 here, and its 30 of warm-up 60. The authors resize clips bilinearly. Kinetics and
Something-Something are named by their lists, as SlowFast has them (docs/reference/data.md).

Fine-tuning names the authors' file of weights; it is refused where that is not in the current folder and no other is
named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvit.data.augment_settings import AugmentConfig, mvit_imagenet_augment
from hvit.data.clips.settings import ClipData
from hvit.data.open import FolderData
from hvit.models.mvit.config import MVIT_SIZES
from hvit.recipe import Recipe
from hvit.recipes.named import BFLOAT16, Named, published
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


@dataclass(frozen=True)
class Images:
    """A size on ImageNet-1K: 300 epochs, 70 of them warm-up, at a rate of 2e-3 for 2,048 images.

    params: millions. gmac: thousands of millions of multiply-adds for an image. top1: percent, as printed, or empty
    where the paper has none. The last two are for fine-tuning at 384 x 384.
    """

    model: str
    title: str
    params: int
    gmac: str
    top1: str
    drop_path: float
    weight_decay: float = 0.05
    gmac_384: str = ""
    top1_384: str = ""


IMAGENET = (
    #      model           title                  params gmac   top-1  drop path decay  at 384: gmac, top-1
    Images("mvit_base",    "MViT-B with 16 blocks",  37, "7.8",  "83.0", 0.1),
    Images("mvit_base24",  "MViT-B with 24 blocks",  54, "10.9", "83.4", 0.3),
    Images("mvitv2_tiny",  "MViTv2-T",               24, "4.7",  "82.3", 0.1,     0.05, "17.6"),
    Images("mvitv2_small", "MViTv2-S",               35, "7.0",  "83.6", 0.1,     0.05, "25.4"),
    Images("mvitv2_base",  "MViTv2-B",               51, "10.1", "84.4", 0.3,     0.05, "36.5", "85.2"),
    Images("mvitv2_large", "MViTv2-L",              218, "43.7", "85.3", 0.5,     0.1,  "145",  "86.0"),
)  # fmt: skip
IMAGENET_SOURCES = {
    "mvit_base": "the authors' code (SlowFast, configs/ImageNet/MVIT_B_16_CONV.yaml), with the batch of arXiv "
    "2112.01526, B.2; arXiv 2104.11227 names 100 epochs that show each image three times",
    "mvit_base24": "the code of 16 blocks, with the score and batch of arXiv 2112.01526 and stochastic depth of arXiv "
    "2104.11227",
    "mvitv2_large": "arXiv 2112.01526, B.2; the authors' code has this size for testing only (mvit, "
    "configs/test/MVITv2_L_test.yaml: stochastic depth)",
}
"""Those of the other sizes are alike."""


def _imagenet(row: Images) -> Named:
    recipe = Recipe(
        name=f"{row.model}_imagenet",
        summary=f"{row.title} on ImageNet-1K, as published",
        model=replace(MVIT_SIZES[f"{row.model}_224"], drop_path=row.drop_path),
        data=FolderData(),
        augment=mvit_imagenet_augment(),
        optimize=OptimizeConfig(
            learning_rate_per_256=2.5e-4, final_learning_rate_per_256=1e-6, start_learning_rate_per_256=1e-8,
            weight_decay=row.weight_decay, no_decay="vectors", warmup_epochs=70, clip_norm=1.0,
        ),
        loop=LoopConfig(epochs=300, batch_size=2048, workers=8),
        crop=0.875,
        interpolation="bicubic",
    )  # fmt: skip
    usual = f"arXiv 2112.01526, B.2 (batch), and the authors' code (mvit, configs/MVITv2_{row.title[-1]}.yaml)"
    return published(
        recipe,
        claim=f"{row.params} M parameters reach {row.top1} % in 300 epochs",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} %" + " (82.9 % with the released weights)" * (row.model == "mvit_base"),
        source=IMAGENET_SOURCES.get(row.model, usual),
        departures=f"{BFLOAT16} float32",
    )


def _imagenet_384(row: Images) -> Named:
    at_224 = _imagenet(row).recipe
    recipe = replace(
        at_224,
        name=f"{at_224.name}_384",
        summary=f"{row.title} fine-tuned on ImageNet-1K at 384 x 384",
        model=replace(at_224.model, input_size=(384, 384)),
        optimize=replace(at_224.optimize, learning_rate_per_256=4e-5, warmup_epochs=5),
        loop=replace(at_224.loop, epochs=30, batch_size=512),
        weights=f"MViTv2_{row.title[-1]}_in1k.pyth",
    )
    source = "arXiv 2112.01526, B.2 (30 epochs, batch, learning rate)"
    departures = (
        "warm-up, stochastic depth, augmentation and the crop of testing, which the paper does not give, are as at "
        "224, or ours"
    )
    if row.model == "mvitv2_large":
        recipe = replace(recipe, augment=replace(recipe.augment, mixup=0.0, cutmix=0.0, label_smoothing=0.0))
        source = "arXiv 2112.01526, B.2 (30 epochs, no mixing), and no label smoothing, which the code ties to mixing"
        departures = (
            "the learning rate and batch of the smaller sizes: the paper's 5e-4 for 64 images is 50 times theirs, so "
            "it may be a misprint; the rest as at 224"
        )
    gain = f": {float(row.top1_384) - float(row.top1):.1f} points more" if row.top1_384 else ""
    return published(
        recipe,
        claim=f"larger images after training on smaller ones, with relative positions resized{gain}",
        gmac=row.gmac_384,
        expected=f"top-1 {row.top1_384} %" if row.top1_384 else "no score published at this size",
        source=source,
        departures=f"{departures}; {BFLOAT16} float32",
    )


@dataclass(frozen=True)
class Clips:
    """A size on Kinetics-400: 200 passes of two copies of every clip, at a rate of 1.6e-3 for 512 copies.

    params: millions. gmac: thousands of millions of multiply-adds for a clip. top1: percent, as printed, of 5 views.
    The last two are for Something-Something v2, at the authors' rate for the 16 clips of 8 GPUs.
    """

    name: str
    frames: int
    stride: int
    params: str
    gmac: str
    top1: str
    drop_path: float
    file: str
    rate_ssv2: float = 0.0
    top1_ssv2: str = ""


CLIPS = (
    #     name                 frames, stride params gmac   top-1 drop path file in SlowFast   on SSv2: rate, top-1
    Clips("mvit_base_k400",      16, 4, "37",   "70.6", "78.4", 0.2, "MVIT_B_16x4_CONV"),
    Clips("mvit_base_k400_32x3", 32, 3, "37",   "170",  "80.2", 0.2, "MVIT_B_32x3_CONV"),
    Clips("mvitv2_small_k400",   16, 4, "34.5", "64.5", "81.0", 0.2, "MVITv2_S_16x4",   0.0025, "68.2"),
    Clips("mvitv2_base_k400",    32, 3, "51",   "225",  "82.9", 0.3, "MVITv2_B_32x3",   0.0015, "70.5"),
)  # fmt: skip
SSV2_WEIGHTS = {"mvitv2_small_k400": "f302660347", "mvitv2_base_k400": "f304025456"}
"""How the authors' files of Kinetics weights end."""

_CLIP_DEPARTURES = f"frames are antialiased when they are shrunk, the authors' are not; {BFLOAT16} float32"
_BLOCKS = (
    "that file, and the weights released for it, have 24 blocks and stochastic depth 0.3; here are the 16 blocks of "
    "the paper's table with its 0.2; "
)


def _kinetics(row: Clips) -> Named:
    """The authors' rates are for 16 clips, two copies of each, on 8 GPUs, and 8 times as large for 256 copies."""
    size = row.name.partition("_k400")[0]
    recipe = Recipe(
        name=row.name,
        summary=f"{_title(row)}, {row.frames} frames by {row.stride}, on Kinetics-400, as published",
        model=replace(MVIT_SIZES[f"{size}_{row.frames}x224"], drop_path=row.drop_path, head_dropout=0.5),
        data=ClipData(stride=row.stride, temporal_views=5),
        augment=mvit_clip_augment(),
        optimize=OptimizeConfig(
            learning_rate_per_256=1e-4 * 8, final_learning_rate_per_256=1e-6 * 8,
            start_learning_rate_per_256=1e-6 * 8, no_decay="vectors", warmup_epochs=30 * 2, clip_norm=1.0,
        ),
        loop=LoopConfig(epochs=200 * 2, batch_size=512, repeats=2, evaluate_every=10 * 2, workers=8),
        crop=0.875,
        interpolation="bilinear",
    )  # fmt: skip
    paper = "arXiv 2104.11227, D.1 (batch, 5 views)" if size == "mvit_base" else "arXiv 2112.01526, B.4 (batch)"
    return published(
        recipe,
        claim=f"{row.params} M parameters, from random initialisation, reach {row.top1} % in 200 passes of two copies "
        "of every clip",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} % with 5 views",
        source=f"{paper}, and the authors' code (SlowFast, configs/Kinetics/{row.file}.yaml)",
        departures=_BLOCKS * row.name.endswith("32x3") + _CLIP_DEPARTURES,
    )


def _something(row: Clips) -> Named:
    kinetics = _kinetics(row).recipe
    recipe = replace(
        kinetics,
        name=row.name.replace("k400", "ssv2"),
        summary=f"{_title(row)} on Something-Something v2 from Kinetics-400 weights, as published",
        model=replace(kinetics.model, drop_path=0.4),
        data=ClipData(sampling="segments", temporal_views=1, spatial_views=3),
        # Left and right are part of what happens. Crops of 224 from a shorter side of 256 to 320.
        augment=replace(kinetics.augment, crop="window", side=(224 / 320, 224 / 256), flip=0.0),
        optimize=OptimizeConfig(
            method="sgd", nesterov=True, learning_rate_per_256=row.rate_ssv2 * 16,
            final_learning_rate_per_256=1e-6 * 16, start_learning_rate_per_256=1e-4 * 16, weight_decay=1e-4,
            no_decay="vectors", warmup_epochs=3,
        ),
        loop=replace(kinetics.loop, epochs=100, repeats=1, evaluate_every=2),
        weights=f"{row.file.replace('MVIT', 'MViT')}_k400_{SSV2_WEIGHTS[row.name]}.pyth",
    )  # fmt: skip
    return published(
        recipe,
        claim="classes that differ in motion alone",
        gmac=row.gmac,
        expected=f"top-1 {row.top1_ssv2} % with 3 crops",
        source=f"the authors' code (SlowFast, configs/SSv2/{row.file}.yaml), whose rate is {row.rate_ssv2 * 32:g} at "
        "the batch of arXiv 2112.01526, B.4 (which names 0.02)",
        departures=_CLIP_DEPARTURES,
    )


def _longest() -> Named:
    """MViT-B on 64 frames, which the authors' files do not have: from its 32 frames, as the paper says."""
    row = Clips("mvit_base_k400_64x3", 64, 3, "37", "455", "81.2", 0.2, "")
    short = _kinetics(CLIPS[1]).recipe
    recipe = replace(
        short,
        name=row.name,
        summary=f"{_title(row)}, 64 frames by 3, on Kinetics-400",
        model=replace(MVIT_SIZES["mvit_base_64x224"], drop_path=0.2, head_dropout=0.5),
        data=ClipData(stride=3, temporal_views=3, spatial_views=3),
    )
    return published(
        recipe,
        claim="more frames: a point above 32",
        gmac=row.gmac,
        expected="top-1 81.2 %, top-5 95.1 %, with 3 x 3 views",
        source="arXiv 2104.11227, Table 3 (frames, stride, views); no file of the authors has this size",
        departures=f"the schedule is that of 32 frames; {_CLIP_DEPARTURES}",
    )


def _large_on_kinetics(name: str) -> Named:
    """MViTv2-L: 16 frames from random initialisation, or 40 of 312 pixels from weights of ImageNet-21K."""
    base = _kinetics(CLIPS[3]).recipe
    if name == "mvitv2_large_k400_16x4":
        recipe = replace(
            base,
            name=name,
            summary="MViTv2-L, 16 frames by 4, on Kinetics-400 from random initialisation",
            model=replace(MVIT_SIZES["mvitv2_large_16x224"], drop_path=0.3),
            data=ClipData(stride=4, temporal_views=10),
        )
        return published(
            recipe,
            claim="without pretraining the large model is no better than the small one",
            gmac="377",
            expected="top-1 80.5 % with 10 views",
            source="arXiv 2306.00989, Table 1 and 2112.09133 (score, size, views); settings as mvitv2_base_k400",
            departures=f"stochastic depth is that of the base size; {_CLIP_DEPARTURES}",
        )
    recipe = replace(
        base,
        name=name,
        summary="MViTv2-L, 40 frames by 3 at 312, on Kinetics-400 from ImageNet-21K",
        model=MVIT_SIZES["mvitv2_large_40x312"],
        data=ClipData(stride=3, temporal_views=5, spatial_views=3),
        augment=replace(base.augment, mixup=0.0, cutmix=0.0, label_smoothing=0.0),
        optimize=replace(
            base.optimize, learning_rate_per_256=3.2e-5, final_learning_rate_per_256=2e-6,
            start_learning_rate_per_256=2e-6, weight_decay=1e-8, warmup_epochs=5,
        ),
        loop=replace(base.loop, epochs=30, batch_size=128, repeats=1, evaluate_every=5),
        weights="MViTv2_L_in21k.pyth",
        crop=1.0,
    )  # fmt: skip
    return published(
        recipe,
        claim="a large model, long clips and pretraining on images",
        gmac="2,828",
        expected="top-1 86.1 %, top-5 97.0 %, with 3 x 5 views",
        source="arXiv 2112.01526, B.4 (30 epochs, 1.6e-5 for 128 clips, no mixing, decay 1e-8)",
        departures="the paper first trains 75 epochs at 224 pixels (mvitv2_base_k400_from_images has its settings); "
        f"the warm-up is ours; {_CLIP_DEPARTURES}",
    )


def _from_images() -> Named:
    """MViTv2-B on clips from weights of ImageNet-1K: 100 epochs at 4.8e-4 for 512 clips."""
    base = _kinetics(CLIPS[3]).recipe
    recipe = replace(
        base,
        name="mvitv2_base_k400_from_images",
        summary="MViTv2-B, 32 frames by 3, on Kinetics-400 from ImageNet-1K weights",
        optimize=replace(base.optimize, learning_rate_per_256=2.4e-4),
        loop=replace(base.loop, epochs=200),
        weights="MViTv2_B_in1k.pyth",
    )
    return published(
        recipe,
        claim="weights of images start a model of clips: patches are inflated in time, relative positions in time new",
        gmac="225",
        expected="no score in our sources (82.9 % from random initialisation)",
        source="arXiv 2112.01526, B.4 (100 passes of two copies, 4.8e-4 for 512); from ImageNet-21K: 75 passes, 1.6e-4",
        departures=_CLIP_DEPARTURES,
    )


def _title(row: Clips) -> str:
    family, size = row.name.split("_")[:2]
    return f"{'MViTv2' if family == 'mvitv2' else 'MViT'}-{size[0].upper()}"


def mvit_clip_augment() -> AugmentConfig:
    """MViT's augmentation of clips: four operations of RandAugment, and the crops, mixing and erasing of images."""
    return replace(mvit_imagenet_augment(), rand_augment="rand-m7-n4-mstd0.5-inc1", rand_augment_fill="grey")


RECIPES = (
    *map(_imagenet, IMAGENET),
    *(_imagenet_384(row) for row in IMAGENET if row.gmac_384),
    *map(_kinetics, CLIPS),
    *(_something(row) for row in CLIPS if row.rate_ssv2),
    _longest(),
    _large_on_kinetics("mvitv2_large_k400_16x4"),
    _large_on_kinetics("mvitv2_large_k400"),
    _from_images(),
)
