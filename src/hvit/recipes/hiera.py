"""Hiera as published (arXiv 2306.00989): masked pretraining and fine-tuning on images and clips.

What the tables do not give (crops, erasing and how layer decay counts) is that of an author's unfinished code
(dbolya/hiera, hiera/train/config.py). Epochs count the copies of repeated sampling.

Fine-tuning on ImageNet and Kinetics names the authors' file of weights, that on Something-Something the run folder of
the pretraining; it is refused where that is not there and no other is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvit.data.augment_settings import AugmentConfig, hiera_imagenet_augment
from hvit.data.clips.settings import ClipData
from hvit.data.open import FolderData
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES
from hvit.recipe import Recipe
from hvit.recipes.mvit import mvit_clip_augment
from hvit.recipes.named import BFLOAT16, Named, published
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


@dataclass(frozen=True)
class Phase:
    """Pretraining or fine-tuning on a data set: what is the same for all sizes. The rates, and what else differs, are
    in the table of sizes."""

    title: str
    input: str
    """How the sizes of the model for this data set end."""
    data: FolderData | ClipData
    augment: AugmentConfig
    optimize: OptimizeConfig
    loop: LoopConfig
    source: str
    departures: str
    weights: str | None = None
    score: str = ""


_CROPS = AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5)
_MAE = OptimizeConfig(betas=(0.9, 0.95), no_decay="positions_and_vectors")
_HEADS = (
    "the decoder has 16 heads, as the authors' weights, where the table has 8; the batch is taken to count copies, "
    "which the paper does not say; bfloat16 on a GPU"
)
PRETRAINING = {
    "imagenet": Phase(
        "ImageNet-1K", "224", FolderData(labels="auto"), replace(_CROPS, area=(0.2, 1.0)),
        replace(_MAE, warmup_epochs=40),
        LoopConfig(epochs=1600, batch_size=4096, evaluate_every=20, workers=8),
        "Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions and vectors, as an "
        "author's unfinished code (dbolya/hiera, hiera/train/config.py)",
        f"{BFLOAT16} float16",
    ),
    "k400": Phase(
        "Kinetics-400", "16x224", ClipData(labels="auto"), _CROPS,
        replace(_MAE, warmup_epochs=120),
        LoopConfig(epochs=3200, batch_size=512, repeats=4, evaluate_every=80, workers=8),
        "Table 11 (schedule of 3,200 epochs)",
        _HEADS,
    ),
    "ssv2": Phase(  # left and right are part of what happens: no flips
        "Something-Something v2", "16x224", ClipData(labels="auto", sampling="segments"), replace(_CROPS, flip=0.0),
        replace(_MAE, warmup_epochs=30, clip_norm=0.02),
        LoopConfig(epochs=1600, batch_size=1024, repeats=4, evaluate_every=80, workers=8),
        "Table 12",
        f"repeated sampling as on Kinetics, which the table does not give; {_HEADS}",
    ),
}  # fmt: skip

_CLIPS = replace(mvit_clip_augment(), rand_augment="rand-m7-mstd0.5-inc1", erasing=0.0)
_FINETUNE = OptimizeConfig(no_decay="positions_and_vectors", layer_decay_from="last_layer")
FINETUNING = {
    "imagenet": Phase(
        "ImageNet-1K after masked pretraining", "224", FolderData(), hiera_imagenet_augment(),
        replace(_FINETUNE, warmup_epochs=5),
        LoopConfig(batch_size=1024, workers=8),
        "Table 14; crops, erasing and the count of layer decay are of an author's unfinished code (dbolya/hiera, "
        "hiera/train/config.py)",
        f"{BFLOAT16} float16",
        "mae_hiera_{}_224.pth", " from the authors' masked-pretrained weights",
    ),
    "k400": Phase(
        "Kinetics-400 after masked pretraining", "16x224", ClipData(temporal_views=5, spatial_views=3), _CLIPS,
        replace(_FINETUNE, warmup_epochs=10, clip_norm=5.0),
        LoopConfig(batch_size=256, repeats=2, evaluate_every=10, workers=8),
        "Table 11; the count of layer decay is of an author's unfinished code",
        "crops, and how RandAugment fills and interpolates, as MViT's; no erasing, as the table has none; the batch is "
        "taken to count copies; bfloat16 on a GPU",
        "mae_hiera_{}_16x224.pth", " with 15 views, from weights of 3,200 epochs",
    ),
    "ssv2": Phase(
        "Something-Something v2", "16x224", ClipData(sampling="segments", spatial_views=3), replace(_CLIPS, flip=0.0),
        replace(_FINETUNE, method="sgd", weight_decay=1e-4, warmup_epochs=3),
        LoopConfig(batch_size=256, evaluate_every=2, workers=8),
        "Table 12",
        "crops and operations of RandAugment as on Kinetics; no erasing, as the table has none; SGD without Nesterov's "
        "momentum; bfloat16 on a GPU",
        "runs/hiera_{}_ssv2_mae", " with 3 crops",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """A size on a data set: its pretraining, its fine-tuning, and the score after both.

    params: millions. gmac: thousands of millions of multiply-adds for an image or clip. rate: that at the published
    batch. top1: percent, as printed.
    """

    data: str
    size: str
    letter: str
    params: int
    mae_gmac: str
    mae_rate: float
    mae_drop_path: float
    gmac: str
    epochs: int
    rate: float
    drop_path: float
    dropout: float
    layer_decay: float
    top1: str


TABLE = (
    #                                     pretraining:            fine-tuning:
    #    data        size             params gmac  rate drop path  gmac  epochs rate drop path, dropout, decay  top-1
    Size("imagenet", "tiny",      "T",   28, "8.06", 8e-4,   0.0,  "4.9",   300, 2e-3, 0.1, 0.0, 0.65,  "82.8"),
    Size("imagenet", "small",     "S",   35, "8.62", 8e-4,   0.0,  "6.4",   200, 2e-3, 0.1, 0.0, 0.65,  "83.8"),
    Size("imagenet", "base",      "B",   52, "10.1", 8e-4,   0.2,  "9.4",   100, 2e-3, 0.1, 0.0, 0.7,   "84.5"),
    Size("imagenet", "base_plus", "B+",  70, "11.9", 8e-4,   0.2,  "12.6",  100, 1e-3, 0.1, 0.0, 0.7,   "85.2"),
    Size("imagenet", "large",     "L",  214, "24.4", 8e-4,   0.2,  "40.3",   50, 1e-3, 0.1, 0.0, 0.85,  "86.1"),
    Size("imagenet", "huge",      "H",  673, "64.9", 8e-4,   0.3,  "125",    50, 1e-3, 0.3, 0.0, 0.85,  "86.9"),
    Size("k400",     "base",      "B",   52, "70.4", 8e-4,   0.1,  "102",   150, 8e-4, 0.2, 0.3, 0.8,   "84.0"),
    Size("k400",     "base_plus", "B+",  70, "73.9", 8e-4,   0.2,  "132",   150, 8e-4, 0.2, 0.3, 0.8,   "85.0"),
    Size("k400",     "large",     "L",  214, "100",  8e-4,   0.2,  "412",   100, 8e-4, 0.2, 0.5, 0.875, "87.3"),
    Size("k400",     "huge",      "H",  673, "184",  3.2e-4, 0.4,  "1,159", 100, 4e-4, 0.3, 0.5, 0.875, "87.8"),
    Size("ssv2",     "large",     "L",  214, "100",  8e-4,   0.2,  "413",    40, 0.16, 0.1, 0.5, 0.875, "74.9"),
)  # fmt: skip

CLAIMS = {
    "imagenet": "{params} M parameters without specialised parts reach {top1} % after masked pretraining",
    "k400": "a plain hierarchy reaches {top1} % after masked pretraining on the same clips",
    "ssv2": "classes that differ in motion alone, after masked pretraining on the same clips",
}


def _pretraining(row: Size) -> Named:
    phase = PRETRAINING[row.data]
    model = MASKED_SIZES[f"mae_hiera_{row.size}_{phase.input}"]
    recipe = Recipe(
        name=f"hiera_{row.size}_{row.data}_mae",
        summary=f"Masked pretraining of Hiera-{row.letter} on {phase.title}, as published",
        model=replace(model, encoder=replace(model.encoder, drop_path=row.mae_drop_path)),
        data=phase.data,
        augment=phase.augment,
        optimize=replace(phase.optimize, learning_rate_per_256=row.mae_rate * 256 / phase.loop.batch_size),
        loop=phase.loop,
        crop=0.875,
        interpolation="bicubic" if row.data == "imagenet" else "bilinear",
    )
    return published(
        recipe,
        claim=f"an encoder from which hiera_{row.size}_{row.data}_finetune reaches {row.top1} %, after pretraining "
        "without labels",
        gmac=row.mae_gmac,
        expected=f"{row.top1} % after fine-tuning (the authors'); no score of pretraining is published",
        source=f"arXiv 2306.00989, {phase.source}",
        departures=phase.departures,
    )


def _finetuning(row: Size) -> Named:
    phase = FINETUNING[row.data]
    model = HIERA_SIZES[f"hiera_{row.size}_{phase.input}"]
    rate = row.rate * 256 / phase.loop.batch_size
    recipe = Recipe(
        name=f"hiera_{row.size}_{row.data}_finetune",
        summary=f"Hiera-{row.letter} fine-tuned on {phase.title}, as published",
        model=replace(model, drop_path=row.drop_path, head_dropout=row.dropout),
        data=phase.data,
        augment=phase.augment,
        optimize=replace(phase.optimize, learning_rate_per_256=rate, layer_decay=row.layer_decay),
        loop=replace(phase.loop, epochs=row.epochs),
        weights=phase.weights and phase.weights.format(row.size),
        crop=0.875,
        interpolation="bicubic" if row.data == "imagenet" else "bilinear",
    )
    return published(
        recipe,
        claim=CLAIMS[row.data].format(params=row.params, top1=row.top1),
        gmac=row.gmac,
        expected=f"top-1 {row.top1} %{phase.score}",
        source=f"arXiv 2306.00989, {phase.source}",
        departures=phase.departures,
    )


RECIPES = (*map(_pretraining, TABLE), *map(_finetuning, TABLE))
