"""What every family is built from, and the contract every encoder keeps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.grids import PositionResize

Activation = Literal["gelu_tanh", "gelu"]


class Encoder(nn.Module, ABC):
    """A network that turns images into feature grids, fine to coarse, and the last grid into class logits.

    Explaining, masking, feature pyramids and layer-wise learning rates use only these methods and `config`,
    the frozen dataclass the model was built from.
    """

    config: Any
    position_resizes: tuple[PositionResize, ...] = ("plane",)
    """The ways in which this family's position embeddings can be resized, the default one first."""

    @abstractmethod
    def levels(self, images: Tensor) -> list[Tensor]:
        """The feature grid after each level, fine to coarse, on the path from the images to the logits.

        images: (batch, channels, height, width). Returns grids (batch, rows, columns, dim); the last one is the map
        that `classify` takes.
        """

    @abstractmethod
    def classify(self, last_grid: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the last grid (batch, rows, columns, dim), never softmaxed."""

    @abstractmethod
    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter, for layer-wise learning-rate decay.

        0 is the stem, i + 1 the i-th transformer layer counted from the image, and one more the final norm and head.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, height, width), never softmaxed."""
        return self.classify(self.levels(images)[-1])

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """A position embedding that was made for another input size, in the shape this model wants.

        name: our name of the parameter. tensor: the embedding found, float32. shape: the shape wanted. how: one of
        `position_resizes`. Returns None where the parameter is no position embedding, or its shapes differ in more
        than the input size.
        """
        return None

    def check_images(self, images: Tensor) -> None:
        """Refuses (UserError) images of another shape than (batch, in_channels, *input_size)."""
        wanted = (self.config.in_channels, *self.config.input_size)
        if images.ndim != len(wanted) + 1 or tuple(images.shape[1:]) != wanted:
            axes = ("time", "height", "width")[-len(self.config.input_size) :]
            kind = "clips" if len(axes) == 3 else "images"
            raise UserError(
                f"this model takes batches of {kind} of (channels, {', '.join(axes)}) {wanted}; "
                f"got shape {tuple(images.shape)}"
            )


class DropPath(nn.Module):
    """Stochastic depth: in training a residual branch is dropped for whole samples (arXiv 1603.09382).

    rate: share of samples that lose the branch; the others are scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """branch: (batch, ...). Returns the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty((branch.shape[0],) + (1,) * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, applied to every token."""

    def __init__(self, dim: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.approximate = "tanh" if activation == "gelu_tanh" else "none"

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (..., dim). Returns the same shape."""
        return self.fc2(F.gelu(self.fc1(tokens), approximate=self.approximate))


def drop_path_rates(rate: float, layers: int) -> list[float]:
    """Stochastic-depth rates that grow linearly from 0 in the first layer to `rate` in the last."""
    return [rate * layer / max(layers - 1, 1) for layer in range(layers)]


def truncated_normal_(weight: Tensor, std: float = 0.02) -> None:
    """Fills a weight from a normal distribution cut at two standard deviations, without correcting its variance.

    Draws by inverting the distribution: many times faster than torch's rejection sampling.
    """
    limit = math.erf(math.sqrt(2))
    with torch.no_grad():
        weight.uniform_(-limit, limit).erfinv_().mul_(std * math.sqrt(2))
