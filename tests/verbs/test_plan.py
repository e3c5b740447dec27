"""A plan holds together: its modes, its sentences, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.build import build_empty, count_parameters, multiply_adds
from hvit.models.catalogue import entry
from hvit.planning.estimate import Assumed
from hvit.planning.gpus import find_gpu
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.tasks.distill_settings import DistillConfig
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
        "upper bounds of tensors",
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


def test_the_optimizer_takes_time_where_the_memory_has_a_bandwidth(found: dict[str, Any]) -> None:
    ddp, fsdp = found["modes"]["ddp"], found["modes"]["fsdp"]
    trained = 4 * found["trained_parameters"]
    touched = 3 * trained + 2 * ddp["memory"]["optimizer"] + 2 * ddp["memory"]["average"]
    assert ddp["update_seconds"] == pytest.approx(touched / 4.8e12)
    assert fsdp["update_seconds"] == pytest.approx(ddp["update_seconds"] / 16)
    assert ddp["step_seconds"] == pytest.approx(ddp["compute_seconds"] + ddp["exposed_seconds"] + ddp["update_seconds"])
    unknown = Request(4, find_gpu("z9", memory=64.0, full=50.0, link=100.0), ASSUMED, between=50.0)
    plain = plan(RECIPE, unknown)
    assert plain["modes"]["ddp"]["update_seconds"] == 0
    assert "the bandwidth of the memory is not known" in " ".join(plain["assumptions"])


@pytest.mark.long
def test_a_plan_of_distillation_counts_its_teachers() -> None:
    student = replace(get_recipe("nest_micro_folder"), data=get_recipe("nest_micro_cifar10").data)
    loop = replace(student.loop, batch_size=4)
    student = replace(student, loop=loop, model=replace(student.model, num_classes=1000))  # pyright: ignore[reportCallIssue]
    how = DistillConfig(teachers=("hiera_tiny_224",), target="both")
    taught = plan(replace(student, distill=how), request(2, "t4"))
    alone = plan(student, request(2, "t4"))
    teacher = build_empty(entry("hiera_tiny_224").config)
    size = 4 * count_parameters(teacher)
    memory, without = taught["modes"]["fsdp"]["memory"], alone["modes"]["fsdp"]["memory"]
    assert size <= memory["fixed"] < 1.01 * size
    assert without["fixed"] == 0
    assert memory["inputs"] > 10 * without["inputs"]
    more = (taught["multiply_adds"] - alone["multiply_adds"]) / student.loop.batch_size
    assert more == pytest.approx(multiply_adds(entry("hiera_tiny_224").config), rel=0.01)
    projections = (student.model.dims[-1] + 1) * 768  # pyright: ignore[reportAttributeAccessIssue]
    assert taught["trained_parameters"] - alone["trained_parameters"] == projections
    text = " ".join(" ".join(as_lines(taught)).split())
    assert "teachers 0.11" in text
    assert "Teachers are computed at every step." in text
    with pytest.raises(UserError, match="there is no teacher runs/photos"):
        plan(replace(student, distill=DistillConfig(teachers=("runs/photos",))), request(2, "t4"))
    few = replace(student, model=replace(student.model, num_classes=10), distill=DistillConfig(teachers=how.teachers))  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="has 1000 classes, and the data 10"):
        plan(few, request(2, "t4"))


def test_a_plan_of_a_probe_is_of_the_pass_that_computes_features() -> None:
    probe = get_recipe("photos")
    model = replace(probe.model, encoder=entry("hiera_tiny_224").config)  # pyright: ignore[reportCallIssue]
    settled = replace(probe, model=model, weights="timm")
    found = plan(settled, request(4, "t4", images=1000, price=2.0, image_bytes=1e5))
    cost = multiply_adds(entry("hiera_tiny_224").config)
    assert found["multiply_adds"] == pytest.approx(cost, rel=0.001)
    assert found["seconds"] == pytest.approx(1000 * 2 * found["multiply_adds"] / (0.2 * 8.1e12) / 4)
    assert found["cost"] == pytest.approx(2.0 * 4 * found["seconds"] / 3600)
    assert found["memory"]["weights"] == 4 * found["parameters"]
    assert json.loads(json.dumps(found)) == found
    lines = as_lines(found)
    assert max(map(len, lines)) <= WIDTH
    assert "of 1,000 images, once" in " ".join(" ".join(lines).split())


def test_json_has_every_number_of_the_text(found: dict[str, Any]) -> None:
    def numbers(tree: Any) -> list[float]:
        if isinstance(tree, dict):
            return [one for value in tree.values() for one in numbers(value)]
        return [float(tree)] if isinstance(tree, int | float) and not isinstance(tree, bool) else []

    known = numbers(found)
    scales = [(1, 0), (1e-9, 2), (1e3, 1), (1, 3), (1e-12, 3), (1e-6, 3), (1e-3, 3), (100, 0)]
    printed = " ".join(as_lines(found)[: as_lines(found).index("assumptions")])
    for text in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.])", printed):
        value = float(text.replace(",", ""))
        near = any(abs(value - one * scale) <= max(0.005 * abs(value), 0.06) for one in known for scale, _ in scales)
        assert near, text


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("hiera_micro_mae_cifar10", {"gpus": 0}, "--gpus must be 1 or more; got 0"),
        ("hiera_micro_mae_cifar10", {"gpus": 3}, "must be divisible by 3 devices"),
        ("hiera_micro_mae_cifar10", {"gpus": 16, "per_node": 5}, "must be whole nodes of 5"),
        ("nest_micro_digits", {}, "say how many images or clips with --images"),
        ("nest_micro_folder", {"images": 100}, "set --model.num-classes"),
        ("photos", {}, "say how many images or clips with --images"),
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
