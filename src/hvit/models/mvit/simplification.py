"""From MViTv2 to Hiera, one simplification at a time (arXiv 2306.00989, section 3.2 and Table 1).

| step | what changes, on top of the step before |
| --- | --- |
| 0 | MViTv2: relative positions, convolutional pooling in every block, residual queries |
| a | absolute positions; from here on every pooling is separated by mask units and padded inside them |
| b | max-pools in place of convolutions |
| c | no max-pool of stride 1 |
| d | kernels equal strides: nothing crosses a unit's border, nothing is padded any more |
| e | the pooled queries are no longer added to the output of attention |
| f | attention inside mask units in the first two levels in place of key and value pooling: Hiera |

Steps b to f have the same parameters, those of Hiera. The path starts from the form of MViTv2 whose width grows in
attention and whose mean over the feature map is classified, so that every step changes one thing; from a on the final
norm follows the mean, as in Hiera. Zeros pad the max-pools of steps a to c ("separate and pad"): the paper blames the
padding of small units for step b's low accuracy, which minus infinity would not explain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from hvit.errors import UserError
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig

Step = Literal["0", "a", "b", "c", "d", "e", "f"]
STEPS: tuple[Step, ...] = get_args(Step)


def simplify(start: MvitConfig, step: Step) -> MvitConfig:
    """A step of the path, for any MViTv2.

    start: an MViTv2 with relative positions. Mask units are as large as all query strides together, one token deep in
    time, as in Hiera. Raises UserError for an unknown step and for a start that is no MViTv2.
    """
    if step not in STEPS:
        raise UserError(f"the steps from MViTv2 to Hiera are {', '.join(STEPS)}; got {step!r}")
    if start.positions != "relative" or start.pool != "conv":
        raise UserError("the path to Hiera starts from an MViTv2: relative positions, pooling by convolution")
    levels = len(start.depths)
    config = replace(start, expansion="attention", class_token=False)
    if step >= "a":
        unit = tuple(stride ** (levels - 1) for stride in start.query_stride)
        config = replace(config, positions="absolute", unit_size=unit, max_padding="zero", norm_after_mean=True)
    if step >= "b":
        config = replace(config, pool="max")
    if step >= "c":
        config = replace(config, query_pooling="strided", key_pooling="strided")
    if step >= "d":
        config = replace(config, pool_kernel="stride", max_padding="infinity")
    if step >= "e":
        config = replace(config, query_residual=False)
    if step >= "f":
        inside = tuple(level < levels - 2 for level in range(levels))
        config = replace(config, key_stride=(1,) * len(start.key_stride), unit_attention=inside)
    return config


_CLIP = replace(MVIT_SIZES["mvitv2_small_16x224"], class_token=False)
_LARGE, _BASE = MVIT_SIZES["mvitv2_large_224"], MVIT_SIZES["mvitv2_base_224"]


def _four_levels(micro: MvitConfig) -> MvitConfig:
    return replace(
        micro, dims=(24, 48, 96, 192), heads=(1, 2, 4, 8), depths=(1, 1, 2, 1), unit_attention=(False,) * 4
    )  # fmt: skip


_STARTS: dict[str, MvitConfig] = {
    "mvitv2_base_224": _BASE,
    "mvitv2_large_224": _LARGE,
    "mvitv2_base_16x224": replace(_CLIP, depths=_BASE.depths),
    "mvitv2_large_16x224": replace(_CLIP, dims=_LARGE.dims, heads=_LARGE.heads, depths=_LARGE.depths),
    "mvitv2_micro_64": _four_levels(MVIT_SIZES["mvitv2_micro_64"]),
    "mvitv2_micro_16x64": _four_levels(MVIT_SIZES["mvitv2_micro_16x64"]),
}

SIMPLIFIED: dict[str, MvitConfig] = {
    f"{name}_step_{step}": simplify(start, step) for name, start in _STARTS.items() for step in STEPS
}
