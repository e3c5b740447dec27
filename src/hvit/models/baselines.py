"""Models that hvit's own are compared with, taken from timm and put behind the encoder contract."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.formats import Format, State
from hvit.models.layers.blocks import draw_by_sample
from hvit.models.layers.grids import PositionResize, channels_first, channels_last, resize_plane
from hvit.models.layers.masking import Mask, check_mask, fill_masked, visible_units
from hvit.models.layers.timm_network import TimmNetworkEncoder
from hvit.models.sizes import check_heads, check_rate, class_count, known_classes


@dataclass(frozen=True)
class VitConfig:
    """Sizes of a plain vision transformer: one level, global attention; mean pooling, or DeiT's two tokens."""

    family: Literal["vit"] = "vit"
    """The model family."""
    input_size: tuple[int, int] = (224, 224)
    """Height and width of the input in pixels."""
    in_channels: int = 3
    """Channels of the input image: 3 for colour, 1 for grey."""
    num_classes: int | None = 1000
    """Number of classes of the head; None in a recipe: as many as the data has."""
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
    distillation_token: bool = False
    """DeiT's class token and distillation token, each with a head, instead of the mean over positions; the logits are
    the mean of both heads' (arXiv 2012.12877)."""
    norm_after_mean: bool = False
    """Whether the final norm follows the mean over the feature map (masked autoencoders) or precedes it."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not len(self.dims) == len(self.heads) == len(self.depths) == 1:
            raise UserError("a ViT has one level: dims, heads and depths take one entry each")
        counts = (self.in_channels, *known_classes(self), self.mlp_ratio, *self.dims, *self.heads, *self.depths)
        if min(*counts, *self.patch_size, *self.input_size) < 1:
            raise UserError(
                "ViT sizes (input, channels, classes, patch, dims, heads, depths, mlp_ratio) must be 1 or more"
            )
        check_heads("ViT", self.dims, self.heads)
        if any(side % patch for side, patch in zip(self.input_size, self.patch_size, strict=True)):
            raise UserError(
                f"a ViT's input_size {self.input_size} must be divisible by its patch_size {self.patch_size}"
            )
        check_rate("drop_path", self.drop_path)
        if self.distillation_token and self.norm_after_mean:
            raise UserError("a ViT with a distillation token has no mean: norm_after_mean must be False")

    @property
    def class_token(self) -> bool:
        """Whether the logits are those of tokens, so that they do not follow from the feature map."""
        return self.distillation_token

    @property
    def total_stride(self) -> tuple[int, int]:
        """Tokens along both axes that a token of the last level stands for: one, as nothing is pooled."""
        return (1, 1)

    @property
    def unit_size(self) -> tuple[int, int]:
        """Tokens per mask-unit side: every token is a mask unit."""
        return (1, 1)

    def unit_side(self, level: int) -> tuple[int, int]:
        """Tokens along both axes of a mask unit in a level."""
        return (1, 1)


class Vit(TimmNetworkEncoder):
    """timm's plain vision transformer (arXiv 2010.11929) as an encoder of one level.

    The feature map is after the final norm, unless that follows the mean (`norm_after_mean`). In sparse encoding only
    the visible tokens are computed (masked autoencoders, arXiv 2111.06377). With a distillation token it is timm's
    distilled DeiT, which takes no mask.
    """

    config: VitConfig

    def __init__(self, config: VitConfig) -> None:
        # Imported here because timm takes seconds to import, and only this model needs it.
        from timm.models.deit import VisionTransformerDistilled
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.config = config
        tokens = config.distillation_token
        pooling = (
            {"global_pool": "token"}
            if tokens
            else {"class_token": False, "global_pool": "avg", "fc_norm": config.norm_after_mean}
        )
        self.network: Any = (VisionTransformerDistilled if tokens else VisionTransformer)(
            img_size=config.input_size,
            patch_size=config.patch_size,  # pyright: ignore[reportArgumentType]  (timm takes a pair, its hint says int)
            in_chans=config.in_channels,
            num_classes=class_count(config),
            embed_dim=config.dims[0],
            depth=config.depths[0],
            num_heads=config.heads[0],
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path,
            **pooling,  # pyright: ignore[reportArgumentType]
        )
        self.norm_follows_mean = config.norm_after_mean
        draw_by_sample(self.network)

    @property
    def head(self) -> nn.Module:
        """The linear head on the mean over positions; of a model with a distillation token the list of its two."""
        network = self.network
        return nn.ModuleList([network.head, network.head_dist]) if self.config.distillation_token else network.head

    @property
    def norm(self) -> nn.Module:
        """The final norm."""
        return self.network.fc_norm if self.config.norm_after_mean else self.network.norm

    def remove_head(self) -> None:
        """As `Encoder.remove_head`."""
        self.network.head = nn.Identity()
        if self.norm_follows_mean:
            self.network.fc_norm = nn.Identity()

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Rows and columns of the feature map."""
        sides = zip(self.config.input_size, self.config.patch_size, strict=True)
        return tuple(side // patch for side, patch in sides)

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        images = self.check_images(images)
        if mask is None:
            return self.encode(images)[0][0]
        if self.config.distillation_token:
            raise UserError("a ViT with a distillation token takes no mask; masked pretraining needs one without")
        network, grid = self.network, self.level_sizes(0)
        check_mask(mask, images.shape[0], grid, grid, self.config.dims[0])
        tokens = network.patch_embed(images)
        if mask.token is not None:
            tokens = fill_masked(tokens.unflatten(1, grid), mask.visible, mask.token).flatten(1, 2)
        tokens = tokens + network.pos_embed
        if mask.is_sparse:
            tokens = visible_units(tokens, mask.visible)
        tokens = network.norm(network.blocks(tokens))
        return tokens[:, :, None, None] if mask.is_sparse else tokens.unflatten(1, grid)

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The level, and what the heads take: class and distillation token (batch, 2, dim), none without them."""
        images = self.check_images(images)
        features, count = self.network.forward_features(images), 2 * self.config.distillation_token
        return [features[:, count:].unflatten(1, self.level_sizes(0))], features[:, :count]

    def both_logits(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, num_classes) of the class token and of the distillation token, given both (batch, 2, dim)."""
        return self.network.head(tokens[:, 0]), self.network.head_dist(tokens[:, 1])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, height, width), never softmaxed."""
        maps, tokens = self.encode(images)
        return self.classify(maps[-1], tokens)

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        raise AssertionError("a plain ViT has one level")

    def classify(self, last_map: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits (batch, num_classes) of the last grid (batch, rows, columns, dim).

        Of a model with a distillation token they are those of the tokens that `encode` gives (UserError without).
        """
        if self.config.distillation_token:
            if tokens is None:
                raise UserError("this model classifies its tokens, which `encode` returns with the level")
            return torch.stack(self.both_logits(tokens)).mean(0)
        return self.network.forward_head(last_map.flatten(1, 2))

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`, from a map (1, rows, columns, dim) to this model's flat table; bicubic.

        With a distillation token from the flat table of a square map, whose first two entries are the tokens'.
        """
        if name == "network.pos_embed" and self.config.distillation_token and tensor.ndim == 3:
            side = isqrt(max(0, tensor.shape[1] - 2))
            if tensor.shape[1] != side**2 + 2 or tensor.shape[2] != shape[2]:
                return None
            plane = resize_plane(tensor[:, 2:].unflatten(1, (side, side)), self.level_sizes(0))
            return torch.cat([tensor[:, :2], plane.flatten(1, 2)], dim=1)
        if name != "network.pos_embed" or tensor.ndim != 4 or (len(tensor), tensor.shape[3]) != (shape[0], shape[2]):
            return None
        return resize_plane(tensor, self.level_sizes(0)).flatten(1, 2)

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem, i + 1 layer i, one more the norm and head."""
        parts = parameter_name.split(".")
        if parts[1] in ("patch_embed", "pos_embed", "cls_token", "dist_token"):
            return 0
        return int(parts[2]) + 1 if parts[1] == "blocks" else self.config.depths[0] + 1


VIT_SIZES: dict[str, VitConfig] = {
    # As masked autoencoders are fine-tuned (arXiv 2111.06377): the norm after the mean.
    "vit_base_224": VitConfig(dims=(768,), heads=(12,), norm_after_mean=True),
    "vit_large_224": VitConfig(dims=(1024,), heads=(16,), depths=(24,), norm_after_mean=True),
    "vit_huge_224": VitConfig(patch_size=(14, 14), dims=(1280,), heads=(16,), depths=(32,), norm_after_mean=True),
    "vit_micro_32": VitConfig(
        input_size=(32, 32), patch_size=(4, 4), num_classes=10, dims=(96,), heads=(3,), depths=(5,)
    ),
    "vit_patch2_micro_32": VitConfig(
        input_size=(32, 32), patch_size=(2, 2), num_classes=10, dims=(96,), heads=(3,), depths=(5,)
    ),
    "vit_micro_64": VitConfig(
        input_size=(64, 64), patch_size=(8, 8), num_classes=10, dims=(96,), heads=(3,), depths=(5,)
    ),
}


@dataclass(frozen=True)
class ResnetConfig:
    """Sizes of a residual network (ResNet) of four levels; each halves the rows and columns of the one before it."""

    family: Literal["resnet"] = "resnet"
    """The model family."""
    input_size: tuple[int, int] = (224, 224)
    """Height and width of the input in pixels; any will do."""
    in_channels: int = 3
    """Channels of the input image: 3 for colour, 1 for grey."""
    num_classes: int | None = 1000
    """Number of classes of the head; None in a recipe: as many as the data has."""
    dims: tuple[int, ...] = (256, 512, 1024, 2048)
    """Width of the features after each of the four levels, fine to coarse."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Residual blocks in each of the four levels."""
    block: Literal["bottleneck", "basic"] = "bottleneck"
    """Convolutions of a block: bottleneck (1 x 1, 3 x 3 at a quarter of the width, 1 x 1) or basic (two of 3 x 3)."""
    stem: Literal["conv7_pool", "conv3"] = "conv7_pool"
    """conv7_pool: 7 x 7 of stride 2, 64 wide, and a max-pool; conv3: 3 x 3, no stride and no pool, for small images."""
    drop_path: float = 0.0
    """Stochastic-depth rate of the last block; earlier blocks have linearly less."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not len(self.dims) == len(self.depths) == 4:
            raise UserError(
                f"a ResNet has four levels: dims and depths take four entries each; got {self.dims} and {self.depths}"
            )
        if min(self.in_channels, *known_classes(self), *self.dims, *self.depths, *self.input_size) < 1:
            raise UserError("ResNet sizes (input, channels, classes, dims, depths) must be 1 or more")
        if self.block == "bottleneck" and any(dim % 4 for dim in self.dims):
            raise UserError(f"dims of bottleneck blocks must be divisible by 4; got {self.dims}")
        if self.stem == "conv3" and self.widths[0] % 2:
            raise UserError(
                f"the stem 'conv3' is as wide as the 3 x 3 convolutions of the first level, and that must be even; "
                f"dims {self.dims} make it {self.widths[0]}"
            )
        check_rate("drop_path", self.drop_path)

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of the 3 x 3 convolutions of each level."""
        return tuple(dim // 4 for dim in self.dims) if self.block == "bottleneck" else self.dims


class Resnet(TimmNetworkEncoder):
    """timm's residual network as an encoder of four levels.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), with the strides in the
    3 x 3 convolutions of bottlenecks, as torchvision and timm have them. In training its batch norms make the images of
    a batch change each other's logits; the parts of an accumulated batch are normalised apart. In evaluation every
    image is alone.
    """

    config: ResnetConfig

    def __init__(self, config: ResnetConfig) -> None:
        from timm.models.resnet import BasicBlock, Bottleneck, ResNet  # as for the ViT

        super().__init__()
        self.config = config
        plain = config.stem == "conv3"
        self.network = ResNet(
            block=Bottleneck if config.block == "bottleneck" else BasicBlock,  # pyright: ignore[reportArgumentType]
            layers=config.depths,  # pyright: ignore[reportArgumentType]  (hinted for three levels)
            channels=config.widths,
            num_classes=class_count(config),
            in_chans=config.in_channels,
            drop_path_rate=config.drop_path,
            # Of timm's stems only the deep one, twice as wide as this, has a width to choose; its place is taken below.
            stem_type="deep" if plain else "",
            stem_width=config.widths[0] // 2,
        )
        if plain:
            self.network.conv1 = nn.Conv2d(config.in_channels, config.widths[0], 3, padding=1, bias=False)
            self.network.maxpool = nn.Identity()
            nn.init.kaiming_normal_(self.network.conv1.weight, mode="fan_out", nonlinearity="relu")
        draw_by_sample(self.network)

    @property
    def head(self) -> nn.Module:
        """The linear head on the mean over positions."""
        return self.network.fc

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Rows and columns of the feature map of a level: half of them, rounded up, after every stride of two."""
        stride = 2 ** (level + (2 if self.config.stem == "conv7_pool" else 0))
        return tuple(-(-side // stride) for side in self.config.input_size)

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        images = self.check_images(images)
        if mask is not None:
            raise UserError("the ResNet is here to compare classifiers with; it takes no mask")
        network: Any = self.network
        features = network.maxpool(network.act1(network.bn1(network.conv1(images))))
        return channels_last(network.layer1(features))

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        return channels_last(getattr(self.network, f"layer{level + 1}")(channels_first(below)))

    def classify(self, last_map: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the last grid (batch, rows, columns, dim)."""
        return self.head(last_map.mean((1, 2)))

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem, i + 1 block i counted from the image, one more the head."""
        parts = parameter_name.split(".")
        if parts[1].startswith("layer"):
            level = int(parts[1].removeprefix("layer")) - 1
            return sum(self.config.depths[:level]) + int(parts[2]) + 1
        return sum(self.config.depths) + 1 if parts[1] == "fc" else 0


RESNET_SIZES: dict[str, ResnetConfig] = {
    "resnet50_224": ResnetConfig(),
    "resnet_micro_32": ResnetConfig(
        input_size=(32, 32),
        num_classes=10,
        dims=(16, 32, 64, 128),
        depths=(1, 3, 4, 1),
        block="basic",
        stem="conv3",
    ),
    "wide_resnet_micro_32": ResnetConfig(
        input_size=(32, 32), num_classes=10, dims=(32, 64, 128, 128), depths=(1, 1, 1, 1), block="basic", stem="conv3"
    ),
}


def resnet_from_timm(state: State, config: object) -> dict[str, Tensor]:
    """A ResNet's tensors of timm or torchvision under our names.

    Files older than torch 0.4.1 have no count of the batches that a batch norm has seen; it is 0 then and used nowhere.
    """
    norms = [name.removesuffix("running_var") for name in state if name.endswith(".running_var")]
    counts = {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}
    return {f"network.{name}": tensor for name, tensor in (counts | dict(state)).items()}


def config_of_timm_resnet(state: State) -> ResnetConfig:
    """The configuration that follows from shapes; the input is assumed to be 224 x 224 (stem of 3 x 3: 32)."""
    bottleneck = "layer1.0.conv3.weight" in state
    last = "conv3" if bottleneck else "conv2"
    blocks = [re.match(r"layer([1-4])\.(\d+)\.conv1\.weight", name) for name in state]
    levels = [int(found[1]) for found in blocks if found]
    _, channels, side, _ = state["conv1.weight"].shape
    return ResnetConfig(
        input_size=(32, 32) if side == 3 else (224, 224),
        in_channels=channels,
        num_classes=state["fc.weight"].shape[0],
        dims=tuple(state[f"layer{level}.0.{last}.weight"].shape[0] for level in (1, 2, 3, 4)),
        depths=tuple(levels.count(level) for level in (1, 2, 3, 4)),
        block="bottleneck" if bottleneck else "basic",
        stem="conv3" if side == 3 else "conv7_pool",
    )


RESNET_FORMATS = (
    Format(
        name="timm or torchvision ResNet",
        pattern=r"layer1\.0\.bn1\.running_mean",
        translate=resnet_from_timm,
        config=lambda state, _: config_of_timm_resnet(state),
        note=lambda config: "timm's resnetaa models have the same names and shapes, but average before they stride",
    ),
)
