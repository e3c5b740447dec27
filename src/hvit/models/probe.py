"""What a linear probe is made of: a frozen encoder, the features that its head takes, and the head."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.hiera.config import HieraConfig
from hvit.models.layers.encoder import Encoder
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.timm_encoder import TimmConfig

ProbedConfig = NestConfig | MvitConfig | HieraConfig | VitConfig | ResnetConfig | TimmConfig
Head = Literal["linear", "neighbours", "network"]


@dataclass(frozen=True)
class ProbeConfig:
    """A head on the features of a frozen encoder. The run leaves a classifier of the encoder's family."""

    family: Literal["probe"] = "probe"
    """The model family."""
    encoder: Annotated[ProbedConfig, Field(discriminator="family")] = field(default_factory=TimmConfig)
    """The encoder; with weights that say what they belong to, theirs."""
    heads: tuple[Head, ...] = ("linear",)
    """Heads that are fitted and compared: linear (always; the classifier that is saved), neighbours, network."""
    mean: tuple[float, ...] | None = None
    """Mean of each channel that the encoder's images are normalised with, from 0 to 1; default: as its weights say."""
    std: tuple[float, ...] | None = None
    """Standard deviation of each channel; default: as its weights say."""
    finetune_minutes: float = 0.0
    """Fine-tuning after the probe takes at most about so many minutes: a trial, delivered only if it recognises more of
    a validation part of the training images; 0: none. `optimize.freeze` says which layers stay frozen in it."""

    def __post_init__(self) -> None:
        check_fields(self)
        if "linear" not in self.heads:
            object.__setattr__(self, "heads", ("linear", *self.heads))
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.in_channels:
                raise UserError(f"{name} has one number for each of {self.in_channels} channels; got {values}")
        if self.std is not None and min(self.std) <= 0:
            raise UserError(f"std must be above 0; got {self.std}")

    @property
    def input_size(self) -> tuple[int, ...]:
        """Size of the encoder's input."""
        return self.encoder.input_size

    @property
    def in_channels(self) -> int:
        """Channels of the encoder's input."""
        return self.encoder.in_channels

    @property
    def num_classes(self) -> int | None:
        """Classes of the head."""
        return self.encoder.num_classes

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of the encoder in each level."""
        return self.encoder.depths

    def with_classes(self, count: int) -> ProbeConfig:
        """The same probe for so many classes."""
        return replace(self, encoder=replace(self.encoder, num_classes=count))


def head_features(model: Encoder, images: Tensor) -> Tensor:
    """What a classifier's linear head takes: features (batch, dim) of images (batch, channels, *input_size).

    Raises UserError for a model whose head is no linear layer.
    """
    return logits_and_features(model, images)[1]


@torch.no_grad()
def logits_and_features(model: Encoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (batch, classes), and features as `head_features`, both float32."""
    taken: list[Tensor] = []
    head = model.head
    if not isinstance(head, nn.Linear):
        raise UserError(f"a probe replaces a linear head, and this {type(model).__name__} has a {type(head).__name__}")
    handle = head.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0].flatten(1)))
    try:
        logits = model(images)
    finally:
        handle.remove()
    return logits.float(), taken[0].float()


@torch.no_grad()
def set_head(model: Encoder, weight: Tensor, bias: Tensor) -> None:
    """Gives a classifier's linear head a weight (classes, dim) and a bias (classes,)."""
    head = model.head
    assert isinstance(head, nn.Linear)
    head.weight.copy_(weight)
    head.bias.copy_(bias)
