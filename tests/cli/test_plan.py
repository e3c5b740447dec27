"""`hvit plan` as its users meet it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]
SMALL = ("plan", "hiera_micro_mae_cifar10", "--gpus", "16", "--gpu", "h200")


def test_a_plan_is_printed_as_text_and_as_json(hvit: Run) -> None:
    status, out, _ = hvit(*SMALL, "--loop.batch-size", "64", "--price", "2.5")
    assert status == 0
    assert "16 x h200 in 2 nodes of 8" in out
    assert "64, 4 on a device" in out
    assert max(map(len, out.splitlines())) <= 80
    status, out, _ = hvit(*SMALL, "--gpus-per-node", "16", "--images", "1000", "--json")
    found = json.loads(out)
    assert (status, found["nodes"], found["samples"], found["samples_of"]) == (0, 1, 1000, "--images")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "--gpus", "8"], "name a recipe first: hvit plan RECIPE --gpus 8"),
        (["plan", "hiera_larg"], "no recipe called"),
        ([*SMALL[:-1], "h20"], "did you mean 'h200'?"),
        ([*SMALL, "--efficiency", "1.5"], "--efficiency must be a share, from 0 to 1; got 1.5"),
        ([*SMALL, "--reserve", "1"], "--reserve must be a share"),
        ([*SMALL, "--price", "-1"], "--price must be above 0 and below 1e15; got -1"),
        ([*SMALL, "--gpu-memory", "0"], "--gpu-memory must be above 0"),
        ([*SMALL, "--no-such-option", "1"], "no-such-option"),
        ([*SMALL, "--node-bandwidth", "nan"], "--node-bandwidth must be above 0 and below 1e15; got nan"),
        ([*SMALL, "--efficiency", "nan"], "--efficiency must be a share"),
        ([*SMALL, "--gpus", "0"], "--gpus must be 1 or more; got 0"),
        ([*SMALL, "--gpus-per-node", "0"], "--gpus-per-node must be above 0"),
        (["plan", "nest_micro_folder"], "say how many images or clips with --images"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_2(hvit: Run, arguments: list[str], sentence: str) -> None:
    status, out, err = hvit(*arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
