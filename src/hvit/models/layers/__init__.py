"""What model families share: the encoder contract, attention, masking, blocks, grids and linear layers."""

from __future__ import annotations

from hvit.moved import old_names_of

__getattr__ = old_names_of(__name__)
