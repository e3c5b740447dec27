"""Masked autoencoders that have a hierarchical encoder, for images and clips.

He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377, as Ryali et al. made them hierarchical
("Hiera", arXiv 2306.00989, section 3 and appendix A). With a Hiera that keeps units only, numerically the authors'
code: the same weights and mask give the same predictions, loss and gradients to 1e-5.

Mask units are hidden, the encoder sees the rest, and what was hidden is told from what was seen. Ways to hide:

| way | what the encoder computes | for |
| --- | --- | --- |
| keep, kernel = stride | the kept units only; nothing crosses a unit's border | Hiera; MViTv2's steps d to f |
| keep, separate and pad | the kept units only; every pooling is padded inside its unit | MViTv2's steps a to c |
| keep, whole blocks | the kept blocks only; aggregation sees nothing where a block is hidden | NesT (ours) |
| fill | all tokens; hidden ones are a learned token from the stem on (MaskFeat, arXiv 2112.09133) | every family |

Deleting hidden tokens from a model whose kernels overlap is refused: the rest is no grid any more, so that kernels mix
tokens that are no neighbours, or, on the dense grid, carry what is hidden into what is kept (Figure 4 of the paper).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.layers.attention import attend
from hvit.models.layers.blocks import truncated_normal_
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import (
    PositionResize,
    channels_first,
    channels_last,
    convolve_cells,
    place_units,
    resize_plane,
)
from hvit.models.layers.linear import Linear, Mlp, SplitLinear, is_plain
from hvit.models.layers.masking import spread_mask
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.masks import sample_kept
from hvit.models.masked.targets import make_targets, target_width


class DecoderLayer(nn.Module):
    """A pre-norm transformer layer with global attention (arXiv 2010.11929)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = SplitLinear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim, "gelu")

    def forward(self, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """tokens: (batch, tokens, dim). Returns the same shape, or the wanted tokens of it only.

        wanted: bool (batch, tokens), as many in every sample. They look at all.
        """
        normed = self.norm1(tokens)
        if wanted is None:
            q, k, v = self.qkv(normed).unflatten(2, (3, self.heads, -1)).unbind(2)
        else:
            dim = tokens.shape[2]
            chosen = tokens[wanted]
            tokens = chosen.unflatten(0, (len(tokens), len(chosen) // max(len(tokens), 1)))
            if is_plain(self.qkv, SplitLinear):
                q = self.qkv.rows(normed[wanted].view_as(tokens), 0, dim)
                keys_values = self.qkv.rows(normed, dim, 3 * dim)
            else:
                q, keys_values = self.qkv(normed).split((dim, 2 * dim), -1)
                q = q[wanted].view_as(tokens)
            q = q.unflatten(2, (self.heads, -1))
            k, v = keys_values.unflatten(2, (2, self.heads, -1)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = attend(q, k, v)
        tokens = tokens + self.proj(mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens))


class MaskedAutoencoder(nn.Module):
    """Tells hidden patches from the kept mask units."""

    def __init__(self, config: MaskedConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        # What comes after the last level is for classes, and is left to fine-tuning.
        encoder.head = nn.Identity()
        if encoder.norm_follows_mean:
            encoder.norm = nn.Identity()
        dims, dim = encoder.level_dims, config.decoder_dim
        last = config.level_sides()[-1]
        scales = {}
        for level, side in enumerate(config.level_sides()):
            kernel: Any = tuple(tokens // final for tokens, final in zip(side, last, strict=True))
            if config.multi_scale and max(kernel) > 1:
                convolution = (nn.Conv2d, nn.Conv3d)[len(kernel) - 2]
                scales[str(level)] = convolution(dims[level], dims[-1], kernel, kernel)
        self.fusion = nn.ModuleDict(scales)
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        if config.masking == "fill":
            self.hidden_token = nn.Parameter(torch.empty(config.encoder.dims[0]))
        width = target_width(config.target, config.patch, config.in_channels)
        if config.decoder_depth == 0:
            self.tell = Linear(dims[-1], width)
        else:
            self.embed = Linear(dims[-1], dim)
            if config.masking == "keep":
                self.mask_token = nn.Parameter(torch.empty(dim))
            self.decoder_positions = nn.Parameter(torch.empty(1, *config.patch_grid, dim))
            self.decoder = nn.ModuleList(DecoderLayer(dim, config.decoder_heads) for _ in range(config.decoder_depth))
            self.decoder_norm = nn.LayerNorm(dim, eps=1e-6)
            self.tell = Linear(dim, width)
        self.initialise()

    def initialise(self) -> None:
        """Draws new weights as published, the encoder's included.

        | what | how |
        | --- | --- |
        | linear layers and the stem | uniform (Xavier) |
        | positions, tokens, pooling kernels | normal, std 0.02, cut at two standard deviations |
        | biases of linear layers and norms | 0 |
        | fusion, bias of the stem | as PyTorch draws them |
        | norm scales | 1 |
        """
        for name, module in self.named_modules():
            for key, parameter in module.named_parameters(recurse=False):
                if name.startswith("fusion"):
                    continue
                if isinstance(module, nn.Linear) or (name == "encoder.patch_embed" and key == "weight"):
                    nn.init.xavier_uniform_(parameter.flatten(1)) if key == "weight" else nn.init.zeros_(parameter)
                elif isinstance(module, nn.LayerNorm):
                    nn.init.constant_(parameter, 1.0 if key == "weight" else 0.0)
                elif not name.endswith("patch_embed") and "scale" not in key:
                    truncated_normal_(parameter)

    def forward(self, images: Tensor, kept: Tensor, hidden_only: bool = False) -> Tensor:
        """What the model tells of every patch.

        images: (batch, channels, *input_size). kept: bool (batch, *unit_grid), True for the mask units to see, as
        many in every sample. Returns (batch, *patch_grid, numbers of a patch) in the terms of the target; with
        hidden_only (hidden patches of all samples, numbers of a patch), which is what the loss needs and costs less.
        """
        tokens = self.encode(images, kept)
        wanted = self.hidden_patches(kept) if hidden_only else None
        if self.config.decoder_depth == 0:
            return self.tell(tokens if wanted is None else tokens[wanted])
        tokens = self.embed(tokens)
        if self.config.masking == "keep":
            tokens = place_units(tokens, kept, self.mask_token)
        tokens = (tokens + self.decoder_positions).flatten(1, -2)
        for layer in self.decoder[:-1]:
            tokens = layer(tokens)
        tokens = self.decoder[-1](tokens, None if wanted is None else wanted.flatten(1))
        told = self.tell(self.decoder_norm(tokens))
        return told.unflatten(1, self.config.patch_grid) if wanted is None else told.flatten(0, 1)

    def draw_masks(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Masks (count, *unit_grid) of the configuration's ratio and pattern; see `masks.sample_kept`."""
        config = self.config
        return sample_kept(count, config.unit_grid, config.mask_ratio, config.mask_pattern, generator=generator)

    def encode(self, images: Tensor, kept: Tensor) -> Tensor:
        """The fused features: of the kept units (batch, kept units, *side, dim), or with fill (batch, *grid, dim)."""
        token = self.hidden_token if self.config.masking == "fill" else None
        grids = self.encoder.levels(images, kept, token)
        lead = 2 if token is None else 1
        fused = grids[-1]
        for level, convolve in self.fusion.items():
            grid = grids[int(level)]
            cells = _convolved(convolve, grid.flatten(0, lead - 1))
            fused = fused + cells.unflatten(0, grid.shape[:lead])
        return self.norm(fused)

    def features(self, images: Tensor) -> Tensor:
        """The encoder's last grid on whole images, averaged: (batch, dim)."""
        return self.encoder.levels(images)[-1].flatten(1, -2).mean(1)

    def loss(self, told: Tensor, images: Tensor, kept: Tensor) -> Tensor:
        """The mean squared difference over the hidden patches (arXiv 2111.06377).

        told: as `forward` gives it, of every patch or of the hidden ones. images, kept: as for `forward`. Raises
        UserError for a batch of no images, which has no mean.
        """
        if not len(images):
            raise UserError("the loss is a mean over hidden patches, and this batch has no images")
        hidden = self.hidden_patches(kept)
        wanted = make_targets(images, self.config.patch, self.config.target, hidden)
        return F.mse_loss((told if told.ndim == 2 else told[hidden]).float(), wanted)

    def hidden_patches(self, kept: Tensor) -> Tensor:
        """Which patches lie under hidden units: bool (batch, *patch_grid). kept: bool (batch, *unit_grid)."""
        return ~spread_mask(kept, self.config.patch_grid)

    @property
    def position_resizes(self) -> tuple[PositionResize, ...]:
        """The ways in which the encoder's position embeddings can be resized, the default one first."""
        return self.encoder.position_resizes

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`; the decoder's positions are resized as one plane."""
        if name == "decoder_positions" and (len(tensor.shape), tensor.shape[-1]) == (len(shape), shape[-1]):
            return resize_plane(tensor, shape[1:-1])
        if not name.startswith("encoder."):
            return None
        return self.encoder.resize_positions(name.removeprefix("encoder."), tensor, shape, how)

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter in the encoder; the decoder is above all of it."""
        if parameter_name.startswith("encoder."):
            return self.encoder.level_of(parameter_name.removeprefix("encoder."))
        return sum(self.config.encoder.depths) + 1


def _convolved(layer: nn.Module, grid: Tensor) -> Tensor:
    """A convolution whose kernel is its stride, of a grid (batch, *sizes, channels): (batch, *cells, dim)."""
    if is_plain(layer, nn.Conv2d, nn.Conv3d):
        return convolve_cells(grid, layer.get_parameter("weight"), layer._parameters["bias"])
    return channels_last(layer(channels_first(grid)))
