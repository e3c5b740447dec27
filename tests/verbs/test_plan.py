"""A plan holds together: its modes, its sentences, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.planning.estimate import Assumed
from hvit.planning.gpus import find_gpu
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.verbs.plan import WIDTH, Request, as_lines, plan

ASSUMED = Assumed(efficiency=0.2, overlap=0.6, reserve=0.1)
RECIPE = get_recipe("hiera_micro_mae_cifar10")


def request(gpus: int, name: str = "h200", **change: Any) -> Request:
    numbers = {key: change.pop(key) for key in ("memory", "per_node") if key in change}
    return replace(Request(gpus, find_gpu(name, **numbers), ASSUMED, between=50.0), **change)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    recipe = replace(RECIPE, optimize=replace(RECIPE.optimize, average_decay=0.999))
    return plan(recipe, request(16, price=3.0))


def test_a_plan_has_its_numbers_from_recipe_and_cluster(found: dict[str, Any]) -> None:
    assert (found["devices"], found["nodes"], found["precision"]) == (16, 2, "bfloat16")
    assert found["batch"] == {"total": 128, "parts": 1, "part": 8}
    assert found["steps"] == 40 * (50_000 // 128)
    for mode in found["modes"].values():
        memory = mode["memory"]
        assert memory["total"] == pytest.approx(sum(value for key, value in memory.items() if key != "total"))
        assert memory["average"] > 0
        assert mode["days"] == pytest.approx(found["steps"] / mode["steps_a_day"])
        assert mode["cost"] == pytest.approx(3.0 * 24 * 16 * mode["days"])
        assert mode["fits"]
        assert mode["largest_part"] > 8
    assert found["modes"]["fsdp"]["memory"]["weights"] * 16 == pytest.approx(found["modes"]["ddp"]["memory"]["weights"])
    assert found["chosen"] == "ddp"
    assert found["data_bytes_a_second"] == pytest.approx(found["samples_a_second"] * 3072)
    assert json.loads(json.dumps(found)) == found


def test_the_text_fits_in_80_columns_and_says_what_it_assumes(found: dict[str, Any]) -> None:
    lines = as_lines(found)
    assert max(map(len, lines)) <= WIDTH
    text = " ".join(" ".join(lines).split())
    for words in (
        "20% of that peak (--efficiency)",
        "NVIDIA H200",
        "50 GB/s one way (--node-bandwidth)",
        "upper bounds",
        "ddp (the batch fits)",
        "CIFAR-10 has 50,000",
    ):
        assert words in text


def test_a_batch_that_does_not_fit_gets_the_accumulation_that_does() -> None:
    fits = plan(RECIPE, request(1))["modes"]["ddp"]
    memory = (fits["memory"]["total"] * 0.5) / 0.9 / 1e9
    tight = plan(RECIPE, request(1, memory=memory))
    mode = tight["modes"]["ddp"]
    assert not mode["fits"]
    assert mode["parts_needed"] in (2, 4)
    assert f"set --loop.accumulate {mode['parts_needed']}" in "\n".join(as_lines(tight))
    again = replace(RECIPE, loop=replace(RECIPE.loop, accumulate=mode["parts_needed"]))
    assert plan(again, request(1, memory=memory))["modes"]["ddp"]["fits"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("hiera_micro_mae_cifar10", {"gpus": 0}, "--gpus must be 1 or more; got 0"),
        ("hiera_micro_mae_cifar10", {"gpus": 3}, "must be divisible by 3 devices"),
        ("hiera_micro_mae_cifar10", {"gpus": 16, "per_node": 5}, "must be whole nodes of 5"),
        ("nest_micro_digits", {}, "say how many images or clips with --images"),
        ("nest_micro_folder", {"images": 100}, "set --model.num-classes"),
        ("photos", {}, "depends on other weights"),
    ],
)
def test_what_cannot_be_planned_is_said_before_a_step_runs(name: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        plan(get_recipe(name), request(change.pop("gpus", 8), **change))


def test_a_gpu_without_bfloat16_computes_in_float32_and_is_not_asked_for_it() -> None:
    recipe: Recipe = replace(RECIPE, loop=replace(RECIPE.loop, precision="bfloat16"))
    with pytest.raises(UserError, match="t4 has no bfloat16 in the table"):
        plan(recipe, request(4, "t4"))
    sharded = replace(RECIPE, loop=replace(RECIPE.loop, parallel="fsdp", offload=True))
    found = plan(sharded, request(4, "t4"))
    assert found["modes"]["fsdp"]["memory"]["optimizer"] == 0 < found["modes"]["ddp"]["memory"]["optimizer"]
    assert (found["precision"], found["chosen"]) == ("float32", "fsdp")
