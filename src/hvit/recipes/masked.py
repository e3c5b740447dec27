"""What Hiera is compared with: masked autoencoders of plain ViTs, and MaskFeat of ViT and MViTv2, as published.

Masked autoencoders (arXiv 2111.06377) have the settings of the authors' code (facebookresearch/mae), MaskFeat (arXiv
2112.09133) those of SlowFast, configs/masked_ssl. SlowFast's rates are for the batch of 8 GPUs, and grow with their
number. Fine-tuning starts from the run folder of the pretraining.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvit.data.augment_settings import AugmentConfig, hiera_imagenet_augment
from hvit.data.clips.settings import ClipData
from hvit.data.open import FolderData
from hvit.models.baselines import VIT_SIZES
from hvit.models.masked.config import MASKED_SIZES
from hvit.models.mvit.config import MVIT_SIZES
from hvit.recipe import Recipe
from hvit.recipes.mvit import mvit_clip_augment
from hvit.recipes.named import BFLOAT16, Named, published
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

_CLASS_TOKEN = "no class token, of which the authors' fine-tuning makes no other use than attention"


@dataclass(frozen=True)
class Vit:
    """A ViT on ImageNet-1K. Rates are for 256 images; mae_gmac, gmac: thousands of millions of multiply-adds."""

    size: str
    letter: str
    params: int
    mae_gmac: str
    gmac: str
    epochs: int
    rate: float
    layer_decay: float
    drop_path: float
    top1: str


MAE = (
    #   size             params mae_gmac gmac   epochs rate layer decay, drop path, top-1
    Vit("base",  "B/16",   86,  "9.67", "17.5",  100, 5e-4, 0.65, 0.1, "83.6"),
    Vit("large", "L/16",  304,  "20.4", "61.2",   50, 1e-3, 0.75, 0.2, "85.9"),
    Vit("huge",  "H/14",  632,  "47.9", "167",    50, 1e-3, 0.75, 0.3, "86.9"),
)  # fmt: skip
MASKFEAT = (
    Vit("base",  "B/16",   86,  "17.5", "17.5",  100, 1e-3, 0.65, 0.1, "84.0"),
    Vit("large", "L/16",  304,  "61.3", "61.2",   50, 1e-3, 0.75, 0.1, "85.7"),
)  # fmt: skip


def _mae(row: Vit) -> Named:
    recipe = Recipe(
        name=f"vit_{row.size}_imagenet_mae",
        summary=f"Masked pretraining of ViT-{row.letter} on ImageNet-1K, as published",
        model=MASKED_SIZES[f"mae_vit_{row.size}_224"],
        data=FolderData(labels="auto"),
        augment=AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5),
        optimize=OptimizeConfig(
            learning_rate_per_256=1.5e-4, betas=(0.9, 0.95), warmup_epochs=40, no_decay="positions_and_vectors"
        ),
        loop=LoopConfig(epochs=1600, batch_size=4096, evaluate_every=20, workers=8),
        crop=0.875,
        interpolation="bicubic",
    )
    return published(
        recipe,
        claim="what Hiera's pretraining is compared with: a plain ViT of which three quarters are masked",
        gmac=row.mae_gmac,
        expected=f"{row.top1} % after fine-tuning (the authors')",
        source="arXiv 2111.06377, and the authors' code (mae, PRETRAIN.md and main_pretrain.py), with the 1,600 epochs "
        "of the released weights",
        departures=f"positions are trained, there they are fixed sines; {_CLASS_TOKEN}; {BFLOAT16} float16",
    )


def _mae_finetuning(row: Vit) -> Named:
    recipe = Recipe(
        name=f"vit_{row.size}_imagenet_mae_finetune",
        summary=f"ViT-{row.letter} fine-tuned on ImageNet-1K after masked pretraining, as published",
        model=replace(VIT_SIZES[f"vit_{row.size}_224"], drop_path=row.drop_path),
        data=FolderData(),
        augment=hiera_imagenet_augment(),
        optimize=OptimizeConfig(
            learning_rate_per_256=row.rate, final_learning_rate_per_256=1e-6 / 4, warmup_epochs=5,
            layer_decay=row.layer_decay, no_decay="positions_and_vectors",
        ),
        loop=LoopConfig(epochs=row.epochs, batch_size=1024, workers=8),
        weights=f"runs/vit_{row.size}_imagenet_mae",
        crop=0.875,
        interpolation="bicubic",
    )  # fmt: skip
    return published(
        recipe,
        claim=f"{row.params} M parameters of a plain ViT reach {row.top1} % after masked pretraining",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} %",
        source="arXiv 2111.06377, and the authors' code (mae, FINETUNE.md and main_finetune.py)",
        departures=f"{_CLASS_TOKEN}; {BFLOAT16} float16",
    )


def _maskfeat(row: Vit) -> Named:
    recipe = Recipe(
        name=f"vit_{row.size}_maskfeat",
        summary=f"MaskFeat of ViT-{row.letter} on ImageNet-1K, as published",
        model=MASKED_SIZES[f"maskfeat_vit_{row.size}_224"],
        data=FolderData(labels="auto"),
        augment=AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5),
        optimize=OptimizeConfig(
            learning_rate_per_256=2e-4, final_learning_rate_per_256=1e-6, start_learning_rate_per_256=1e-6,
            warmup_epochs=30, clip_norm=0.02, no_decay="vectors",
        ),
        loop=LoopConfig(epochs=1600, batch_size=2048, evaluate_every=20, workers=8),
        crop=0.875,
        interpolation="bicubic",
    )  # fmt: skip
    return published(
        recipe,
        claim="histograms of gradients are as good a target as pixels or tokens",
        gmac=row.mae_gmac,
        expected=f"{row.top1} % after fine-tuning (the authors')",
        source=f"arXiv 2112.09133, and the authors' code (SlowFast, configs/masked_ssl/in1k_VIT_{row.letter[0]}_"
        "MaskFeat_PT.yaml), with the 1,600 epochs of the released weights, where the file has 300",
        departures=f"the batch is ours (the rate follows it); {_MASKS}; {_CLASS_TOKEN}; {BFLOAT16} float32",
    )


def _maskfeat_finetuning(row: Vit) -> Named:
    """The authors' rates are 2e-3 for 512 images of B and 1e-3 for 256 of L; so are those of start and end."""
    step = 1.0 if row.size == "large" else 0.5
    recipe = Recipe(
        name=f"vit_{row.size}_maskfeat_finetune",
        summary=f"ViT-{row.letter} fine-tuned on ImageNet-1K after MaskFeat, as published",
        model=replace(VIT_SIZES[f"vit_{row.size}_224"], drop_path=row.drop_path),
        data=FolderData(),
        augment=hiera_imagenet_augment(),
        optimize=OptimizeConfig(
            learning_rate_per_256=row.rate, final_learning_rate_per_256=1e-6 * step,
            start_learning_rate_per_256=1e-8 * step, warmup_epochs=20 if row.size == "base" else 5,
            layer_decay=row.layer_decay, no_decay="vectors",
        ),
        loop=LoopConfig(epochs=row.epochs, batch_size=1024, workers=8),
        weights=f"runs/vit_{row.size}_maskfeat",
        crop=0.875,
        interpolation="bicubic",
    )  # fmt: skip
    return published(
        recipe,
        claim=f"{row.params} M parameters of a plain ViT reach {row.top1} % after MaskFeat",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} %",
        source=f"arXiv 2112.09133, and the authors' code (SlowFast, configs/masked_ssl/in1k_VIT_{row.letter[0]}_"
        "MaskFeat_FT.yaml)",
        departures=f"the batch is ours (the rate follows it); {_HEAD}; {_CLASS_TOKEN}; {BFLOAT16} float32",
    )


_MASKS = "masks are boxes of other proportions"
_HEAD = "the head is initialised as the rest is, the authors' is a thousandth of that"


@dataclass(frozen=True)
class Clips:
    """An MViTv2 on Kinetics-400. The rate of fine-tuning is that of 8 GPUs, for 16 clips of so many copies each."""

    size: str
    letter: str
    params: str
    mae_gmac: str
    gmac: str
    pretrained: int
    copies: int
    epochs: int
    warmup: int
    rate: float
    first_rate: float
    last_rate: float
    layer_decay: float
    drop_path: float
    top1: str


KINETICS = (
    #     size           params  gmac  gmac  pretrained, copies, epochs, warm-up, rates: peak, first, last, decay, drop
    Clips("small", "S", "36",  "89.1", "71.1",  300, 2, 100, 20, 6e-4, 1e-6, 1e-6, 0.75,  0.1, "82.2"),
    Clips("large", "L", "218", "460",  "376", 800, 1,  75,  5, 6e-4, 1e-8, 1e-5, 0.875, 0.2, "84.3"),
)  # fmt: skip


def _kinetics(row: Clips) -> Named:
    """The authors' rate is for 32 clips on 8 GPUs, 8 times as large for 256."""
    recipe = Recipe(
        name=f"mvitv2_{row.size}_maskfeat",
        summary=f"MaskFeat of MViTv2-{row.letter} on Kinetics-400, as published",
        model=MASKED_SIZES[f"maskfeat_mvitv2_{row.size}_mean_16x224"],
        data=ClipData(labels="auto"),
        augment=AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5),
        optimize=OptimizeConfig(
            learning_rate_per_256=1e-4 * 8, final_learning_rate_per_256=1e-6 * 8, start_learning_rate_per_256=1e-6 * 8,
            warmup_epochs=10, clip_norm=0.02, no_decay="vectors",
        ),
        loop=LoopConfig(epochs=row.pretrained, batch_size=512, evaluate_every=20, workers=8),
        crop=0.875,
        interpolation="bilinear",
    )  # fmt: skip
    return published(
        recipe,
        claim="pretraining on the same clips, without labels, replaces pretraining on images",
        gmac=row.mae_gmac,
        expected=f"{row.top1} % after fine-tuning (the authors')",
        source=f"arXiv 2112.09133, and the authors' code (SlowFast, configs/masked_ssl/k400_MVITv2_{row.letter}_16x4_"
        f"MaskFeat_PT.yaml), with the {row.pretrained} epochs of the released weights",
        departures=f"the batch is ours (the rate follows it); {_MASKS}; {_CLASS_TOKEN}; {BFLOAT16} float32",
    )


def _kinetics_finetuning(row: Clips) -> Named:
    scale = 256 / (16 * row.copies)
    recipe = Recipe(
        name=f"mvitv2_{row.size}_maskfeat_finetune",
        summary=f"MViTv2-{row.letter} fine-tuned on Kinetics-400 after MaskFeat, as published",
        model=replace(MVIT_SIZES[f"mvitv2_{row.size}_mean_16x224"], drop_path=row.drop_path),
        data=ClipData(temporal_views=10),
        augment=replace(mvit_clip_augment(), rand_augment="rand-m7-mstd0.5-inc1"),
        optimize=OptimizeConfig(
            learning_rate_per_256=row.rate * scale, final_learning_rate_per_256=row.last_rate * scale,
            start_learning_rate_per_256=row.first_rate * scale, warmup_epochs=row.warmup * row.copies, clip_norm=5.0,
            layer_decay=row.layer_decay, no_decay="vectors",
        ),
        loop=LoopConfig(
            epochs=row.epochs * row.copies, batch_size=256, repeats=row.copies, evaluate_every=5 * row.copies, workers=8
        ),
        weights=f"runs/mvitv2_{row.size}_maskfeat",
        crop=0.875,
        interpolation="bilinear",
    )  # fmt: skip
    return published(
        recipe,
        claim=f"{row.params} M parameters reach {row.top1} % without labels of other data",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} % with 10 views",
        source=f"arXiv 2112.09133, and the authors' code (SlowFast, configs/masked_ssl/k400_MVITv2_{row.letter}_16x4_"
        "FT.yaml)",
        departures=f"the batch is ours (the rate follows it); {_HEAD}; {_CLASS_TOKEN}; {BFLOAT16} float32",
    )


RECIPES = (
    *map(_mae, MAE),
    *map(_mae_finetuning, MAE),
    *map(_maskfeat, MASKFEAT),
    *map(_maskfeat_finetuning, MASKFEAT),
    *map(_kinetics, KINETICS),
    *map(_kinetics_finetuning, KINETICS),
)
