"""Generation: the transposed NesT of arXiv 2105.12723, and convolutional baselines against the same discriminators.

The paper names neither losses nor optimizer. The published sizes follow the authors' later generator HiT (arXiv
2106.07631): logistic loss, R1, Adam with betas (0, 0.99) at 1e-4, averaged weights; its command for ImageNet makes no
use of balanced consistency.
"""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import CifarData, DigitsData, FolderData
from hvit.models.gan.config import GAN_SIZES, GENERATOR_SIZES, GanConfig
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.recipe import Recipe
from hvit.recipes.named import Named, named
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


def _nearest(size: str) -> GanConfig:
    """Networks whose transposed NesT enlarges by nearest neighbours and a convolution, the best of four ways here."""
    networks = GAN_SIZES[size]
    assert isinstance(networks.generator, NestGeneratorConfig)
    return replace(networks, generator=replace(networks.generator, deaggregation="nearest_conv3"))


def _optimizer(rate: float, average: float) -> OptimizeConfig:
    """Adam with HiT's betas at a constant rate, and an average of the generator's weights."""
    return OptimizeConfig(
        learning_rate_per_256=rate, final_learning_rate_per_256=rate, betas=(0.0, 0.99), weight_decay=0.0,
        warmup_epochs=0, average_decay=average,
    )  # fmt: skip


DIGITS = Recipe(
    name="nest_gan_digits_32",
    summary="A transposed NesT that generates digits",
    model=replace(_nearest("nest_gan_digits_32"), conditional=True, r1_weight=0.1),
    data=DigitsData(canvas=8),
    optimize=_optimizer(1.6e-3, 0.99),
    loop=LoopConfig(epochs=10, batch_size=32, evaluate_every=2, workers=0),
    interpolation="bicubic",
)
MICRO_CIFAR10 = Recipe(
    name="nest_gan_micro_cifar10",
    summary="A small transposed NesT on CIFAR-10",
    model=replace(_nearest("nest_gan_micro_32"), r1_weight=0.1, reference="training", compared=2000),
    data=CifarData(kind="cifar10"),
    optimize=_optimizer(1.6e-3, 0.99),
    loop=LoopConfig(epochs=10, batch_size=32, evaluate_steps=500),
)
MICRO_FOLDER = replace(
    MICRO_CIFAR10,
    name="nest_gan_micro_folder",
    summary="A small transposed NesT on a folder of photos",
    model=replace(MICRO_CIFAR10.model, diff_augment=("color", "translation", "cutout")),
    data=FolderData(labels="auto"),
    loop=replace(MICRO_CIFAR10.loop, epochs=200, evaluate_every=10, evaluate_steps=0),
)
CIFAR10 = Recipe(
    name="nest_gan_cifar10_32",
    summary="A transposed NesT on CIFAR-10",
    model=replace(
        GAN_SIZES["nest_gan_32"], consistency=10.0, diff_augment=("translation", "cutout"), reference="training"
    ),
    data=CifarData(kind="cifar10"),
    optimize=_optimizer(2e-4 * 256 / 128, 0.999),
    loop=LoopConfig(epochs=500, batch_size=128, evaluate_every=10),
)
IMAGENET = Recipe(
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
SAGAN = replace(
    IMAGENET,
    name="sagan_imagenet_64",
    summary="SAGAN with a generator of 77.8 M parameters on ImageNet at 64 x 64",
    model=replace(GAN_SIZES["sagan_64"], generator=GENERATOR_SIZES["sagan_generator_64"], reference="training"),
    optimize=replace(_optimizer(1e-4 * 256 / 128, 0.0), betas=(0.0, 0.9)),
    loop=replace(IMAGENET.loop, batch_size=128),
)

INCEPTION = "--data.root DIR --model.extractor inception:FILE"
NEST_SOURCE, CONV_SOURCE = "ours, after arXiv 2105.12723 and 2106.07631", "ours, after arXiv 1805.08318"
CURVE = "the blog shows a curve over 1,000 epochs without numbers"


def _baseline(nest: Recipe, size: str, source: str = CONV_SOURCE, **said: str) -> Named:
    """The same run with a convolutional generator of as many parameters."""
    recipe = replace(
        nest,
        name=nest.name.replace("nest", "conv"),
        summary=f"A convolutional baseline for {nest.name}",
        model=replace(nest.model, generator=GAN_SIZES[size].generator),
    )
    return named(recipe, claim=f"the baseline for {nest.name}, with the same discriminator", source=source, **said)


RECIPES = (
    named(
        DIGITS,
        claim="a transposed hierarchy of blocks generates digits that a classifier recognises, in CPU minutes",
        cost="about 4.5 minutes of one CPU core",
        expected="a classifier of real digits gives 97 % or more of the samples the class they were generated for",
        source=NEST_SOURCE,
        run_here="with two seeds",
        options="",
    ),
    _baseline(
        DIGITS,
        "conv_gan_digits_32",
        cost="about 7.5 minutes of one CPU core",
        expected="about the distance of nest_gan_digits_32 after as many images, a larger one on the way",
        run_here="with two seeds",
        options="",
    ),
    named(
        MICRO_CIFAR10,
        claim="generates small photos, to compare it with its baseline at the same budget",
        cost="15,620 steps, hours of CPU cores (not measured whole); a GPU is better",
        expected="no published score at this size",
        source=NEST_SOURCE,
        run_here="150 steps",
    ),
    _baseline(
        MICRO_CIFAR10,
        "conv_gan_micro_32",
        cost="about 2.6 seconds a step on one CPU core, 15,620 steps; a GPU is better",
        expected="no published score at this size",
        run_here="150 steps",
    ),
    named(
        MICRO_FOLDER,
        claim="as nest_gan_micro_cifar10, on photos of your own, with or without folders of classes",
        cost="not measured",
        expected="depends on the photos",
    ),
    named(
        CIFAR10,
        claim="small photos by a transposed NesT, with balanced consistency and augmented images for so small a set",
        cost="not measured; one GPU",
        expected="no published score",
        source="ours, after arXiv 2106.07631",
        options=INCEPTION,
    ),
    _baseline(CIFAR10, "conv_gan_32", cost="not measured; one GPU", expected="no published score", options=INCEPTION),
    named(
        IMAGENET,
        claim="converges faster than a convolutional GAN of equal size (the authors' blog, 2022-02-09)",
        cost="not measured; several GPUs",
        expected=CURVE,
        source="arXiv 2105.12723 and its talk for the network; the authors' blog for the 1,000 epochs; the rest as the "
        "command for ImageNet of the authors' later generator (google-research/hit-gan, README.md and the flags of "
        "run.py)",
        departures="R1 at every 16th step, 16 times as strong, not at every step; the average of the weights from the "
        "first step on; Adam's epsilon 1e-8, there 1e-7; bfloat16 on a GPU",
        options=INCEPTION,
    ),
    _baseline(
        IMAGENET,
        "conv_gan_64",
        f"{CONV_SOURCE}; the rest as nest_gan_imagenet_64",
        cost="not measured; several GPUs",
        expected=CURVE,
        departures="those of nest_gan_imagenet_64",
        options=INCEPTION,
    ),
    named(
        SAGAN,
        claim="the GAN that the transposed NesT is compared with: SAGAN with a generator of 77.8 million parameters",
        cost="not measured; several GPUs",
        expected=CURVE,
        source="arXiv 1805.08318 (both rates and betas) and its code (brain-research/self-attention-gan, model.py: "
        "hinge loss; train_imagenet.py: 4 x 32 images, no average of the weights); the authors' blog of NesT for the "
        "1,000 epochs, without classes; crops and evaluation as nest_gan_imagenet_64",
        departures="the generator's widths are ours, for the 77.8 million parameters of NesT's talk; the code stops "
        "after 2,000,000 steps, lets the generator's rate fall from 4e-4 to 1e-4, and has TensorFlow's second beta of "
        "0.999; bfloat16 on a GPU",
        options=INCEPTION,
    ),
)
