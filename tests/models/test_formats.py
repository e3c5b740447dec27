"""Names are translated by tables of replacements."""

from __future__ import annotations

import pytest
import torch

from hvit.models.formats import in_one_row, in_stages, our_format, renamed, turned_round


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


def test_tables_of_names_are_turned_round() -> None:
    names = (
        (r"^stem\.proj\.", "stem."),
        (r"\.pool_([qk])\.norm\.", r".norm_\1."),
        (r"\.pool_([qk])\.conv\.", r".pool_\1."),
        (r"^(blocks\.\d+)\.proj\.", r"\1.widen."),
        (r"^pos$", "positions"),
    )
    for theirs in ("stem.proj.bias", "blocks.12.proj.weight", "blocks.1.pool_q.norm.bias", "b.pool_k.conv.w", "pos"):
        assert renamed(renamed(theirs, names), turned_round(names)) == theirs
    with pytest.raises(AssertionError, match="no way back"):
        turned_round(((r"^pos(_abs|_spatial)$", "positions"),))


def test_blocks_go_back_to_their_stages() -> None:
    state = {f"stages.{stage}.layers.{place}.w": torch.ones(1) for stage, place in ((0, 0), (1, 0), (1, 1))}
    row = in_one_row(state, r"stages\.(\d+)\.layers\.(\d+)\.")
    assert list(in_stages(row, (1, 2), "stages.{stage}.layers.{place}.")) == list(state)
