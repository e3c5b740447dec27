"""Masked pretraining of hierarchical encoders: on your own pile for a CPU, and Hiera as published."""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment import AugmentConfig
from hvit.data.open import CifarData, FolderData
from hvit.models.masked.config import MASKED_SIZES
from hvit.recipe import Recipe
from hvit.recipes.lineage import hiera_micro_cifar10, hiera_micro_folder
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


def hiera_micro_mae_cifar10() -> Recipe:
    """Masked pretraining of a small Hiera on CIFAR-10, without its labels.

    claim: an encoder is pretrained without labels, for a classifier with few labels to start from
    command: hvit train hiera_micro_mae_cifar10 --data.root DIR
    cost: about 3 minutes an epoch on one CPU core
    expected: no published score at this size
    source: ours, after arXiv 2306.00989, Table 14
    run here: two of its forty epochs, see docs/results.md
    """
    return Recipe(
        name="hiera_micro_mae_cifar10",
        summary="Masked pretraining of a small Hiera on CIFAR-10",
        model=MASKED_SIZES["mae_hiera_micro_32"],
        data=CifarData(kind="cifar10"),
        augment=AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5),
        optimize=_optimizer(),
        loop=LoopConfig(epochs=40, batch_size=128, evaluate_every=5),
    )


def hiera_micro_cifar10_finetune() -> Recipe:
    """A small Hiera on CIFAR-10, starting from its masked pretraining.

    claim: with 50 labels a class it ends above new weights at the same budget, with 500 and a small budget below
    command: hvit train hiera_micro_cifar10_finetune --weights runs/hiera_micro_mae_cifar10 --data.root DIR
    cost: not measured with all labels
    expected: no published score at this size
    source: ours, after arXiv 2306.00989, Table 14
    run here: on 50 and 500 images a class, see docs/results.md
    """
    return _finetuned(hiera_micro_cifar10(), "hiera_micro_mae_cifar10")


def hiera_micro_mae_folder() -> Recipe:
    """Masked pretraining of a small Hiera on your own folder of photos.

    claim: as hiera_micro_mae_cifar10, on photos of your own
    command: hvit train hiera_micro_mae_folder --data.root DIR
    cost: not measured
    expected: depends on the photos
    source: ours, after arXiv 2306.00989, Table 14
    run here: two steps only
    """
    return replace(
        hiera_micro_mae_cifar10(),
        name="hiera_micro_mae_folder",
        summary="Masked pretraining of a small Hiera on a folder of photos",
        model=MASKED_SIZES["mae_hiera_micro_64"],
        data=FolderData(labels="auto"),
        loop=LoopConfig(epochs=100, batch_size=64, evaluate_every=10),
    )


def hiera_micro_folder_finetune() -> Recipe:
    """A small Hiera on your own folder of photos, starting from its masked pretraining.

    claim: as hiera_micro_cifar10_finetune, on photos of your own
    command: hvit train hiera_micro_folder_finetune --weights runs/hiera_micro_mae_folder --data.root DIR
    cost: not measured
    expected: depends on the photos
    source: ours, after arXiv 2306.00989, Table 14
    run here: two steps only
    """
    return _finetuned(hiera_micro_folder(), "hiera_micro_mae_folder")


def hiera_tiny_imagenet_mae() -> Recipe:
    """Masked pretraining of Hiera-T on ImageNet-1K as published.

    claim: an encoder from which hiera_tiny_imagenet_finetune reaches 82.8 %, after pretraining without labels
    command: torchrun --nproc-per-node 8 -m hvit train hiera_tiny_imagenet_mae --data.root DIR --out DIR
    cost: not measured; 1,600 epochs of 8.06 GMAC images (and their gradients), for several GPUs
    expected: 82.8 % after fine-tuning (the authors'); no score of pretraining is published
    source: arXiv 2306.00989, Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions
        and vectors, as an author's unfinished code (dbolya/hiera, hiera/train/config.py)
    departures: bfloat16 on a GPU, there float16
    run here: two steps only
    """
    return _published("tiny", "T", drop_path=0.0)


def hiera_small_imagenet_mae() -> Recipe:
    """Masked pretraining of Hiera-S on ImageNet-1K as published.

    claim: an encoder from which hiera_small_imagenet_finetune reaches 83.8 %, after pretraining without labels
    command: torchrun --nproc-per-node 8 -m hvit train hiera_small_imagenet_mae --data.root DIR --out DIR
    cost: not measured; 1,600 epochs of 8.62 GMAC images (and their gradients), for several GPUs
    expected: 83.8 % after fine-tuning (the authors'); no score of pretraining is published
    source: arXiv 2306.00989, Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions
        and vectors, as an author's unfinished code (dbolya/hiera, hiera/train/config.py)
    departures: bfloat16 on a GPU, there float16
    run here: two steps only
    """
    return _published("small", "S", drop_path=0.0)


def hiera_base_imagenet_mae() -> Recipe:
    """Masked pretraining of Hiera-B on ImageNet-1K as published.

    claim: an encoder from which hiera_base_imagenet_finetune reaches 84.5 %, after pretraining without labels
    command: torchrun --nproc-per-node 8 -m hvit train hiera_base_imagenet_mae --data.root DIR --out DIR
    cost: not measured; 1,600 epochs of 10.1 GMAC images (and their gradients), for several GPUs
    expected: 84.5 % after fine-tuning (the authors'); no score of pretraining is published
    source: arXiv 2306.00989, Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions
        and vectors, as an author's unfinished code (dbolya/hiera, hiera/train/config.py)
    departures: bfloat16 on a GPU, there float16
    run here: two steps only
    """
    return _published("base", "B", drop_path=0.2)


def hiera_base_plus_imagenet_mae() -> Recipe:
    """Masked pretraining of Hiera-B+ on ImageNet-1K as published.

    claim: an encoder from which hiera_base_plus_imagenet_finetune reaches 85.2 %, after pretraining without labels
    command: torchrun --nproc-per-node 8 -m hvit train hiera_base_plus_imagenet_mae --data.root DIR --out DIR
    cost: not measured; 1,600 epochs of 11.9 GMAC images (and their gradients), for several GPUs
    expected: 85.2 % after fine-tuning (the authors'); no score of pretraining is published
    source: arXiv 2306.00989, Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions
        and vectors, as an author's unfinished code (dbolya/hiera, hiera/train/config.py)
    departures: bfloat16 on a GPU, there float16
    run here: two steps only
    """
    return _published("base_plus", "B+", drop_path=0.2)


def hiera_large_imagenet_mae() -> Recipe:
    """Masked pretraining of Hiera-L on ImageNet-1K as published.

    claim: an encoder from which hiera_large_imagenet_finetune reaches 86.1 %, after pretraining without labels
    command: torchrun --nproc-per-node 8 -m hvit train hiera_large_imagenet_mae --data.root DIR --out DIR
    cost: not measured; 1,600 epochs of 24.4 GMAC images (and their gradients), for several GPUs
    expected: 86.1 % after fine-tuning (the authors'); no score of pretraining is published
    source: arXiv 2306.00989, Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions
        and vectors, as an author's unfinished code (dbolya/hiera, hiera/train/config.py)
    departures: bfloat16 on a GPU, there float16
    run here: two steps only
    """
    return _published("large", "L", drop_path=0.2)


def hiera_huge_imagenet_mae() -> Recipe:
    """Masked pretraining of Hiera-H on ImageNet-1K as published.

    claim: an encoder from which hiera_huge_imagenet_finetune reaches 86.9 %, after pretraining without labels
    command: torchrun --nproc-per-node 8 -m hvit train hiera_huge_imagenet_mae --data.root DIR --out DIR
    cost: not measured; 1,600 epochs of 64.9 GMAC images (and their gradients), for several GPUs
    expected: 86.9 % after fine-tuning (the authors'); no score of pretraining is published
    source: arXiv 2306.00989, Table 14; 400 epochs (--loop.epochs 400) are its shorter schedule; no decay of positions
        and vectors, as an author's unfinished code (dbolya/hiera, hiera/train/config.py)
    departures: bfloat16 on a GPU, there float16
    run here: two steps only
    """
    return _published("huge", "H", drop_path=0.3)


def _published(size: str, letter: str, drop_path: float) -> Recipe:
    model = MASKED_SIZES[f"mae_hiera_{size}_224"]
    return Recipe(
        name=f"hiera_{size}_imagenet_mae",
        summary=f"Masked pretraining of Hiera-{letter} on ImageNet-1K, as published",
        model=replace(model, encoder=replace(model.encoder, drop_path=drop_path)),
        data=FolderData(labels="auto"),
        augment=AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5),
        optimize=replace(_optimizer(), learning_rate_per_256=8e-4 / 16, warmup_epochs=40, clip_norm=0.0),
        loop=LoopConfig(epochs=1600, batch_size=4096, evaluate_every=20, workers=8),
        crop=0.875,
        interpolation="bicubic",
    )


def _finetuned(recipe: Recipe, pretraining: str) -> Recipe:
    """A recipe for training from new weights, made one for starting from those of a pretraining run."""
    return replace(
        recipe,
        name=f"{recipe.name}_finetune",
        summary=f"{recipe.summary}, starting from its masked pretraining",
        optimize=replace(
            recipe.optimize, learning_rate_per_256=2e-3, layer_decay=0.8, no_decay="positions_and_vectors"
        ),
        loop=replace(recipe.loop, epochs=max(recipe.loop.epochs // 3, 1)),
        weights=f"runs/{pretraining}",
    )


def _optimizer() -> OptimizeConfig:
    return OptimizeConfig(
        learning_rate_per_256=2e-3, betas=(0.9, 0.95), warmup_epochs=4, clip_norm=1.0, no_decay="positions_and_vectors"
    )


PRETRAIN = (
    hiera_micro_mae_cifar10,
    hiera_micro_cifar10_finetune,
    hiera_micro_mae_folder,
    hiera_micro_folder_finetune,
    hiera_tiny_imagenet_mae,
    hiera_small_imagenet_mae,
    hiera_base_imagenet_mae,
    hiera_base_plus_imagenet_mae,
    hiera_large_imagenet_mae,
    hiera_huge_imagenet_mae,
)
