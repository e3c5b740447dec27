"""Classification: the published NesT recipes, micro ones for a CPU, and ViT and ResNet twins to compare with."""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment import AugmentConfig, nest_cifar_augment, nest_imagenet_augment
from hvit.data.open import CifarData, DigitsData, FolderData
from hvit.models.baselines import RESNET_SIZES, VIT_SIZES
from hvit.models.nest.config import NEST_SIZES
from hvit.recipe import Recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


def nest_micro_digits() -> Recipe:
    """A small NesT on scikit-learn's scanned digits, placed anywhere on 32 x 32 canvases: the demo.

    claim: a hierarchical transformer learns from 1,350 scans in CPU minutes, and its tree says where it looked
    command: hvit train nest_micro_digits
    cost: 1.5 to 2 minutes on 2 CPU cores
    expected: at least 98 % on held-out digits; GradCAT finds the quadrant of at least 97 % of the digits in mosaics
    source: ours
    run here: yes, see docs/results.md
    """
    return Recipe(
        name="nest_micro_digits",
        summary="A small NesT on real handwritten digits",
        model=replace(NEST_SIZES["nest_micro_32"], in_channels=1),
        data=DigitsData(),
        optimize=OptimizeConfig(learning_rate_per_256=8e-3, warmup_epochs=2, clip_norm=1.0),
        loop=LoopConfig(epochs=24, batch_size=64, evaluate_every=4, workers=0),
    )


def vit_micro_digits() -> Recipe:
    """A plain ViT of the same number of parameters on the same digits.

    claim: the twin that NesT is compared with
    command: hvit train vit_micro_digits
    cost: about 2.5 minutes on 2 CPU cores
    expected: below nest_micro_digits after the same number of epochs
    source: ours
    run here: yes, see docs/results.md
    """
    return replace(
        nest_micro_digits(),
        name="vit_micro_digits",
        summary="A plain ViT on real handwritten digits, the twin of nest_micro_digits",
        model=replace(VIT_SIZES["vit_micro_32"], in_channels=1),
    )


def resnet_micro_digits() -> Recipe:
    """A ResNet of the same number of parameters on the same digits.

    claim: the convolutional twin that NesT and its explanations are compared with
    command: hvit train resnet_micro_digits
    cost: about twice as long as nest_micro_digits, by the rates on one core each
    expected: 98.9 % on held-out digits, as nest_micro_digits; the learning rate was chosen for NesT
    source: ours
    run here: yes, see docs/results.md
    """
    return replace(
        nest_micro_digits(),
        name="resnet_micro_digits",
        summary="A ResNet on real handwritten digits, the twin of nest_micro_digits",
        model=replace(RESNET_SIZES["resnet_micro_32"], in_channels=1),
    )


def nest_micro_cifar10() -> Recipe:
    """A small NesT on CIFAR-10, for a CPU.

    claim: at equal parameters and epochs NesT learns faster than a plain ViT
    command: hvit train nest_micro_cifar10 --data.root DIR
    cost: about 2 minutes an epoch on 2 CPU cores, from the rate on a subset
    expected: no published score at this size
    source: ours
    run here: on a subset, see docs/results.md
    """
    return Recipe(
        name="nest_micro_cifar10",
        summary="A small NesT on CIFAR-10",
        model=NEST_SIZES["nest_micro_32"],
        data=CifarData(kind="cifar10"),
        augment=AugmentConfig(crop="pad", flip=0.5, label_smoothing=0.1),
        optimize=_micro_optimizer(),
        loop=LoopConfig(epochs=30, batch_size=128),
    )


def vit_micro_cifar10() -> Recipe:
    """A plain ViT of the same number of parameters on CIFAR-10.

    claim: the twin that NesT is compared with
    command: hvit train vit_micro_cifar10 --data.root DIR
    cost: about 2.5 minutes an epoch on 2 CPU cores, from the rate on a subset
    expected: below nest_micro_cifar10 after the same number of epochs
    source: ours
    run here: on a subset, see docs/results.md
    """
    return replace(
        nest_micro_cifar10(),
        name="vit_micro_cifar10",
        summary="A plain ViT on CIFAR-10, the twin of nest_micro_cifar10",
        model=VIT_SIZES["vit_micro_32"],
    )


def resnet_micro_cifar10() -> Recipe:
    """A ResNet of the same number of parameters on CIFAR-10.

    claim: the convolutional twin that NesT and its explanations are compared with
    command: hvit train resnet_micro_cifar10 --data.root DIR
    cost: not measured; about 1.8 times the multiply-adds of nest_micro_cifar10
    expected: not measured; the learning rate was chosen for NesT
    source: ours
    run here: two steps only
    """
    return replace(
        nest_micro_cifar10(),
        name="resnet_micro_cifar10",
        summary="A ResNet on CIFAR-10, the twin of nest_micro_cifar10",
        model=RESNET_SIZES["resnet_micro_32"],
    )


def nest_micro_folder() -> Recipe:
    """A small NesT on your own folder of photos, for a CPU.

    claim: a folder of labelled photos becomes a classifier that explains itself, on any computer
    command: hvit train nest_micro_folder --data.root DIR
    cost: about 3 minutes for a thousand photos on 2 CPU cores
    expected: depends on the photos; for few photos start from published weights with a larger recipe
    source: ours
    run here: yes, see docs/results.md
    """
    return Recipe(
        name="nest_micro_folder",
        summary="A small NesT on a folder of photos",
        model=NEST_SIZES["nest_micro_64"],
        data=FolderData(),
        augment=AugmentConfig(crop="resized", area=(0.25, 1.0), flip=0.5, color_jitter=0.3, label_smoothing=0.1),
        optimize=_micro_optimizer(),
        loop=LoopConfig(epochs=40, batch_size=64, evaluate_every=4),
        crop=0.875,
    )


def vit_micro_folder() -> Recipe:
    """A plain ViT of the same number of parameters on your own folder of photos.

    claim: the twin that NesT is compared with
    command: hvit train vit_micro_folder --data.root DIR
    cost: about 3 minutes for a thousand photos on 2 CPU cores
    expected: below nest_micro_folder after the same number of epochs
    source: ours
    run here: two steps only
    """
    return replace(
        nest_micro_folder(),
        name="vit_micro_folder",
        summary="A plain ViT on a folder of photos, the twin of nest_micro_folder",
        model=VIT_SIZES["vit_micro_64"],
    )


def nest_tiny_cifar10() -> Recipe:
    """NesT-T on CIFAR-10 as published.

    claim: 6 M parameters, trained on CIFAR-10 alone, reach the accuracy of far larger transformers
    command: hvit train nest_tiny_cifar10 --data.root DIR
    cost: not measured; 300 epochs of 2.1 GMAC images, for a GPU
    expected: top-1 96.04 %
    source: arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _cifar("tiny", "cifar10", batch_size=192)


def nest_small_cifar10() -> Recipe:
    """NesT-S on CIFAR-10 as published.

    claim: larger NesTs gain on small data, too
    command: hvit train nest_small_cifar10 --data.root DIR
    cost: not measured; 300 epochs of 8.1 GMAC images, for a GPU
    expected: top-1 96.97 %
    source: arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _cifar("small", "cifar10", batch_size=64)


def nest_base_cifar10() -> Recipe:
    """NesT-B on CIFAR-10 as published.

    claim: larger NesTs gain on small data, too
    command: hvit train nest_base_cifar10 --data.root DIR
    cost: not measured; 300 epochs of 31.7 GMAC images, for a GPU
    expected: top-1 97.20 %
    source: arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _cifar("base", "cifar10", batch_size=32)


def nest_tiny_cifar100() -> Recipe:
    """NesT-T on CIFAR-100 as published.

    claim: 6 M parameters, trained on CIFAR-100 alone, reach the accuracy of far larger transformers
    command: hvit train nest_tiny_cifar100 --data.root DIR
    cost: not measured; 300 epochs of 2.1 GMAC images, for a GPU
    expected: top-1 78.69 %
    source: arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _cifar("tiny", "cifar100", batch_size=192)


def nest_small_cifar100() -> Recipe:
    """NesT-S on CIFAR-100 as published.

    claim: larger NesTs gain on small data, too
    command: hvit train nest_small_cifar100 --data.root DIR
    cost: not measured; 300 epochs of 8.1 GMAC images, for a GPU
    expected: top-1 81.70 %
    source: arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _cifar("small", "cifar100", batch_size=64)


def nest_base_cifar100() -> Recipe:
    """NesT-B on CIFAR-100 as published.

    claim: larger NesTs gain on small data, too
    command: hvit train nest_base_cifar100 --data.root DIR
    cost: not measured; 300 epochs of 31.7 GMAC images, for a GPU
    expected: top-1 82.56 %
    source: arXiv 2105.12723, Table 1, and the authors' code (nested-transformer, configs/cifar_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _cifar("base", "cifar100", batch_size=32)


def nest_tiny_imagenet() -> Recipe:
    """NesT-T on ImageNet-1K at 224 as published.

    claim: 17 M parameters reach 81.5 % in 300 epochs
    command: torchrun --nproc-per-node 8 -m hvit train nest_tiny_imagenet --data.root DIR --out DIR
    cost: not measured; 300 epochs of 5.8 GMAC images, for several GPUs
    expected: top-1 81.5 %
    source: arXiv 2105.12723, Table 2, and the authors' code (nested-transformer, configs/imagenet_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _imagenet("tiny")


def nest_small_imagenet() -> Recipe:
    """NesT-S on ImageNet-1K at 224 as published.

    claim: 38 M parameters reach 83.3 % in 300 epochs
    command: torchrun --nproc-per-node 8 -m hvit train nest_small_imagenet --data.root DIR --out DIR
    cost: not measured; 300 epochs of 10.3 GMAC images, for several GPUs
    expected: top-1 83.3 %
    source: arXiv 2105.12723, Table 2, and the authors' code (nested-transformer, configs/imagenet_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _imagenet("small")


def nest_base_imagenet() -> Recipe:
    """NesT-B on ImageNet-1K at 224 as published.

    claim: 68 M parameters reach 83.8 % in 300 epochs, and 82.3 % in 100
    command: torchrun --nproc-per-node 8 -m hvit train nest_base_imagenet --data.root DIR --out DIR
    cost: not measured; 300 epochs of 17.9 GMAC images, for several GPUs
    expected: top-1 83.8 %
    source: arXiv 2105.12723, Table 2, and the authors' code (nested-transformer, configs/imagenet_nest.py)
    departures: how crops, jitter and mixing draw (docs/data.md); bfloat16 on a GPU, there float32
    run here: two steps only
    """
    return _imagenet("base")


def nest_base_imagenet_384() -> Recipe:
    """NesT-B fine-tuned on ImageNet-1K at 384, from the weights of 224.

    claim: larger images after pretraining on smaller ones, with positions resized inside each block
    command: torchrun --nproc-per-node 8 -m hvit train nest_base_imagenet_384 --data.root DIR --weights FILE --out DIR
    cost: not measured; 30 epochs of 59.9 GMAC images, for several GPUs
    expected: no score published from ImageNet-1K weights (86.2 % from ImageNet-22K)
    source: resizing as the official code; epochs and learning rate are ours, the paper's are not public
    departures: epochs, warm-up, learning rate and weight decay are ours; the rest as at 224
    run here: two steps only
    """
    recipe = _imagenet("base")
    return replace(
        recipe,
        name="nest_base_imagenet_384",
        summary="NesT-B fine-tuned on ImageNet-1K at 384 x 384",
        model=replace(NEST_SIZES["nest_base_224"], input_size=(384, 384)),
        optimize=OptimizeConfig(learning_rate_per_256=1e-5, weight_decay=1e-8, warmup_epochs=2),
        loop=replace(recipe.loop, epochs=30, batch_size=256),
        weights="timm",
        position_resize="block",
        crop=1.0,
    )


def _micro_optimizer() -> OptimizeConfig:
    return OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=2, clip_norm=1.0)


def _cifar(size: str, kind: str, batch_size: int) -> Recipe:
    model = NEST_SIZES[f"nest_{size}_32"]
    return Recipe(
        name=f"nest_{size}_{kind}",
        summary=f"NesT-{size[0].upper()} on CIFAR-{kind.removeprefix('cifar')}, as published",
        model=replace(model, num_classes=int(kind.removeprefix("cifar"))),
        data=CifarData(kind="cifar10" if kind == "cifar10" else "cifar100"),
        augment=nest_cifar_augment(),
        optimize=OptimizeConfig(warmup_epochs=5),
        loop=LoopConfig(epochs=300, batch_size=batch_size, workers=8),
    )


def _imagenet(size: str) -> Recipe:
    return Recipe(
        name=f"nest_{size}_imagenet",
        summary=f"NesT-{size[0].upper()} on ImageNet-1K, as published",
        model=NEST_SIZES[f"nest_{size}_224"],
        data=FolderData(),
        augment=nest_imagenet_augment(),
        optimize=OptimizeConfig(warmup_epochs=20),
        loop=LoopConfig(epochs=300, batch_size=1024, workers=8),
        crop=0.875,
    )


CLASSIFY = (
    nest_micro_digits,
    vit_micro_digits,
    resnet_micro_digits,
    nest_micro_cifar10,
    vit_micro_cifar10,
    resnet_micro_cifar10,
    nest_micro_folder,
    vit_micro_folder,
    nest_tiny_cifar10,
    nest_small_cifar10,
    nest_base_cifar10,
    nest_tiny_cifar100,
    nest_small_cifar100,
    nest_base_cifar100,
    nest_tiny_imagenet,
    nest_small_imagenet,
    nest_base_imagenet,
    nest_base_imagenet_384,
)
