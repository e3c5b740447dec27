"""Models that hvit's own are compared with, taken from timm and put behind the encoder contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hvit.errors import UserError, check_choices
from hvit.models.layers import Encoder


@dataclass(frozen=True)
class VitConfig:
    """Sizes of a plain vision transformer with mean pooling and no class token: one level, global attention."""

    family: Literal["vit"] = "vit"
    """The model family."""
    input_size: tuple[int, int] = (224, 224)
    """Height and width of the input in pixels."""
    in_channels: int = 3
    """Channels of the input image: 3 for colour, 1 for grey."""
    num_classes: int = 1000
    """Number of classes the head tells apart."""
    patch_size: tuple[int, int] = (16, 16)
    """Height and width in pixels of the patch that becomes one token."""
    dims: tuple[int, ...] = (192,)
    """Width of the tokens (one entry: a ViT has one level)."""
    heads: tuple[int, ...] = (3,)
    """Attention heads (one entry)."""
    depths: tuple[int, ...] = (12,)
    """Transformer layers (one entry)."""
    mlp_ratio: int = 4
    """Width of the hidden layer of the MLP, relative to the tokens' width."""
    drop_path: float = 0.0
    """Stochastic-depth rate of the last layer; earlier layers have linearly less."""

    def __post_init__(self) -> None:
        check_choices(self)
        if not len(self.dims) == len(self.heads) == len(self.depths) == 1:
            raise UserError("a ViT has one level: dims, heads and depths take one entry each")
        counts = (self.in_channels, self.num_classes, self.mlp_ratio, *self.dims, *self.heads, *self.depths)
        if min(*counts, *self.patch_size, *self.input_size) < 1:
            raise UserError(
                "ViT sizes (input, channels, classes, patch, dims, heads, depths, mlp_ratio) must be 1 or more"
            )
        if self.dims[0] % self.heads[0]:
            raise UserError(f"ViT dims must be divisible by heads; dims={self.dims}, heads={self.heads}")
        if any(side % patch for side, patch in zip(self.input_size, self.patch_size, strict=True)):
            raise UserError(
                f"a ViT's input_size {self.input_size} must be divisible by its patch_size {self.patch_size}"
            )
        if not 0.0 <= self.drop_path < 1.0:
            raise UserError(f"drop_path must be at least 0 and below 1; got {self.drop_path}")


class Vit(Encoder):
    """timm's plain vision transformer (arXiv 2010.11929) as an encoder of one level."""

    config: VitConfig

    def __init__(self, config: VitConfig) -> None:
        # Imported here because timm takes seconds to import, and only this model needs it.
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.config = config
        self.network = VisionTransformer(
            img_size=config.input_size,
            patch_size=config.patch_size,  # pyright: ignore[reportArgumentType]  (timm takes a pair, its hint says int)
            in_chans=config.in_channels,
            num_classes=config.num_classes,
            embed_dim=config.dims[0],
            depth=config.depths[0],
            num_heads=config.heads[0],
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path,
            class_token=False,
            global_pool="avg",
            fc_norm=False,
        )

    @property
    def head(self):
        """The linear head on the mean over positions."""
        return self.network.head

    def levels(self, images: Tensor, kept: Tensor | None = None, mask_token: Tensor | None = None) -> list[Tensor]:
        """One grid (batch, rows, columns, dim), after the final norm. Raises UserError for a mask: it takes none."""
        self.check_images(images)
        if kept is not None:
            raise UserError("the plain ViT is here to compare classifiers with; it takes no mask")
        tokens = self.network.forward_features(images)
        rows = self.config.input_size[0] // self.config.patch_size[0]
        return [tokens.unflatten(1, (rows, -1))]

    def classify(self, last_grid: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the last grid (batch, rows, columns, dim)."""
        return self.network.forward_head(last_grid.flatten(1, 2))

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem, i + 1 layer i, one more the norm and head."""
        parts = parameter_name.split(".")
        if parts[1] in ("patch_embed", "pos_embed"):
            return 0
        return int(parts[2]) + 1 if parts[1] == "blocks" else self.config.depths[0] + 1


VIT_SIZES: dict[str, VitConfig] = {
    "vit_micro_32": VitConfig(
        input_size=(32, 32), patch_size=(4, 4), num_classes=10, dims=(96,), heads=(3,), depths=(5,)
    ),
    "vit_micro_64": VitConfig(
        input_size=(64, 64), patch_size=(8, 8), num_classes=10, dims=(96,), heads=(3,), depths=(5,)
    ),
}
