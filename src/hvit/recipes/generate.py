"""Generation: the transposed NesT against a discriminator, and its convolutional twin; digits and micro sizes on a CPU.

The paper (arXiv 2105.12723) names neither losses nor optimizer. The published sizes follow the authors' later generator
HiT (arXiv 2106.07631): logistic loss, R1, Adam with betas (0, 0.99) at 1e-4, averaged weights; of balanced consistency
its command for ImageNet makes no use.
"""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment import AugmentConfig
from hvit.data.open import CifarData, DigitsData, FolderData
from hvit.models.gan.config import GAN_SIZES, GanConfig
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.recipe import Recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


def nest_gan_digits_32() -> Recipe:
    """A transposed NesT that writes digits like scikit-learn's scans, enlarged to 32 x 32.

    claim: a tree of blocks turned upside down writes digits that a classifier reads, in CPU minutes
    command: hvit train nest_gan_digits_32
    cost: about 4.5 minutes of one CPU core
    expected: a classifier of real digits takes 97 % or more of the samples for what was asked for
    source: ours, after arXiv 2105.12723 and 2106.07631
    run here: yes, with two seeds, see docs/results.md
    """
    return Recipe(
        name="nest_gan_digits_32",
        summary="A transposed NesT that writes digits",
        model=replace(_with_neighbours("nest_gan_digits_32"), conditional=True, r1_weight=0.1),
        data=DigitsData(canvas=8),
        optimize=_optimizer(1.6e-3, 0.99),
        loop=LoopConfig(epochs=10, batch_size=32, evaluate_every=2, workers=0),
        interpolation="bicubic",
    )


def conv_gan_digits_32() -> Recipe:
    """A convolutional generator of about as many parameters that writes the same digits.

    claim: the twin that the transposed NesT is compared with, against the same discriminator
    command: hvit train conv_gan_digits_32
    cost: about 7.5 minutes of one CPU core
    expected: about the distance of nest_gan_digits_32 after as many images, a larger one on the way
    source: ours, after arXiv 1805.08318
    run here: yes, with two seeds, see docs/results.md
    """
    return replace(
        nest_gan_digits_32(),
        name="conv_gan_digits_32",
        summary="A convolutional generator that writes digits, the twin of nest_gan_digits_32",
        model=replace(nest_gan_digits_32().model, generator=GAN_SIZES["conv_gan_digits_32"].generator),
    )


def nest_gan_micro_cifar10() -> Recipe:
    """A small transposed NesT on CIFAR-10, for a CPU.

    claim: learns small photographs, to compare it with its convolutional twin at the same budget
    command: hvit train nest_gan_micro_cifar10 --data.root DIR
    cost: 15,620 steps, hours of CPU cores (not measured whole); a GPU is better
    expected: no published score at this size
    source: ours, after arXiv 2105.12723 and 2106.07631
    run here: 150 steps, see docs/results.md
    """
    return Recipe(
        name="nest_gan_micro_cifar10",
        summary="A small transposed NesT on CIFAR-10",
        model=replace(_with_neighbours("nest_gan_micro_32"), r1_weight=0.1, reference="training", compared=2000),
        data=CifarData(kind="cifar10"),
        optimize=_optimizer(1.6e-3, 0.99),
        loop=LoopConfig(epochs=10, batch_size=32, evaluate_steps=500),
    )


def conv_gan_micro_cifar10() -> Recipe:
    """A small convolutional generator on CIFAR-10, for a CPU.

    claim: the twin of nest_gan_micro_cifar10, against the same discriminator
    command: hvit train conv_gan_micro_cifar10 --data.root DIR
    cost: about 2.6 seconds a step on one CPU core, 15,620 steps; a GPU is better
    expected: no published score at this size
    source: ours, after arXiv 1805.08318
    run here: 150 steps, see docs/results.md
    """
    return replace(
        nest_gan_micro_cifar10(),
        name="conv_gan_micro_cifar10",
        summary="A small convolutional generator on CIFAR-10, the twin of nest_gan_micro_cifar10",
        model=replace(nest_gan_micro_cifar10().model, generator=GAN_SIZES["conv_gan_micro_32"].generator),
    )


def nest_gan_cifar10_32() -> Recipe:
    """A transposed NesT of 23 million parameters on CIFAR-10, for a GPU.

    claim: small photographs by a transposed NesT, with balanced consistency and varied images for so small a set
    command: hvit train nest_gan_cifar10_32 --data.root DIR --model.extractor inception:FILE
    cost: not measured; one GPU
    expected: no published score
    source: ours, after arXiv 2106.07631
    run here: two steps only
    """
    return Recipe(
        name="nest_gan_cifar10_32",
        summary="A transposed NesT on CIFAR-10",
        model=replace(
            GAN_SIZES["nest_gan_32"], consistency=10.0, diff_augment=("translation", "cutout"), reference="training"
        ),
        data=CifarData(kind="cifar10"),
        optimize=_optimizer(2e-4 * 256 / 128, 0.999),
        loop=LoopConfig(epochs=500, batch_size=128, evaluate_every=10),
    )


def conv_gan_cifar10_32() -> Recipe:
    """A convolutional generator of 23 million parameters on CIFAR-10, for a GPU.

    claim: the twin of nest_gan_cifar10_32, against the same discriminator
    command: hvit train conv_gan_cifar10_32 --data.root DIR --model.extractor inception:FILE
    cost: not measured; one GPU
    expected: no published score
    source: ours, after arXiv 1805.08318
    run here: two steps only
    """
    usual = nest_gan_cifar10_32()
    return replace(
        usual,
        name="conv_gan_cifar10_32",
        summary="A convolutional generator on CIFAR-10, the twin of nest_gan_cifar10_32",
        model=replace(usual.model, generator=GAN_SIZES["conv_gan_32"].generator),
    )


def nest_gan_imagenet_64() -> Recipe:
    """The transposed NesT of the published size on ImageNet at 64 x 64.

    claim: converges faster than a convolutional GAN of equal size (the authors' blog, 2022-02-09)
    command: hvit train nest_gan_imagenet_64 --data.root DIR --model.extractor inception:FILE
    cost: not measured; several GPUs
    expected: the blog shows a curve over 1,000 epochs without numbers
    source: arXiv 2105.12723 and its talk for the network; the authors' blog for the 1,000 epochs; the rest as the
        command for ImageNet of the authors' later generator (google-research/hit-gan, README.md and the flags of
        run.py)
    departures: R1 at every 16th step, 16 times as strong, not at every step; the average of the weights from the first
        step on; Adam's epsilon 1e-8, there 1e-7; bfloat16 on a GPU
    run here: two steps only
    """
    return Recipe(
        name="nest_gan_imagenet_64",
        summary="The transposed NesT of the published size on ImageNet at 64 x 64",
        model=replace(GAN_SIZES["nest_gan_64"], reference="training"),
        data=FolderData(labels="auto"),
        augment=AugmentConfig(crop="window", side=(0.875, 0.875), flip=0.5),
        optimize=_optimizer(1e-4, 0.999),
        loop=LoopConfig(epochs=1000, batch_size=256, evaluate_every=10, workers=8),
        crop=0.875,
        interpolation="bicubic",
    )


def conv_gan_imagenet_64() -> Recipe:
    """A convolutional generator of equal size on ImageNet at 64 x 64.

    claim: the twin of nest_gan_imagenet_64, against the same discriminator
    command: hvit train conv_gan_imagenet_64 --data.root DIR --model.extractor inception:FILE
    cost: not measured; several GPUs
    expected: the blog shows a curve over 1,000 epochs without numbers
    source: ours, after arXiv 1805.08318; the rest as nest_gan_imagenet_64
    departures: those of nest_gan_imagenet_64
    run here: two steps only
    """
    usual = nest_gan_imagenet_64()
    return replace(
        usual,
        name="conv_gan_imagenet_64",
        summary="A convolutional generator on ImageNet at 64 x 64, the twin of nest_gan_imagenet_64",
        model=replace(usual.model, generator=GAN_SIZES["conv_gan_64"].generator),
    )


def nest_gan_micro_folder() -> Recipe:
    """A small transposed NesT on your own folder of pictures, for a CPU.

    claim: as nest_gan_micro_cifar10, on pictures of your own, with or without folders of classes
    command: hvit train nest_gan_micro_folder --data.root DIR
    cost: not measured
    expected: depends on the pictures
    source: ours
    run here: two steps only
    """
    usual = nest_gan_micro_cifar10()
    return replace(
        usual,
        name="nest_gan_micro_folder",
        summary="A small transposed NesT on a folder of pictures",
        model=replace(usual.model, diff_augment=("color", "translation", "cutout")),
        data=FolderData(labels="auto"),
        loop=replace(usual.loop, epochs=200, evaluate_every=10, evaluate_steps=0),
    )


def _with_neighbours(name: str) -> GanConfig:
    """A game whose transposed NesT makes blocks by nearest neighbours and a convolution, the best of four ways here."""
    game = GAN_SIZES[name]
    assert isinstance(game.generator, NestGeneratorConfig)
    return replace(game, generator=replace(game.generator, deaggregation="nearest_conv3"))


def _optimizer(rate: float, average: float) -> OptimizeConfig:
    """Adam with HiT's betas at a constant rate, and an average of the generator's weights."""
    return OptimizeConfig(
        learning_rate_per_256=rate,
        final_learning_rate_per_256=rate,
        betas=(0.0, 0.99),
        weight_decay=0.0,
        warmup_epochs=0,
        average_decay=average,
    )


GENERATE = (
    nest_gan_digits_32,
    conv_gan_digits_32,
    nest_gan_micro_cifar10,
    conv_gan_micro_cifar10,
    nest_gan_micro_folder,
    nest_gan_cifar10_32,
    conv_gan_cifar10_32,
    nest_gan_imagenet_64,
    conv_gan_imagenet_64,
)
