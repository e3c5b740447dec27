"""The families that experiments compare, at 0.57 million parameters, and the runs that choose their learning rates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import CifarData, FolderData
from hvit.experiments.experiment import ScaleName
from hvit.models.baselines import RESNET_SIZES, VIT_SIZES
from hvit.models.catalogue import ModelConfig
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.nest.config import NEST_SIZES
from hvit.models.timm_baselines import baseline
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

CIFAR, PHOTOS, IMAGENET = "cifar10", "photos10", "imagenet"
CLIPS, KINETICS = "clips", "kinetics400"
"""Folders of the data under the one that `--data-root` names."""

MODELS: dict[str, ModelConfig] = {
    "nest": NEST_SIZES["nest_micro_32"],
    "nest4": replace(NEST_SIZES["nest_micro_32"], patch_size=(4, 4)),
    "vit": VIT_SIZES["vit_micro_32"],
    "resnet": RESNET_SIZES["resnet_micro_32"],
    "hiera": HIERA_SIZES["hiera_micro_32"],
    "mvitv2": MVIT_SIZES["mvitv2_micro_32"],
}
"""Our models, at the size of a laptop, for CIFAR; those of timm are made where they are asked for (`model_of`)."""
TITLES = {
    "nest": "NesT, 2x2 patches",
    "nest4": "NesT, 4x4 patches",
    "vit": "ViT, 4x4 patches",
    "resnet": "ResNet",
    "hiera": "Hiera",
    "mvitv2": "MViTv2",
    "swin": "Swin",
    "swin_no_shift": "Swin without shift",
    "pvtv2": "PVT v2",
    "regnety": "RegNetY",
    "wide_resnet": "Wide ResNet",
    "deit": "ViT with a class token",
    "vit_patch2": "ViT with 2x2 patches",
}

SUMMARY = "A run of an experiment (hvit experiments)"
WEAK = AugmentConfig(crop="pad", flip=0.5, label_smoothing=0.1)
"""Shifts and flips: the augmentation of all experiments that say nothing else."""


@dataclass(frozen=True)
class Size:
    """How much a run sees. per_class: training images of a class, None for all; tested: held-out ones of a class."""

    per_class: int | None
    epochs: int
    batch_size: int = 128
    tested: int | None = None


RATES: dict[ScaleName, tuple[float, ...]] = {
    "small": (1e-3, 2e-3, 4e-3, 8e-3),
    "quick": (2e-3, 4e-3, 8e-3),
    "published": (),
}
"""Peak learning rates for 256 images that the sweep of a family compares; at full scale the published rate is taken."""
SWEEPS: dict[ScaleName, Size] = {
    "small": Size(400, 4, 128, 100),
    "quick": Size(400, 1, 64, 100),
    "published": Size(None, 1),
}
SWEEP_SEED = 1_000
"""Another seed than any that is measured: other images, another start."""


def model_of(family: str) -> ModelConfig:
    """The model of a family at the size of a laptop, for CIFAR."""
    return MODELS[family] if family in MODELS else baseline(family)


def title_of(family: str) -> str:
    """What tables call a family where its patches say nothing."""
    return TITLES[family].split(",")[0]


def classify_cifar(name: str, model: ModelConfig, size: Size, augment: AugmentConfig = WEAK) -> Recipe:
    """A classifier of CIFAR-10 at the size of a laptop; a tenth of the epochs is warm-up."""
    return Recipe(
        name=name,
        summary=SUMMARY,
        model=model,
        data=CifarData(root=CIFAR, num_per_class=size.per_class, held_out_per_class=size.tested),
        augment=augment,
        optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=size.epochs / 10, clip_norm=1.0),
        loop=LoopConfig(epochs=size.epochs, batch_size=size.batch_size, evaluate_every=size.epochs, workers=0),
    )


def on_imagenet(name: str, model: ModelConfig, like: str = "nest_tiny_imagenet") -> Recipe:
    """A classifier of ImageNet as a published recipe has it, with another model."""
    recipe = get_recipe(like)
    return replace(
        recipe,
        name=name,
        summary=SUMMARY,
        model=model,
        data=replace(recipe.data, root=IMAGENET) if isinstance(recipe.data, FolderData) else recipe.data,
    )


def sweep(family: str, scale: ScaleName) -> dict[float, Recipe]:
    """The short runs that choose a family's learning rate: by the lowest training loss at their end."""
    found = {}
    for rate in RATES[scale]:
        recipe = classify_cifar(f"rate_{family}", model_of(family), SWEEPS[scale])
        found[rate] = replace(recipe, seed=SWEEP_SEED, optimize=replace(recipe.optimize, learning_rate_per_256=rate))
    return found
