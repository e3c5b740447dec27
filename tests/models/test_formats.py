"""Names are translated by tables of replacements."""

from __future__ import annotations

import torch

from hvit.models.formats import in_one_row, our_format, renamed


def test_replacements_follow_each_other() -> None:
    names = [(r"^layers\.", "blocks."), (r"\.attn\.", ".attention.")]
    assert renamed("layers.0.attn.w", names) == "blocks.0.attention.w"


def test_blocks_of_stages_are_counted_through() -> None:
    names = ("stages.0.blocks.0.w", "stages.1.blocks.0.w", "stages.1.blocks.1.w", "head.w")
    counted = in_one_row({name: torch.ones(1) for name in names}, r"stages\.(\d+)\.blocks\.(\d+)\.")
    assert list(counted) == ["blocks.0.w", "blocks.1.w", "blocks.2.w", "head.w"]


def test_our_own_names_stay_as_they_are() -> None:
    state = {"root.weight": torch.ones(1)}
    assert our_format(r"root\.").translate(state, None) == state
