"""What every configuration says of its network's sizes, and the fields and checks that several families share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from hvit.errors import UserError


@runtime_checkable
class SizedConfig(Protocol):
    """The sizes of a network that data, plans and reports ask for, whatever its family.

    Of a generator the input is what it generates: images of `input_size` with `in_channels` channels.
    """

    @property
    def family(self) -> str:
        """The model family."""
        ...

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width in pixels, for clips the number of frames before them."""
        ...

    @property
    def in_channels(self) -> int:
        """Channels of images: 3 for colour, 1 for grey."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None in a recipe: as many as the data has."""
        ...

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers in each level."""
        ...


@dataclass(frozen=True)
class MultiscaleConfig:
    """The fields of MViT and Hiera alike; sizes of clips have time first, per-level fields run from fine to coarse."""

    family: str = ""
    """The model family."""
    input_size: tuple[int, ...] = (224, 224)
    """Height and width of the input in pixels; for clips frames, height and width."""
    in_channels: int = 3
    """Channels of the input: 3 for colour, 1 for grey."""
    num_classes: int | None = 1000
    """Number of classes of the head; None in a recipe: as many as the data has."""
    patch_size: tuple[int, ...] = (4, 4)
    """Pixels (of clips: frames, then pixels) from one token to the next along each axis: the stride of the stem."""
    patch_kernel: tuple[int, ...] = (7, 7)
    """Pixels along each axis that a token is made from: the kernel of the stem; odd, and padded by half of it."""
    dims: tuple[int, ...] = (96, 192, 384, 768)
    """Width of the tokens in each level."""
    heads: tuple[int, ...] = (1, 2, 4, 8)
    """Attention heads in each level."""
    depths: tuple[int, ...] = (1, 2, 11, 2)
    """Transformer layers in each level."""
    mlp_ratio: int = 4
    """Width of the hidden layer of the MLP, relative to the tokens' width."""
    query_stride: tuple[int, ...] = (2, 2)
    """Stride along each axis of the query pooling between two levels."""
    initialisation: Literal["normal", "xavier"] = "normal"
    """Random initialisation: normal with std 0.02 (published classifiers), or xavier (autoencoders, micro sizes)."""
    drop_path: float = 0.0
    """Stochastic-depth rate of the last layer; earlier layers have linearly less."""
    head_dropout: float = 0.0
    """Dropout rate of the pooled features before the head."""


def class_count(config: SizedConfig) -> int:
    """The number of classes of a network to build. Raises UserError where it is left to the data (None)."""
    if config.num_classes is None:
        raise UserError("a model needs a number of classes: set num_classes; only a recipe may take it from the data")
    return config.num_classes


def head_of(dim: int, num_classes: int) -> nn.Module:
    """A linear layer from features to logits as torch draws it; the identity for no classes."""
    return nn.Linear(dim, num_classes) if num_classes else nn.Identity()


def known_classes(config: SizedConfig) -> tuple[int, ...]:
    """The number of classes as one entry; no entry where it is left to the data, and where there is no head (0)."""
    return (config.num_classes,) if config.num_classes else ()


def check_heads(family: str, dims: Sequence[int], heads: Sequence[int]) -> None:
    """Refuses (UserError) widths that cannot be divided among the attention heads of their level."""
    if any(dim % count for dim, count in zip(dims, heads, strict=True)):
        raise UserError(f"{family} dims must be divisible by heads; dims={tuple(dims)}, heads={tuple(heads)}")


def check_rate(name: str, rate: float) -> None:
    """Refuses (UserError) a drop rate that is not at least 0 and below 1."""
    if not 0.0 <= rate < 1.0:
        raise UserError(f"{name} must be at least 0 and below 1; got {rate}")
