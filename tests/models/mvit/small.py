"""A MViT so small that every choice is built in no time."""

from __future__ import annotations

from hvit.models.mvit.config import MvitConfig

SMALL = MvitConfig(
    input_size=(32, 48), num_classes=5, dims=(8, 16, 32), heads=(1, 2, 4), depths=(1, 2, 1), patch_size=(2, 2),
    patch_kernel=(3, 3), unit_attention=(False, False, False),
)  # fmt: skip
