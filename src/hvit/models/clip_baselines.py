"""Models of clips of torchvision and transformers behind the encoder contract, to compare classifiers with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.masking import Mask
from hvit.models.sizes import check_heads, class_count, known_classes

Name = Literal["r2plus1d_18", "s3d", "swin3d_t", "videomae"]
_PUBLISHED: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    # dims, heads and layers; of networks that have these sizes only, the heads are none
    "r2plus1d_18": ((64, 128, 256, 512), (), (4, 4, 4, 4)),
    "s3d": ((1024,), (), (16,)),
    "swin3d_t": ((96, 192, 384, 768), (3, 6, 12, 24), (2, 2, 6, 2)),
    "videomae": ((768,), (12,), (12,)),
}


@dataclass(frozen=True)
class ClipBaselineConfig:
    """A model of clips of another library, by its name there."""

    family: Literal["clip_baseline"] = "clip_baseline"
    """The model family."""
    name: Name = "videomae"
    """R(2+1)D, S3D or Video Swin of torchvision; or the ViT with attention over space and time of transformers."""
    input_size: tuple[int, int, int] = (16, 224, 224)
    """Frames, height and width of the input."""
    in_channels: int = 3
    """Channels of the input: 3 for colour; videomae takes grey (1), too."""
    num_classes: int | None = 400
    """Number of classes of the head; None in a recipe: as many as the data has."""
    patch_size: tuple[int, int, int] = (2, 16, 16)
    """Frames, height and width of the cuboid that becomes one token: videomae; of swin3d_t (2, 4, 4) is usual."""
    dims: tuple[int, ...] = ()
    """Width of each level: swin3d_t and videomae; default: as published."""
    heads: tuple[int, ...] = ()
    """Attention heads of each level: swin3d_t and videomae; default: as published."""
    depths: tuple[int, ...] = ()
    """Layers of each level: swin3d_t and videomae; default: as published."""

    def __post_init__(self) -> None:
        check_fields(self)
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
        if self.name == "videomae" and (len(self.dims) != 1 or self.input_size[1] != self.input_size[2]):
            raise UserError("videomae has one level, and takes square frames")
        if self.name == "videomae" and any(
            side % patch for side, patch in zip(self.input_size, self.patch_size, strict=True)
        ):
            raise UserError(f"the input_size {self.input_size} must be divisible by the patch_size {self.patch_size}")
        if self.name == "swin3d_t" and any(dim != self.dims[0] * 2**level for level, dim in enumerate(self.dims)):
            raise UserError(f"the width of swin3d_t doubles from level to level; got dims {self.dims}")
        if self.name != "videomae" and self.in_channels != 3:
            raise UserError(f"{self.name} takes colour (3 channels); got {self.in_channels}")
        if self.name == "s3d" and (self.input_size[0] < 16 or min(self.input_size[1:]) < 224):
            raise UserError(f"s3d takes 16 frames of 224 x 224 pixels or more; got {self.input_size}")


class ClipBaseline(Encoder):
    """A model of torchvision or transformers as an encoder of clips; its parameters are theirs, under `network.`.

    The last level is what the head takes the mean of; there are no levels below it.
    """

    config: ClipBaselineConfig

    def __init__(self, config: ClipBaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.network: Any = _create(config, class_count(config))

    @property
    def head(self) -> nn.Module:
        """The layer that gives the logits."""
        names = {"r2plus1d_18": "fc", "s3d": "classifier", "swin3d_t": "head", "videomae": "classifier"}
        return getattr(self.network, names[self.config.name])

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of the feature map."""
        return self.config.dims[-1:]

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Time, rows and columns of the feature map."""
        with torch.device("meta"):
            clips = torch.empty(1, self.config.in_channels, *self.config.input_size)
            return tuple(ClipBaseline(self.config).eval().levels(clips)[0].shape[1:4])

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        """(batch, time, rows, columns, dim). Raises UserError for a mask: these models take none."""
        self.check_images(images)
        if mask is not None:
            raise UserError(f"{self.config.name} is here to compare classifiers with; it takes no mask")
        network, name = self.network, self.config.name
        if name == "videomae":
            tokens = network.videomae(images.transpose(1, 2)).last_hidden_state
            sides = zip(self.config.input_size, self.config.patch_size, strict=True)
            return tokens.unflatten(1, tuple(side // patch for side, patch in sides))
        if name == "swin3d_t":
            return network.norm(network.features(network.pos_drop(network.patch_embed(images))))
        if name == "s3d":
            return network.features(images).movedim(1, -1)
        features = network.stem(images)
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            features = layer(features)
        return features.movedim(1, -1)

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        raise AssertionError("there is one level")

    def classify(self, last_map: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the feature map (batch, time, rows, columns, dim)."""
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
        return int(found[1]) + (1 if self.config.name == "videomae" else 0)


def _create(config: ClipBaselineConfig, num_classes: int) -> nn.Module:
    """The other library's network. Raises UserError where transformers is missing."""
    if config.name == "videomae":
        try:
            from transformers import VideoMAEConfig, VideoMAEForVideoClassification
        except ImportError as error:
            raise UserError("videomae needs the package transformers: pip install transformers") from error
        time, side, _ = config.patch_size
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
        patch = list(config.patch_size if config.patch_size != (2, 16, 16) else (2, 4, 4))
        return video.SwinTransformer3d(
            patch_size=patch, embed_dim=config.dims[0], depths=list(config.depths), num_heads=list(config.heads),
            window_size=[8, 7, 7], stochastic_depth_prob=0.1, num_classes=num_classes,
        )  # fmt: skip
    return {"r2plus1d_18": video.r2plus1d_18, "s3d": video.s3d}[config.name](num_classes=num_classes)
