"""Baselines of timm with as many parameters as our micro models (0.57 million), to compare families with."""

from __future__ import annotations

import json

from hvit.models.baselines import RESNET_SIZES, VIT_SIZES, ResnetConfig, VitConfig
from hvit.models.timm_encoder import TimmConfig

_SWIN: dict[str, object] = {
    "patch_size": 2, "window_size": 4, "embed_dim": 32, "depths": [2, 2, 2], "num_heads": [2, 4, 8],
}  # fmt: skip

# The stems of PVT v2 and RegNetY divide by 4 and 2 what was made for 224 pixels: they see CIFAR enlarged to 64.
_TIMM: dict[str, tuple[str, int, dict[str, object]]] = {
    "swin": ("swin_tiny_patch4_window7_224", 32, _SWIN),
    "swin_no_shift": ("swin_tiny_patch4_window7_224", 32, {**_SWIN, "shift": False}),
    "pvtv2": ("pvt_v2_b0", 64, {
        "embed_dims": [32, 64, 128], "depths": [1, 1, 2], "num_heads": [1, 2, 4], "mlp_ratios": [4, 4, 4],
        "sr_ratios": [4, 2, 1],
    }),
    "regnety": ("regnety_002", 64, {"w0": 24, "wa": 24, "wm": 2.2, "depth": 9, "group_size": 8, "stem_width": 16}),
    "deit": ("vit_tiny_patch16_224", 32, {"patch_size": 4, "embed_dim": 96, "depth": 5, "num_heads": 3}),
}  # fmt: skip
_PLAIN: dict[str, VitConfig | ResnetConfig] = {
    "vit_patch2": VIT_SIZES["vit_patch2_micro_32"],
    "wide_resnet": RESNET_SIZES["wide_resnet_micro_32"],
}
BASELINES = (*_TIMM, *_PLAIN)
"""swin_no_shift: windows never exchange anything; deit: a ViT with a class token; vit_patch2: the plain ViT with four
times as many tokens; wide_resnet: twice as wide and half as deep as `resnet_micro_32`."""


MICRO = {f"{name}_micro_{side}": name for name, (_, side, _) in _TIMM.items()}
"""The catalogue's names of the baselines that are timm's own, by their names here."""


def settings_of(name: str) -> str:
    """What a baseline that is timm's own has in place of its architecture's sizes, as `TimmConfig` takes it."""
    return json.dumps(_TIMM[name][2])


def baseline(name: str) -> TimmConfig | VitConfig | ResnetConfig:
    """The configuration of a baseline for CIFAR; timm is imported for those that are its own."""
    if name in _PLAIN:
        return _PLAIN[name]
    architecture, side, _ = _TIMM[name]
    return TimmConfig(name=architecture, input_size=(side, side), num_classes=10, settings=settings_of(name))
