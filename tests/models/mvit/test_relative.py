"""Relative positions give the same attention as a table of scores and as further channels."""

from __future__ import annotations

import pytest
import torch

from hvit.models.mvit.relative import attend_relative


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("grid", [(4, 4), (2, 4, 4)])
def test_both_forms_agree(extra: int, grid: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tokens = extra + torch.Size(grid).numel()
    q, k, v = torch.randn(3, 2, 2, tokens, 8).unbind()
    tables = [torch.randn(2 * side - 1, 8) for side in grid]
    as_table = attend_relative(q, k, v, tables, extra, grid, grid)
    monkeypatch.setattr("hvit.models.mvit.relative._TABLE_BYTES", 0)
    as_channels = attend_relative(q, k, v, tables, extra, grid, grid)
    assert torch.allclose(as_table, as_channels, atol=1e-5)
    zeros = [torch.zeros_like(table) for table in tables]
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(attend_relative(q, k, v, zeros, extra, grid, grid), plain, atol=1e-5)
