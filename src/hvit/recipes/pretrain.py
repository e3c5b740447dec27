"""Masked pretraining of hierarchical encoders: on your own pile, for a CPU."""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment import AugmentConfig
from hvit.data.images import CifarData, FolderData
from hvit.models.hiera import HIERA_SIZES
from hvit.models.masked import MaskedConfig
from hvit.recipe import Recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


def hiera_micro_mae_cifar10() -> Recipe:
    """Masked pretraining of a small Hiera on CIFAR-10, without its labels.

    claim: an encoder is pretrained without labels, for a classifier to start from; what that gains is not measured yet
    command: hvit train hiera_micro_mae_cifar10 --data.root DIR
    cost: not measured
    expected: no published score at this size
    source: ours, after arXiv 2306.00989, Table 14
    run here: two steps only
    """
    return Recipe(
        name="hiera_micro_mae_cifar10",
        summary="Masked pretraining of a small Hiera on CIFAR-10",
        model=_micro("hiera_micro_32"),
        data=CifarData(kind="cifar10"),
        augment=AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5),
        optimize=_optimizer(),
        loop=LoopConfig(epochs=40, batch_size=128, evaluate_every=5),
    )


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
        model=_micro("hiera_micro_64"),
        data=FolderData(),
        loop=LoopConfig(epochs=100, batch_size=64, evaluate_every=10),
    )


def _micro(name: str) -> MaskedConfig:
    return MaskedConfig(HIERA_SIZES[name], decoder_dim=96, decoder_depth=2, decoder_heads=3)


def _optimizer() -> OptimizeConfig:
    return OptimizeConfig(
        learning_rate_per_256=2e-3, betas=(0.9, 0.95), warmup_epochs=4, clip_norm=1.0, no_decay="positions_and_vectors"
    )


PRETRAIN = (hiera_micro_mae_cifar10, hiera_micro_mae_folder)
