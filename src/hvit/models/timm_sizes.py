"""Sizes of timm's models that timm does not name: which arguments may be given, and windows that do not shift."""

from __future__ import annotations

import json
from typing import Any

from hvit.errors import UserError, did_you_mean

LONGEST_SETTINGS = 2_000
_MOST = 4_096
SETTINGS = (
    "always_partition", "channels", "class_token", "conv_stem", "depth", "depths", "dims", "embed_dim", "embed_dims",
    "global_pool", "group_size", "init_values", "layers", "mlp_ratio", "mlp_ratios", "num_heads", "patch_size",
    "pos_embed", "qkv_bias", "shift", "sr_ratios", "stem_width", "strict_img_size", "w0", "wa", "width", "window_size",
    "wm",
)  # fmt: skip
"""The arguments of timm's models that a configuration may set: sizes, not files to load or classes to call. `shift` is
ours: false leaves the windows of a Swin where they are."""


def read_settings(text: str) -> dict[str, Any]:
    """The arguments that a JSON object names; lists become tuples. Raises UserError for anything but known sizes."""
    if not text:
        return {}
    try:
        given = json.loads(text) if len(text) <= LONGEST_SETTINGS else None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise UserError(
            f'settings of a timm model are a JSON object of sizes, such as {{"embed_dim": 32}}; got {text[:80]!r}'
        )
    for name, value in given.items():
        if name not in SETTINGS:
            meant = did_you_mean(name, SETTINGS) or f"; they may have {', '.join(SETTINGS)}"
            raise UserError(f"settings of a timm model have no {name[:80]!r}{meant}")
        values = value if isinstance(value, list) else [value]
        if not 0 < len(values) <= 16 or not all(map(_is_size, values)):
            raise UserError(
                f"the setting {name} takes a number up to {_MOST:,}, a word, or up to 16 of them; got {str(value)[:80]}"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _is_size(value: object) -> bool:
    if isinstance(value, str):
        return value.isidentifier() and len(value) <= 40
    return isinstance(value, int | float) and 0 <= value <= _MOST


def without_shift(network: Any) -> None:
    """Windows of attention stay where they are in every layer, so that they never exchange anything: Swin's ablation.

    Raises UserError for a network that has no windows that shift.
    """
    blocks = [module for module in network.modules() if hasattr(module, "shift_size")]
    if not blocks:
        raise UserError(
            f"the setting shift is for models with windows that shift, and {type(network).__name__} has none"
        )
    for block in blocks:
        block.target_shift_size = block.shift_size = (0, 0)
        block.attn_mask = None
