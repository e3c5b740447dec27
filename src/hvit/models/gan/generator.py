"""The contract of every generator: latents (and class labels) in, images out; and the sizes that all have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.layers.grids import PositionResize

OutputActivation = Literal["tanh", "none"]


@dataclass(frozen=True)
class ImageGeneratorConfig:
    """The fields of all generators of images."""

    family: str = ""
    """The model family."""
    output_size: tuple[int, int] = (64, 64)
    """Height and width of the images in pixels; they are squares."""
    out_channels: int = 3
    """Channels of the images: 3 for colour, 1 for grey."""
    num_classes: int = 0
    """Number of classes of which images can be generated; 0: images are generated without a label."""
    latent_dim: int = 128
    """Numbers of the latent that an image is generated from (SAGAN's)."""
    output_activation: OutputActivation = "tanh"
    """What keeps pixels from -1 to 1: tanh (SAGAN), or none, where samples are clipped (HiT)."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images, by the name that other families have for it."""
        return self.output_size

    @property
    def in_channels(self) -> int:
        """Channels of the images, by the name that other families have for it."""
        return self.out_channels


class Generator(nn.Module, ABC):
    """A network that generates images from latents; with classes, from latents and labels.

    config: the frozen dataclass it was built from.
    """

    config: Any
    position_resizes: tuple[PositionResize, ...] = ("plane",)
    """As `Encoder.position_resizes`."""

    def __init__(self, config: ImageGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        # As PyTorch draws them, normal with standard deviation 1: at first a label moves as much as a latent does.
        self.classes = nn.Embedding(config.num_classes, config.latent_dim) if config.num_classes else None

    @abstractmethod
    def generate(self, latents: Tensor) -> Tensor:
        """Images (batch, out_channels, *output_size) of latents (batch, latent_dim), the labels already in them."""

    def settle(self, latents: Tensor, labels: Tensor | None = None) -> None:
        """Readies the network for evaluation with weights that it was not trained with step by step, as averaged ones.

        latents, labels: as for `forward`, a few hundred.
        """

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (batch, out_channels, *output_size), from -1 to 1; with output_activation "none" a little beyond.

        latents: (batch, latent_dim), normal with standard deviation 1. labels: (batch,) class numbers, whose embeddings
        are added to the latents; for generators without classes None. Raises UserError for other shapes.
        """
        width = self.config.latent_dim
        if not isinstance(latents, Tensor) or not latents.is_floating_point():
            raise UserError(f"latents must be a tensor of floating-point numbers; got {_kind_of(latents)}")
        if latents.ndim != 2 or latents.shape[1] != width:
            raise UserError(f"this generator takes latents (batch, {width}); got shape {tuple(latents.shape)}")
        check_labels(labels, self.config.num_classes)
        if self.classes is not None:
            latents = latents + self.classes(labels)
        return self.generate(latents)

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`: none can be, as a generator of another size has other levels."""
        return None


def check_labels(labels: Tensor | None, num_classes: int) -> None:
    """Refuses (UserError) labels for a network without classes, their absence for one with classes, and labels that
    are no whole numbers (batch,) or, where looking costs nothing, out of range."""
    if labels is None and num_classes:
        raise UserError(f"this network has {num_classes} classes and needs a label for every image")
    if labels is not None and not num_classes:
        raise UserError("this network has no classes: labels must be None")
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.dtype not in (torch.int32, torch.int64) or labels.ndim != 1:
        raise UserError(f"labels must be a tensor (batch,) of int64 class numbers; got {_kind_of(labels)}")
    watched = torch.compiler.is_compiling() or torch._C._get_tracing_state() or labels.device.type != "cpu"
    if not watched and len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        raise UserError(f"this network has classes 0 to {num_classes - 1}; got labels from {int(labels.min())} to "
                        f"{int(labels.max())}")  # fmt: skip


def _kind_of(given: object) -> str:
    kind = str(getattr(given, "dtype", type(given).__name__)).removeprefix("torch.")
    shape = getattr(given, "shape", None)
    return kind if shape is None else f"{kind} of shape {tuple(shape)}"
