"""Masked autoencoders that have a hierarchical encoder, for images and clips.

He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377, as Ryali et al. made them hierarchical
("Hiera", arXiv 2306.00989, section 3 and appendix A). With a Hiera in sparse encoding, numerically the authors' code:
the same weights and mask give the same predictions, loss and gradients to 1e-5.

Some mask units are masked, the encoder sees the visible ones, and the decoder predicts the masked patches from them.
Masking strategies:

| encoding | what the encoder computes | for |
| --- | --- | --- |
| sparse, kernel = stride | the visible units; nothing crosses a unit's border | Hiera; MViTv2's steps d to f |
| sparse, separate and pad | the visible units; every pooling is padded inside its unit | MViTv2's steps a to c |
| sparse, token by token | the visible tokens, each a mask unit (arXiv 2111.06377) | the plain ViT |
| sparse, whole blocks | the visible blocks; aggregation sees nothing where a block is masked | NesT (ours) |
| dense | all tokens; masked ones are a learned token from the stem on (MaskFeat, arXiv 2112.09133) | every family |

Deleting masked tokens from a model whose kernels overlap is refused: the rest is no grid any more, so that kernels mix
tokens that are no neighbours, or, on the whole grid, carry masked content into visible tokens (Figure 4 of the paper).
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
    resize_plane,
)
from hvit.models.layers.linear import Mlp, apply, apply_rows, is_plain
from hvit.models.layers.masking import Mask, place_units, spread_mask
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.masks import sample_visible
from hvit.models.masked.targets import make_targets, target_width

_STEMS = ("encoder.patch_embed", "encoder.network.patch_embed.proj")


class DecoderLayer(nn.Module):
    """A pre-norm transformer layer with global attention (arXiv 2010.11929)."""

    applied_in_parts = ("qkv",)

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim, "gelu")

    def forward(self, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """tokens: (batch, tokens, dim). Returns the same shape, or the wanted tokens of it only.

        wanted: bool (batch, tokens), as many in every sample. They look at all.
        """
        normed = self.norm1(tokens)
        if wanted is None:
            q, k, v = apply(self.qkv, normed).unflatten(2, (3, self.heads, -1)).unbind(2)
        else:
            dim = tokens.shape[2]
            chosen = tokens[wanted]
            tokens = chosen.unflatten(0, (len(tokens), len(chosen) // max(len(tokens), 1)))
            if is_plain(self.qkv, nn.Linear):
                q = apply_rows(self.qkv, normed[wanted].view_as(tokens), 0, dim)
                keys_values = apply_rows(self.qkv, normed, dim, 3 * dim)
            else:
                q, keys_values = apply(self.qkv, normed).split((dim, 2 * dim), -1)
                q = q[wanted].view_as(tokens)
            q = q.unflatten(2, (self.heads, -1))
            k, v = keys_values.unflatten(2, (2, self.heads, -1)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = attend(q, k, v)
        tokens = tokens + apply(self.proj, mixed.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens))


class MaskedAutoencoder(nn.Module):
    """Predicts masked patches from the visible mask units.

    The mask token stands for what is masked: in dense encoding from the encoder's stem on, in sparse encoding in the
    decoder.
    """

    def __init__(self, config: MaskedConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        # What comes after the last level is for classes, and belongs to fine-tuning.
        encoder.remove_head()
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
        if config.encoding == "dense":
            self.mask_token = nn.Parameter(torch.empty(config.encoder.dims[0]))
        width = target_width(config.target, config.patch, config.in_channels)
        if config.decoder_depth == 0:
            self.prediction = nn.Linear(dims[-1], width)
        else:
            self.embed = nn.Linear(dims[-1], dim)
            if config.encoding == "sparse":
                self.mask_token = nn.Parameter(torch.empty(dim))
            self.decoder_positions = nn.Parameter(torch.empty(1, *config.patch_grid, dim))
            self.decoder = nn.ModuleList(DecoderLayer(dim, config.decoder_heads) for _ in range(config.decoder_depth))
            self.decoder_norm = nn.LayerNorm(dim, eps=1e-6)
            self.prediction = nn.Linear(dim, width)
        self.register_load_state_dict_pre_hook(_rename_old_parameters)
        self.initialise()

    def initialise(self) -> None:
        """Initialises as published, the encoder included.

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
                if isinstance(module, nn.Linear) or (name in _STEMS and key == "weight"):
                    nn.init.xavier_uniform_(parameter.flatten(1)) if key == "weight" else nn.init.zeros_(parameter)
                elif isinstance(module, nn.LayerNorm):
                    nn.init.constant_(parameter, 1.0 if key == "weight" else 0.0)
                elif name not in _STEMS and "scale" not in key:
                    truncated_normal_(parameter)

    def forward(self, images: Tensor, visible: Tensor, masked_only: bool = False) -> Tensor:
        """Predicts every patch.

        images: (batch, channels, *input_size). visible: bool (batch, *unit_grid), True for the visible mask units, the
        same number in every sample. Returns (batch, *patch_grid, numbers of a patch) in the terms of the target; with
        masked_only (masked patches of all samples, numbers of a patch), which is what the loss needs and costs less.
        """
        tokens = self.encode(images, visible)
        wanted = self.masked_patches(visible) if masked_only else None
        if self.config.decoder_depth == 0:
            return apply(self.prediction, tokens if wanted is None else tokens[wanted])
        tokens = apply(self.embed, tokens)
        if self.config.encoding == "sparse":
            tokens = place_units(tokens, visible, self.mask_token)
        tokens = (tokens + self.decoder_positions).flatten(1, -2)
        for layer in self.decoder[:-1]:
            tokens = layer(tokens)
        tokens = self.decoder[-1](tokens, None if wanted is None else wanted.flatten(1))
        predictions = apply(self.prediction, self.decoder_norm(tokens))
        return predictions.unflatten(1, self.config.patch_grid) if wanted is None else predictions.flatten(0, 1)

    def draw_masks(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Visible units (count, *unit_grid) of the configuration's ratio and pattern; see `masks.sample_visible`."""
        config = self.config
        return sample_visible(count, config.unit_grid, config.mask_ratio, config.mask_pattern, generator=generator)

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """The fused feature map: sparse (batch, visible units, *side, dim), dense (batch, *patch_grid, dim)."""
        mask = Mask(visible, self.mask_token if self.config.encoding == "dense" else None)
        levels = self.encoder.levels(images, mask)
        lead = 2 if mask.is_sparse else 1
        fused = levels[-1]
        for level, convolve in self.fusion.items():
            feature_map = levels[int(level)]
            cells = _convolved(convolve, feature_map.flatten(0, lead - 1))
            fused = fused + cells.unflatten(0, feature_map.shape[:lead])
        return self.norm(fused)

    def features(self, images: Tensor) -> Tensor:
        """The mean of the encoder's last feature map of whole images: (batch, dim)."""
        return self.encoder.levels(images)[-1].flatten(1, -2).mean(1)

    def loss(self, predictions: Tensor, images: Tensor, visible: Tensor) -> Tensor:
        """The mean squared difference over the masked patches (arXiv 2111.06377).

        predictions: as `forward` returns them, of every patch or of the masked ones. images, visible: as for `forward`.
        Raises UserError for a batch of no images, which has no mean.
        """
        if not len(images):
            raise UserError("the loss is a mean over masked patches, and this batch has no images")
        masked = self.masked_patches(visible)
        wanted = make_targets(images, self.config.patch, self.config.target, masked)
        return F.mse_loss((predictions if predictions.ndim == 2 else predictions[masked]).float(), wanted)

    def masked_patches(self, visible: Tensor) -> Tensor:
        """The patches of masked units: bool (batch, *patch_grid). visible: bool (batch, *unit_grid)."""
        return ~spread_mask(visible, self.config.patch_grid)

    @property
    def position_resizes(self) -> tuple[PositionResize, ...]:
        """The ways in which the encoder's position embeddings can be resized, the default one first."""
        return self.encoder.position_resizes

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`; the decoder's positions are resized as a whole."""
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


def present_name(name: str) -> str:
    """The name of a parameter, given perhaps as in hvit 0.1: `tell` is `prediction`, `hidden_token` is `mask_token`."""
    first, dot, rest = name.partition(".")
    return {"tell": "prediction", "hidden_token": "mask_token"}.get(first, first) + dot + rest


def _rename_old_parameters(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    """Checkpoints of hvit 0.1 load as those of today."""
    for name in [name for name in state if name.startswith((f"{prefix}tell.", f"{prefix}hidden_token"))]:
        state[prefix + present_name(name.removeprefix(prefix))] = state.pop(name)


def _convolved(layer: nn.Module, feature_map: Tensor) -> Tensor:
    """A convolution whose kernel is its stride, of a map (batch, *sizes, channels): (batch, *cells, dim)."""
    if is_plain(layer, nn.Conv2d, nn.Conv3d):
        return convolve_cells(feature_map, layer.get_parameter("weight"), layer._parameters["bias"])
    return channels_last(layer(channels_first(feature_map)))
