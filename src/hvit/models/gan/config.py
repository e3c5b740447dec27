"""A generator with its discriminator and their objective: what a run of generation trains."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.gan.conv_generator import CONVOLUTION_GENERATOR_SIZES, ConvolutionGenerator, ConvolutionGeneratorConfig
from hvit.models.gan.discriminators import (
    Discriminator,
    ResidualDiscriminator,
    ResidualDiscriminatorConfig,
    SaganDiscriminator,
    SaganDiscriminatorConfig,
)
from hvit.models.gan.generator import Generator
from hvit.models.gan.nest_generator import NEST_GENERATOR_SIZES, NestGenerator, NestGeneratorConfig

GeneratorConfig = NestGeneratorConfig | ConvolutionGeneratorConfig
DiscriminatorConfig = ResidualDiscriminatorConfig | SaganDiscriminatorConfig
ImageAugmentation = Literal["color", "translation", "cutout"]

GENERATOR_SIZES: dict[str, GeneratorConfig] = {**NEST_GENERATOR_SIZES, **CONVOLUTION_GENERATOR_SIZES}
"""Every generator by name."""


@dataclass(frozen=True)
class GanConfig:
    """A generator, its discriminator, and their objective.

    The paper of the transposed NesT states none of it. Defaults are those of the authors' later generator HiT (arXiv
    2106.07631, its code's flags), but for the interval of R1, which is StyleGAN2's (arXiv 1912.04958).
    """

    generator: Annotated[GeneratorConfig, Field(discriminator="family")]
    """The network that generates images."""
    discriminator: Annotated[DiscriminatorConfig, Field(discriminator="family")]
    """The network that tries to distinguish them from real ones."""
    family: Literal["gan"] = "gan"
    """The model family."""
    conditional: bool = False
    """Whether both networks are given the class of every image; how many there are follows from the data."""
    loss: Literal["logistic", "hinge"] = "logistic"
    """What is minimised: the non-saturating logistic loss, or the hinge loss (SAGAN)."""
    r1_weight: float = 10.0
    """Weight of R1, the squared gradient of the discriminator at real images, without a half before it; 0: none."""
    r1_every: int = 16
    """Steps between penalties; each counts for all steps since the last one."""
    consistency: float = 0.0
    """Weight of balanced consistency regularisation: logits stay when an image is augmented (HiT: 10); 0: none."""
    consistency_augment: tuple[ImageAugmentation, ...] = ("color", "translation", "cutout")
    """How images are augmented for it."""
    diff_augment: tuple[ImageAugmentation, ...] = ()
    """How all images that the discriminator sees are augmented, for small data (DiffAugment); empty: not at all."""
    discriminator_rate: float = 1.0
    """The discriminator's learning rate as a multiple of the generator's (SAGAN: 4)."""
    extractor: str = "pixels"
    """What samples are evaluated with: pixels (8 x 8 means), a classifier's weights file or run, teacher (the network
    of the extra `teacher`), dinov2:SIZE (such as vit-s-14), or inception:FILE (for FID)."""
    compared: int = 10_000
    """How many generated images an evaluation compares with real ones; fewer where fewer are held out."""
    reference: Literal["held_out", "training"] = "held_out"
    """The real images that generated ones are compared with; published FIDs are usually of training images."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("r1_weight", "consistency"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} must be 0 or more; got {getattr(self, name)}")
        if not 0.0 < self.discriminator_rate < math.inf:
            raise UserError(f"discriminator_rate must be above 0; got {self.discriminator_rate}")
        for name, least in (("r1_every", 1), ("compared", 2)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be {least} or more; got {getattr(self, name)}")
        if self.consistency and not self.consistency_augment:
            raise UserError("consistency needs consistency_augment, such as translation")
        if self.generator.num_classes and not self.conditional:
            raise UserError("networks with num_classes need conditional true; leave num_classes at 0 for none")
        generated = (self.generator.output_size, self.generator.out_channels, self.generator.num_classes)
        taken = (self.discriminator.input_size, self.discriminator.in_channels, self.discriminator.num_classes)
        if generated != taken:
            raise UserError(
                f"the generator makes images of size, channels and classes {generated}, but the discriminator takes "
                f"{taken}: set output_size, out_channels and num_classes of the one and input_size, in_channels and "
                f"num_classes of the other alike"
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return self.generator.output_size

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return self.generator.out_channels

    @property
    def num_classes(self) -> int:
        """Classes whose labels both networks are given; 0: none are."""
        return self.generator.num_classes

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers or blocks in each level of the generator."""
        return self.generator.depths

    def with_classes(self, num_classes: int) -> GanConfig:
        """The same for data of so many classes, whose labels are given if it is conditional; 0: without labels."""
        num_classes = num_classes if self.conditional else 0
        return replace(
            self,
            generator=replace(self.generator, num_classes=num_classes),
            discriminator=replace(self.discriminator, num_classes=num_classes),
        )


def build_generator(config: GeneratorConfig) -> Generator:
    """A generator at random initialisation."""
    return NestGenerator(config) if isinstance(config, NestGeneratorConfig) else ConvolutionGenerator(config)


def build_discriminator(config: DiscriminatorConfig) -> Discriminator:
    """A discriminator at random initialisation."""
    if isinstance(config, ResidualDiscriminatorConfig):
        return ResidualDiscriminator(config)
    return SaganDiscriminator(config)


class GanNetworks(NamedTuple):
    """A generator and its discriminator."""

    generator: Generator
    discriminator: Discriminator


def build_networks(config: GanConfig) -> GanNetworks:
    """A generator and its discriminator at random initialisation."""
    return GanNetworks(build_generator(config.generator), build_discriminator(config.discriminator))


_DISCRIMINATORS: dict[str, DiscriminatorConfig] = {
    "64": ResidualDiscriminatorConfig(),
    "32": ResidualDiscriminatorConfig(input_size=(32, 32), dims=(512, 512, 512, 512)),
    "micro_32": ResidualDiscriminatorConfig(input_size=(32, 32), dims=(32, 64, 128, 128)),
    "digits_32": ResidualDiscriminatorConfig(input_size=(32, 32), in_channels=1, dims=(16, 32, 64, 128)),
}

GAN_SIZES: dict[str, GanConfig] = {
    **{
        f"{kind}_gan_{size}": GanConfig(GENERATOR_SIZES[f"{kind}_generator_{size}"], discriminator)
        for kind in ("nest", "conv")
        for size, discriminator in _DISCRIMINATORS.items()
    },
    "sagan_64": GanConfig(
        GENERATOR_SIZES["conv_generator_64"], SaganDiscriminatorConfig(), loss="hinge", r1_weight=0.0,
        discriminator_rate=4.0,
    ),
}  # fmt: skip
"""Transposed NesTs and their parameter-matched baselines, each pair with the same discriminator; and SAGAN."""
