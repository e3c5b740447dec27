"""NesT as published (arXiv 2105.12723): CIFAR of Table 1, ImageNet of Table 2, and fine-tuning at 384 x 384.

The settings are those of the authors' code, google-research/nested-transformer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hvit.data.augment_settings import nest_cifar_augment, nest_imagenet_augment
from hvit.data.open import CifarData, FolderData
from hvit.models.nest.config import NEST_SIZES
from hvit.recipe import Recipe
from hvit.recipes.named import BFLOAT16, Named, published
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


@dataclass(frozen=True)
class Row:
    """A run of the paper's tables; all have 300 epochs, and a rate of 2.5e-4 for 256 images."""

    size: str
    classes: Literal[10, 100, 1000]
    batch: int
    params: int
    """Millions."""
    gmac: str
    """Thousands of millions of multiply-adds for an image."""
    top1: str
    """Percent, as printed."""


TABLE = (
    #   size    classes batch params gmac    top-1
    Row("tiny",    10,   192,   6,  "2.1",  "96.04"),
    Row("small",   10,    64,  23,  "8.1",  "96.97"),
    Row("base",    10,    32,  90,  "31.7", "97.20"),
    Row("tiny",   100,   192,   6,  "2.1",  "78.69"),
    Row("small",  100,    64,  23,  "8.1",  "81.70"),
    Row("base",   100,    32,  90,  "31.7", "82.56"),
    Row("tiny",  1000,  1024,  17,  "5.8",  "81.5"),
    Row("small", 1000,  1024,  38,  "10.3", "83.3"),
    Row("base",  1000,  1024,  68,  "17.9", "83.8"),
)  # fmt: skip

_DEPARTURES = f"how random crops, colour jitter and mixing draw (docs/reference/data.md); {BFLOAT16} float32"


def _cifar(row: Row) -> Named:
    title = f"CIFAR-{row.classes}"
    recipe = Recipe(
        name=f"nest_{row.size}_cifar{row.classes}",
        summary=f"NesT-{row.size[0].upper()} on {title}, as published",
        model=replace(NEST_SIZES[f"nest_{row.size}_32"], num_classes=row.classes),
        data=CifarData(kind="cifar10" if row.classes == 10 else "cifar100"),
        augment=nest_cifar_augment(),
        optimize=OptimizeConfig(warmup_epochs=5),
        loop=LoopConfig(epochs=300, batch_size=row.batch, workers=8),
    )
    smallest = f"{row.params} M parameters, trained on {title} alone, reach the accuracy of far larger transformers"
    return published(
        recipe,
        claim=smallest if row.size == "tiny" else "larger NesTs gain on small data, too",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} %",
        source="arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)",
        departures=_DEPARTURES,
    )


def _imagenet(row: Row) -> Named:
    recipe = Recipe(
        name=f"nest_{row.size}_imagenet",
        summary=f"NesT-{row.size[0].upper()} on ImageNet-1K, as published",
        model=NEST_SIZES[f"nest_{row.size}_224"],
        data=FolderData(),
        augment=nest_imagenet_augment(),
        optimize=OptimizeConfig(warmup_epochs=20),
        loop=LoopConfig(epochs=300, batch_size=row.batch, workers=8),
        crop=0.875,
    )
    shorter = ", and 82.3 % in 100" if row.size == "base" else ""
    return published(
        recipe,
        claim=f"{row.params} M parameters reach {row.top1} % in 300 epochs{shorter}",
        gmac=row.gmac,
        expected=f"top-1 {row.top1} %",
        source="arXiv 2105.12723, Table 2, and the authors' code (nested-transformer, configs/imagenet_nest.py)",
        departures=_DEPARTURES,
    )


def _base_at_384(at_224: Recipe) -> Named:
    recipe = replace(
        at_224,
        name="nest_base_imagenet_384",
        summary="NesT-B fine-tuned on ImageNet-1K at 384 x 384",
        model=replace(NEST_SIZES["nest_base_224"], input_size=(384, 384)),
        optimize=OptimizeConfig(learning_rate_per_256=1e-5, weight_decay=1e-8, warmup_epochs=2),
        loop=replace(at_224.loop, epochs=30, batch_size=256),
        weights="timm",
        position_resize="block",
        crop=1.0,
    )
    return published(
        recipe,
        claim="larger images after pretraining on smaller ones, with positions resized inside each block",
        gmac="59.9",
        expected="no score published from ImageNet-1K weights (86.2 % from ImageNet-22K)",
        source="resizing as the official code; epochs and learning rate are ours, the paper's are not public",
        departures="epochs, warm-up, learning rate and weight decay are ours; the rest as at 224",
    )


IMAGENET_22K = 21_841
"""Classes of ImageNet-22K, a folder of each; what a folder lacks, its classes lack."""
_NOT_PUBLISHED = "epochs, warm-up, learning rate and weight decay are ours, as no source gives those of NesT"


def _base_on_22k(at_224: Recipe) -> Named:
    recipe = replace(
        at_224,
        name="nest_base_imagenet22k",
        summary="NesT-B pretrained on ImageNet-22K, with labels",
        model=replace(at_224.model, num_classes=None),  # pyright: ignore[reportCallIssue, reportArgumentType]
        optimize=OptimizeConfig(warmup_epochs=5),
        loop=replace(at_224.loop, epochs=90, batch_size=4096, evaluate_every=5),
    )
    return published(
        recipe,
        claim=f"weights of {IMAGENET_22K:,} classes, from which nest_base_imagenet22k_384 starts",
        gmac="18.0",
        expected="no score of the pretraining is published",
        source="arXiv 2105.12723 names ImageNet-22K; 90 epochs as Swin (arXiv 2103.14030) has them",
        departures=f"{_NOT_PUBLISHED}; the rest as on ImageNet-1K",
    )


def _base_from_22k(at_384: Recipe) -> Named:
    recipe = replace(
        at_384,
        name="nest_base_imagenet22k_384",
        summary="NesT-B from ImageNet-22K, fine-tuned on ImageNet-1K at 384 x 384",
        weights="runs/nest_base_imagenet22k",
    )
    return published(
        recipe,
        claim="with ImageNet-22K, NesT-B is as good as Swin-B (86.0 %) and better than ViT-B/16 (84.0 %)",
        gmac="59.9",
        expected="top-1 86.2 %",
        source="arXiv 2105.12723 and its talk (score); positions resized as the official code",
        departures=f"{_NOT_PUBLISHED}; neither is the resolution of 384",
    )


def _cifar_block8(row: Row) -> Named:
    """The CIFAR models of the paper's own table: three levels of blocks of 8 x 8 tokens, four layers each."""
    named = _cifar(row)
    recipe = replace(
        named.recipe,
        name=f"{named.recipe.name}_block8",
        summary=f"{named.header.summary}, with the three levels of the paper's table",
        model=NEST_SIZES[f"nest_{row.size}_32_block8"],
    )
    return published(
        recipe,
        claim="the model of the paper's table, where the code has four levels of smaller blocks and shared keys",
        gmac=BLOCK8_GMAC[row.size],
        expected=f"top-1 {row.top1} %, if the paper's scores are of its table and not of its code",
        source=f"{named.header.source}; the sizes as a reading of the paper's table has them",
        departures=_DEPARTURES,
    )


BLOCK8_GMAC = {"tiny": "2.9", "small": "11.5", "base": "45.4"}
_published = tuple(_imagenet(row) if row.classes == 1000 else _cifar(row) for row in TABLE)
_at_384 = _base_at_384(_published[-1].recipe)
RECIPES = (
    *_published,
    _at_384,
    _base_on_22k(_published[-1].recipe),
    _base_from_22k(_at_384.recipe),
    *(_cifar_block8(row) for row in TABLE if row.classes == 10),
)
