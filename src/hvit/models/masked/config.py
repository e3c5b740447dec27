"""Sizes of a masked autoencoder: the configuration, what it refuses, and the published sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.baselines import VIT_SIZES, VitConfig
from hvit.models.hiera.config import HIERA_SIZES, HieraConfig
from hvit.models.masked.masks import MaskPattern, count_visible
from hvit.models.masked.targets import Target
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig
from hvit.models.nest.config import NestConfig

EncoderConfig = NestConfig | MvitConfig | HieraConfig | VitConfig


Encoding = Literal["sparse", "dense"]


@dataclass(frozen=True)
class MaskedConfig:
    """A masked autoencoder: its encoder, which units are masked, and what predicts them."""

    encoder: Annotated[EncoderConfig, Field(discriminator="family")]
    """The model that is pretrained."""
    family: Literal["masked"] = "masked"
    """The model family."""
    encoding: Encoding = "sparse"
    """sparse: only the visible mask units are encoded; dense: all are, masked ones as a learned mask token."""
    mask_ratio: float = 0.6
    """Share of the mask units that is masked."""
    mask_pattern: MaskPattern = "random"
    """Which units are masked: random ones; tubes or frames of clips; boxes; or one to three of every four (nested)."""
    mask_unit: tuple[int, ...] | None = None
    """Dense encoding: side of a mask unit in tokens of the first level; default: two tokens of the last, or one."""
    target: Target = "normalised_pixels"
    """What is predicted of a masked patch: its pixels, normalised or not, or histograms of its gradients (hog)."""
    multi_scale: bool = True
    """Whether the decoder gets the levels before each pooling added to the last."""
    decoder_dim: int = 512
    """Width of the decoder's tokens."""
    decoder_depth: int = 8
    """Transformer layers of the decoder; 0 (dense encoding): one linear layer predicts from the encoder's tokens."""
    decoder_heads: int = 16
    """Attention heads of the decoder."""

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.decoder_dim, self.decoder_heads) < 1 or self.decoder_depth < 0:
            raise UserError("decoder_dim and decoder_heads must be 1 or more, and decoder_depth 0 or more")
        if self.decoder_dim % self.decoder_heads:
            raise UserError(f"decoder_dim {self.decoder_dim} must be divisible by decoder_heads {self.decoder_heads}")
        if not 0.0 < self.mask_ratio < 1.0:
            raise UserError(f"mask_ratio must be above 0 and below 1; got {self.mask_ratio}")
        if isinstance(self.encoder, VitConfig) and self.encoder.distillation_token:
            raise UserError("the encoder of masked pretraining must be a ViT without a distillation token")
        if self.encoding == "sparse":
            _check_sparse(self)
        elif self.mask_unit is not None:
            _check_mask_unit(self)
        count_visible(self.unit_grid, self.mask_ratio, self.mask_pattern)

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width of the input in pixels, for clips the number of frames before them."""
        return self.encoder.input_size

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.encoder.in_channels

    @property
    def num_classes(self) -> int | None:
        """Classes of the encoder's head, which pretraining leaves alone."""
        return self.encoder.num_classes

    @property
    def depths(self) -> tuple[int, ...]:
        """Transformer layers in each level of the encoder, and of the decoder."""
        return (*self.encoder.depths, self.decoder_depth)

    @property
    def token_grid(self) -> tuple[int, ...]:
        """Tokens along every axis in the encoder's first level."""
        return tuple(side // patch for side, patch in zip(self.input_size, self.encoder.patch_size, strict=True))

    @property
    def unit_size(self) -> tuple[int, ...]:
        """Tokens per side of a mask unit in the first level."""
        if self.encoding == "sparse":
            return self.encoder.unit_size or self.token_grid
        return self.mask_unit or _usual_unit(self)

    @property
    def unit_grid(self) -> tuple[int, ...]:
        """Mask units along every axis."""
        return tuple(side // unit for side, unit in zip(self.token_grid, self.unit_size, strict=True))

    def level_sides(self) -> list[tuple[int, ...]]:
        """Tokens along every axis that are encoded together in each level: of a mask unit, or dense of all."""
        whole = self.token_grid if self.encoding == "dense" else self.unit_size
        own = [self.encoder.unit_side(level) for level in range(len(self.encoder.depths))]
        return [tuple(side * all_ // one for side, all_, one in zip(at, whole, own[0], strict=True)) for at in own]

    @property
    def patch(self) -> tuple[int, ...]:
        """Pixels along every axis of what one token of the last level stands for, and the decoder predicts."""
        sides = zip(self.encoder.patch_size, self.encoder.total_stride, strict=True)
        return tuple(patch * stride for patch, stride in sides)

    @property
    def patch_grid(self) -> tuple[int, ...]:
        """Patches along every axis: the tokens of the last level."""
        return tuple(side // pixels for side, pixels in zip(self.input_size, self.patch, strict=True))


def _usual_unit(config: MaskedConfig) -> tuple[int, ...]:
    """Two tokens of the last level per side where that makes four units or more along each, else one; one of time."""
    space = config.encoder.total_stride[-2:]
    time = (1,) * (len(config.input_size) - 2)
    two = tuple(2 * side for side in space)
    fits = all(side % unit == 0 and side >= 4 * unit for side, unit in zip(config.token_grid[-2:], two, strict=True))
    return (*time, *(two if fits else space))


def _check_sparse(config: MaskedConfig) -> None:
    encoder = config.encoder
    if isinstance(encoder, MvitConfig) and encoder.unit_size is None:
        raise UserError(
            "masked tokens cannot simply be deleted from this MViT: its pooling kernels overlap, the tokens left are "
            "no grid, and kernels would mix tokens that are no neighbours; use encoding 'dense', or a model that pools "
            "inside mask units (mvitv2_*_step_a to _f, or unit_size)"
        )
    if isinstance(encoder, NestConfig):
        if encoder.unit_size is None:
            step = encoder.patch_size[0] * 4 ** (len(encoder.depths) - 1)
            raise UserError(
                f"NesT masks whole blocks, and a block must be one or more tokens in every level: with input "
                f"{encoder.input_size[0]} it is not; sides that work are multiples of {step}; or use encoding 'dense'"
            )
        if config.mask_pattern != "nested":
            raise UserError(
                "sparse encoding of NesT needs as many visible blocks under every node of its tree, so that its "
                "mask_pattern must be 'nested' (or use encoding 'dense')"
            )
    if config.mask_unit is not None:
        raise UserError("in sparse encoding the mask units are the encoder's own: mask_unit must be None")
    if config.decoder_depth == 0:
        raise UserError("in sparse encoding masked patches exist in the decoder only: decoder_depth must be 1 or more")


def _check_mask_unit(config: MaskedConfig) -> None:
    unit, stride = config.mask_unit or (), config.encoder.total_stride
    if len(unit) != len(config.input_size) or min(unit) < 1:
        raise UserError(f"mask_unit needs one entry of 1 or more per axis of {config.input_size}; got {unit}")
    sizes = zip(config.token_grid, unit, stride, strict=True)
    if any(side % one or one % step for side, one, step in sizes):
        raise UserError(
            f"mask_unit {unit} must be a multiple of {stride}, one token of the last level, and divide the tokens "
            f"{config.token_grid}"
        )


def _published(name: str) -> MaskedConfig:
    encoder = HIERA_SIZES[name]
    # One pooling less than the classifier's, so that the decoder's tokens are those of arXiv 2111.06377 (appendix A).
    encoder = replace(encoder, query_pools=encoder.query_pools - 1)
    return MaskedConfig(encoder, mask_ratio=0.9 if len(encoder.input_size) == 3 else 0.6)


def _maskfeat(encoder: MvitConfig | VitConfig, unit: tuple[int, ...]) -> MaskedConfig:
    """MaskFeat (arXiv 2112.09133): boxes of masked tokens, and one linear layer that predicts HOG.

    The queries of MViT's last level are not pooled, so that a token of it stands for 16 x 16 pixels as a ViT's does.
    """
    if isinstance(encoder, MvitConfig):
        encoder = replace(encoder, query_pools=len(encoder.depths) - 2)
    return MaskedConfig(
        replace(encoder, drop_path=0.0, **{"head_dropout": 0.0} if isinstance(encoder, MvitConfig) else {}),
        encoding="dense", mask_ratio=0.4, mask_pattern="block", mask_unit=unit, target="hog", multi_scale=False,
        decoder_depth=0,
    )  # fmt: skip


MASKED_SIZES: dict[str, MaskedConfig] = {
    **{
        f"mae_hiera_{size}": _published(f"hiera_{size}")
        for size in (
            *(f"{letters}_224" for letters in ("tiny", "small", "base", "base_plus", "large", "huge")),
            *(f"{letters}_16x224" for letters in ("base", "base_plus", "large", "huge")),
        )
    },
    **{
        # All poolings: patches are whole mask units, which a short trial on CIFAR-10 found more accurate per minute.
        f"mae_hiera_micro_{size}": MaskedConfig(
            HIERA_SIZES[f"hiera_micro_{size}"], decoder_dim=96, decoder_depth=2, decoder_heads=3
        )
        for size in ("32", "64", "16x64")
    },
    **{
        f"mae_vit_{size}_224": MaskedConfig(VIT_SIZES[f"vit_{size}_224"], mask_ratio=0.75, multi_scale=False)
        for size in ("base", "large", "huge")
    },
    "mae_vit_micro_32": MaskedConfig(
        VIT_SIZES["vit_micro_32"], mask_ratio=0.75, multi_scale=False, decoder_dim=96, decoder_depth=2, decoder_heads=3
    ),
    **{f"maskfeat_vit_{size}_224": _maskfeat(VIT_SIZES[f"vit_{size}_224"], (1, 1)) for size in ("base", "large")},
    **{
        f"maskfeat_mvitv2_{size}_mean_16x224": _maskfeat(MVIT_SIZES[f"mvitv2_{size}_mean_16x224"], (1, 8, 8))
        for size in ("small", "large")
    },
    "maskfeat_mvitv2_micro_32": _maskfeat(MVIT_SIZES["mvitv2_micro_32"], (2, 2)),
    "maskfeat_mvitv2_micro_16x64": _maskfeat(MVIT_SIZES["mvitv2_micro_16x64"], (1, 4, 4)),
}
"""The autoencoders whose weights the authors published, with the masks of their training; and ours for a CPU."""
