"""What generators and discriminators are built from: spectral norm, spatial attention, and pooling with a blur."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


def initialise(network: nn.Module) -> None:
    """Draws the weights of all linear layers and convolutions: uniform (Xavier), biases 0; all else stays as it is.

    HiT's Keras layers and TransGAN's --init_type draw so; the paper of the transposed NesT does not say.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, which one power iteration per training pass follows.

    Miyato et al., arXiv 1802.05957, algorithm 1: the weight is a matrix (outputs, all inputs). Always in float32,
    under any autocast, unlike PyTorch's own.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("right", F.normalize(torch.randn_like(matrix[0]), dim=0))
        self._follow(matrix, 15)

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (outputs, ...). Returns the same shape, with the largest singular value 1."""
        matrix = weight.flatten(1)
        # The meta device, on which parameters are counted, knows no autocast.
        with nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False):
            if self.training:
                self._follow(matrix.detach(), 1)
            # Copies, so that another pass before this one's backward cannot change what it was computed with.
            largest = self.left.clone() @ (matrix @ self.right.clone())
        return weight / largest

    @torch.no_grad()
    def _follow(self, matrix: Tensor, times: int) -> None:
        for _ in range(0 if matrix.is_meta else times):
            self.left.copy_(F.normalize(matrix @ self.right, dim=0))
            self.right.copy_(F.normalize(matrix.T @ self.left, dim=0))


def spectral(layer: nn.Module) -> nn.Module:
    """A layer at random initialisation (see `initialise`), its weight under spectral norm."""
    initialise(layer)
    assert isinstance(layer.weight, Tensor)
    return parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


class MapAttention(nn.Module):
    """Self-attention among all places of a feature map, on a residual branch that opens from 0.

    SAGAN (Zhang et al., arXiv 1805.08318, section 3, and its code): queries and keys have an eighth of the channels,
    values a half; keys and values are max-pooled by 2.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        narrow, half = max(dim // 8, 1), max(dim // 2, 1)
        self.query = spectral(nn.Conv2d(dim, narrow, 1, bias=False))
        self.key = spectral(nn.Conv2d(dim, narrow, 1, bias=False))
        self.value = spectral(nn.Conv2d(dim, half, 1, bias=False))
        self.proj = spectral(nn.Conv2d(half, dim, 1, bias=False))
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (batch, dim, height, width), both even. Returns the same shape."""
        query = self.query(maps).flatten(2)
        key, value = (F.max_pool2d(one(maps), 2).flatten(2) for one in (self.key, self.value))
        # Written out: R1 differentiates a discriminator twice, and the fused kernels cannot be.
        weights = (query.transpose(1, 2) @ key).softmax(dim=-1)
        mixed = (value @ weights.transpose(1, 2)).unflatten(2, maps.shape[2:])
        return maps + self.gain * self.proj(mixed)


def blur_pool(maps: Tensor) -> Tensor:
    """Halves feature maps after a blur by (1, 3, 3, 1) / 8 along both axes, zeros outside (arXiv 1904.11486).

    maps: (batch, channels, height, width), both even. Returns (batch, channels, height / 2, width / 2).
    """
    taps = maps.new_tensor((1.0, 3.0, 3.0, 1.0)) / 8
    kernel = torch.outer(taps, taps).expand(maps.shape[1], 1, 4, 4)
    return F.conv2d(maps, kernel, stride=2, padding=1, groups=maps.shape[1])
