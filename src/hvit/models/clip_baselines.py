"""Models of clips of torchvision and transformers behind the encoder contract, to compare classifiers with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.layers.blocks import draw_by_sample
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.masking import Mask
from hvit.models.sizes import check_heads, class_count, known_classes

Name = Literal["r2plus1d_18", "s3d", "swin3d_t", "videomae", "timesformer"]
_VITS, _USUAL_PATCH = ("videomae", "timesformer"), (2, 16, 16)
_PUBLISHED: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    # dims, heads and layers; of networks that have these sizes only, the heads are none
    "r2plus1d_18": ((64, 128, 256, 512), (), (4, 4, 4, 4)),
    "s3d": ((1024,), (), (16,)),
    "swin3d_t": ((96, 192, 384, 768), (3, 6, 12, 24), (2, 2, 6, 2)),
    "videomae": ((768,), (12,), (12,)),
    "timesformer": ((768,), (12,), (12,)),
}


@dataclass(frozen=True)
class ClipBaselineConfig:
    """A model of clips of another library, by its name there."""

    family: Literal["clip_baseline"] = "clip_baseline"
    """The model family."""
    name: Name = "videomae"
    """R(2+1)D, S3D or Video Swin of torchvision; or of transformers a ViT with attention over space and time together
    (videomae), or over one after the other (timesformer)."""
    input_size: tuple[int, int, int] = (16, 224, 224)
    """Frames, height and width of the input."""
    in_channels: int = 3
    """Channels of the input: 3 for colour; videomae and timesformer take grey (1), too."""
    num_classes: int | None = 400
    """Number of classes of the head; None in a recipe: as many as the data has."""
    patch_size: tuple[int, int, int] = _USUAL_PATCH
    """Frames, height and width of the cuboid that becomes one token: videomae; of timesformer one frame, and
    of swin3d_t (2, 4, 4), are usual."""
    dims: tuple[int, ...] = ()
    """Width of each level: swin3d_t and the ViTs; default: as published."""
    heads: tuple[int, ...] = ()
    """Attention heads of each level: swin3d_t and the ViTs; default: as published."""
    depths: tuple[int, ...] = ()
    """Layers of each level: swin3d_t and the ViTs; default: as published."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.name == "timesformer" and self.patch_size == _USUAL_PATCH:
            object.__setattr__(self, "patch_size", (1, *_USUAL_PATCH[1:]))
        published = dict(zip(("dims", "heads", "depths"), _PUBLISHED[self.name], strict=True))
        for field, value in published.items():
            if not getattr(self, field):
                object.__setattr__(self, field, value)
            elif self.name in ("r2plus1d_18", "s3d") and getattr(self, field) != value:
                raise UserError(f"{self.name} has {field} {value} only; got {getattr(self, field)}")
        counts = (self.in_channels, *known_classes(self), *self.input_size, *self.patch_size, *self.dims, *self.depths)
        if min(counts) < 1:
            raise UserError(
                "sizes of a model of clips (input, channels, classes, patch, dims, depths) must be 1 or more"
            )
        if self.heads:
            if not len(self.dims) == len(self.heads) == len(self.depths):
                raise UserError(f"{self.name} needs one entry per level in dims, heads and depths alike")
            check_heads(self.name, self.dims, self.heads)
        if self.name in _VITS and (len(self.dims) != 1 or self.input_size[1] != self.input_size[2]):
            raise UserError(f"{self.name} has one level, and takes square frames")
        if self.name == "timesformer" and self.patch_size[0] != 1:
            raise UserError(f"timesformer takes frames one by one: patch_size must start with 1; got {self.patch_size}")
        if self.name in _VITS and any(
            side % patch for side, patch in zip(self.input_size, self.patch_size, strict=True)
        ):
            raise UserError(f"the input_size {self.input_size} must be divisible by the patch_size {self.patch_size}")
        if self.name == "swin3d_t" and any(dim != self.dims[0] * 2**level for level, dim in enumerate(self.dims)):
            raise UserError(f"the width of swin3d_t doubles from level to level; got dims {self.dims}")
        if self.name not in _VITS and self.in_channels != 3:
            raise UserError(f"{self.name} takes colour (3 channels); got {self.in_channels}")
        if self.name == "s3d" and (self.input_size[0] < 16 or min(self.input_size[1:]) < 224):
            raise UserError(f"s3d takes 16 frames of 224 x 224 pixels or more; got {self.input_size}")

    @property
    def class_token(self) -> bool:
        """Whether the logits are those of a class token, so that they do not follow from the feature map."""
        return self.name == "timesformer"


class ClipBaseline(Encoder):
    """A model of torchvision or transformers as an encoder of clips; its parameters are theirs, under `network.`.

    The last level is what the head takes the mean of, or the tokens next to the class token; there are no levels below
    it.
    """

    config: ClipBaselineConfig

    def __init__(self, config: ClipBaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.network: Any = _create(config, class_count(config))
        draw_by_sample(self.network)

    @property
    def head(self) -> nn.Module:
        """The layer that gives the logits."""
        names = {"r2plus1d_18": "fc", "s3d": "classifier", "swin3d_t": "head"}
        return getattr(self.network, names.get(self.config.name, "classifier"))

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of the feature map."""
        return self.config.dims[-1:]

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Time, rows and columns of the feature map."""
        with torch.device("meta"):
            clips = torch.empty(1, self.config.in_channels, *self.config.input_size)
            return tuple(ClipBaseline(self.config).eval().levels(clips)[0].shape[1:4])

    def encode(self, images: Tensor, mask: Mask | None = None) -> tuple[list[Tensor], Tensor | None]:
        """The level (see `levels`), and the class token (batch, dim) of a model that has one."""
        feature_map, token = self._encode(images, mask)
        return [feature_map], token

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        return self._encode(images, mask)[0]

    def _encode(self, images: Tensor, mask: Mask | None) -> tuple[Tensor, Tensor | None]:
        """The map (batch, time, rows, columns, dim) and the class token. Raises UserError for a mask: none take one."""
        images = self.check_images(images)
        if mask is not None:
            raise UserError(f"{self.config.name} is here to compare classifiers with; it takes no mask")
        network, name = self.network, self.config.name
        if name in _VITS:
            tokens = getattr(network, name)(images.transpose(1, 2)).last_hidden_state
            sides = zip(self.config.input_size, self.config.patch_size, strict=True)
            times, rows, columns = (side // patch for side, patch in sides)
            if name == "videomae":
                return tokens.unflatten(1, (times, rows, columns)), None
            return tokens[:, 1:].unflatten(1, (rows, columns, times)).movedim(3, 1), tokens[:, 0]
        if name == "swin3d_t":
            return network.norm(network.features(network.pos_drop(network.patch_embed(images)))), None
        if name == "s3d":
            return network.features(images).movedim(1, -1), None
        features = network.stem(images)
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            features = layer(features)
        return features.movedim(1, -1), None

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        raise AssertionError("there is one level")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of clips (batch, channels, time, height, width), never softmaxed."""
        return self.classify(*self._encode(images, None))

    def classify(self, last_map: Tensor, class_token: Tensor | None = None) -> Tensor:
        """Logits (batch, num_classes) of the feature map (batch, time, rows, columns, dim), or of the class token.

        A model with a class token needs that, as `encode` gives it (UserError).
        """
        if self.config.class_token:
            if class_token is None:
                raise UserError(f"{self.config.name} classifies its class token, which `encode` gives with the level")
            return self.head(class_token)
        if self.config.name == "s3d":
            return self.network.classifier(self.network.avgpool(last_map.movedim(-1, 1))).mean((2, 3, 4))
        mean = last_map.mean((1, 2, 3))
        return self.head(self.network.fc_norm(mean) if self.config.name == "videomae" else mean)

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem, i + 1 layer i (of convolutional networks group i), one more the head."""
        found = re.search(r"(?:encoder\.layer|features)\.(\d+)(?:\.(\d+)\.)?|\.layer(\d)\.", parameter_name)
        last = {"r2plus1d_18": 5, "s3d": 17}.get(self.config.name, sum(self.config.depths) + 1)
        if found is None:
            stem = re.search(r"\.(embeddings|patch_embed|stem)\.", parameter_name)
            return 0 if stem else last
        if found[3]:
            return int(found[3])
        if self.config.name == "swin3d_t":
            stage, block = int(found[1]), int(found[2] or 0)
            before = sum(self.config.depths[: (stage + 1) // 2])
            return before + (block + 1 if stage % 2 == 0 else 0)
        return int(found[1]) + (1 if self.config.name in _VITS else 0)


def _create(config: ClipBaselineConfig, num_classes: int) -> nn.Module:
    """The other library's network. Raises UserError where transformers is missing."""
    if config.name in _VITS:
        try:
            from transformers import (
                TimesformerConfig,
                TimesformerForVideoClassification,
                VideoMAEConfig,
                VideoMAEForVideoClassification,
            )
        except ImportError as error:
            raise UserError(f"{config.name} needs the package transformers: pip install transformers") from error
        time, side, _ = config.patch_size
        if config.name == "timesformer":
            divided = TimesformerConfig(
                image_size=config.input_size[1], patch_size=side, num_channels=config.in_channels,
                num_frames=config.input_size[0], hidden_size=config.dims[0], num_hidden_layers=config.depths[0],
                num_attention_heads=config.heads[0], intermediate_size=4 * config.dims[0],
            )  # fmt: skip
            divided.num_labels = num_classes
            return TimesformerForVideoClassification(divided)
        settings = VideoMAEConfig(
            image_size=config.input_size[1], patch_size=side, num_channels=config.in_channels,
            num_frames=config.input_size[0], tubelet_size=time, hidden_size=config.dims[0],
            num_hidden_layers=config.depths[0], num_attention_heads=config.heads[0],
            intermediate_size=4 * config.dims[0], use_mean_pooling=True,
        )  # fmt: skip
        settings.num_labels = num_classes
        return VideoMAEForVideoClassification(settings)
    from torchvision.models import video  # takes seconds to import

    if config.name == "swin3d_t":
        patch = list(config.patch_size if config.patch_size != _USUAL_PATCH else (2, 4, 4))
        return video.SwinTransformer3d(
            patch_size=patch, embed_dim=config.dims[0], depths=list(config.depths), num_heads=list(config.heads),
            window_size=[8, 7, 7], stochastic_depth_prob=0.1, num_classes=num_classes,
        )  # fmt: skip
    return {"r2plus1d_18": video.r2plus1d_18, "s3d": video.s3d}[config.name](num_classes=num_classes)
