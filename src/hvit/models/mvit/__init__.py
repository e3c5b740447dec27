"""MViT and MViTv2, and the simplification path from MViTv2 to Hiera."""

from __future__ import annotations

from hvit.moved import old_names_of

__getattr__ = old_names_of(__name__)
