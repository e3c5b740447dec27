"""The published schedule and parameter groups."""

from __future__ import annotations

import math

import pytest
import torch

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.training.distribute import Processes, choose_device
from hvit.training.optimize import OptimizeConfig, learning_rate_at, make_optimizer, set_learning_rate
from hvit.training.schedule import LoopConfig, Schedule


def test_the_schedule_is_the_official_one() -> None:
    """lr(e) = base * min(1, e/w) * 0.5 (1 + cos(pi max(0, e-w) / (E-w)))."""
    steps, warmup, epochs = 10, 5, 30
    for step in range(steps * epochs):
        epoch = step / steps
        expected = min(1, epoch / warmup) * 0.5 * (1 + math.cos(math.pi * max(0, epoch - warmup) / (epochs - warmup)))
        assert learning_rate_at(step, 1.0, warmup * steps, steps * epochs) == pytest.approx(expected, abs=1e-12)


def test_the_cosine_can_end_above_zero_as_in_the_official_mvit() -> None:
    """In the warm-up lr = base * e / w, then end + (base - end) * 0.5 (1 + cos(pi (e-w) / (E-w)))."""
    steps, warmup, epochs, end = 10, 5, 30, 0.01
    for step in range(steps * epochs + 1):
        epoch = step / steps
        cosine = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
        expected = epoch / warmup if epoch < warmup else cosine
        assert learning_rate_at(step, 1.0, warmup * steps, steps * epochs, end) == pytest.approx(expected, abs=1e-12)


def test_the_warm_up_can_start_above_zero_as_in_the_official_mvit() -> None:
    """lr = start + (base - start) * e / w in the warm-up, and nothing of the start is left after it."""
    steps, warmup, epochs, start, end = 10, 5, 30, 0.04, 0.01
    for step in range(steps * epochs + 1):
        epoch = step / steps
        cosine = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
        expected = start + (1 - start) * epoch / warmup if epoch < warmup else cosine
        found = learning_rate_at(step, 1.0, warmup * steps, steps * epochs, end, start)
        assert found == pytest.approx(expected, abs=1e-12)
    ranks = Processes(0, 1, torch.device("cpu"))
    optimize = OptimizeConfig(start_learning_rate_per_256=1e-5, warmup_epochs=1)
    schedule = Schedule.of(LoopConfig(epochs=3, batch_size=512), optimize, 7, ranks)
    assert schedule.learning_rate(0) == pytest.approx(2e-5)
    assert schedule.describe_learning_rate().startswith("rises from 2e-05 to 0.0005 in 7 steps")


def test_nesterovs_momentum_looks_ahead_and_is_for_sgd_alone() -> None:
    """With gradient g and momentum m the first step is (1 + m) g long, not g."""
    for nesterov, length in ((False, 1.0), (True, 1.9)):
        layer = torch.nn.Linear(1, 1, bias=False)
        before = layer.weight.detach().clone()
        optimizer = make_optimizer(layer, OptimizeConfig(method="sgd", nesterov=nesterov, weight_decay=0.0))
        set_learning_rate(optimizer, 0.1)
        layer(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        assert (before - layer.weight).item() == pytest.approx(0.1 * length)
    for method, betas in (("adamw", (0.9, 0.999)), ("sgd", (0.0, 0.999))):
        with pytest.raises(UserError, match=r"nesterov needs optimize\.method sgd and a momentum"):
            OptimizeConfig(method=method, betas=betas, nesterov=True)  # pyright: ignore[reportArgumentType]


def test_the_final_learning_rate_scales_with_the_batch_as_the_peak_does() -> None:
    ranks = Processes(0, 1, torch.device("cpu"))
    optimize = OptimizeConfig(final_learning_rate_per_256=1e-6, warmup_epochs=1)
    schedule = Schedule.of(LoopConfig(epochs=3, batch_size=2048), optimize, 7, ranks)
    assert schedule.learning_rate(21) == pytest.approx(8e-6)
    assert "a cosine to 8e-06 at step 21" in schedule.describe_learning_rate()


def test_the_published_learning_rates_follow_from_the_batch() -> None:
    ranks = Processes(0, 1, torch.device("cpu"))
    imagenet = Schedule.of(LoopConfig(batch_size=1024), OptimizeConfig(), 1251, ranks)
    cifar = Schedule.of(LoopConfig(batch_size=192), OptimizeConfig(), 260, ranks)
    assert imagenet.peak_learning_rate == pytest.approx(1e-3)
    assert cifar.peak_learning_rate == pytest.approx(1.875e-4)


def groups_by_name(config: OptimizeConfig, name: str = "nest_micro_32") -> dict[str, dict]:
    model = create_model(name)
    group_of = {
        id(parameter): group for group in make_optimizer(model, config).param_groups for parameter in group["params"]
    }
    return {name: group_of[id(parameter)] for name, parameter in model.named_parameters()}


def test_only_position_embeddings_are_not_decayed_as_in_the_official_code() -> None:
    for name, group in groups_by_name(OptimizeConfig()).items():
        assert (group["weight_decay"] == 0.0) == ("positions" in name), name


def test_biases_and_norms_can_be_left_undecayed_too() -> None:
    groups = groups_by_name(OptimizeConfig(no_decay="positions_and_vectors"))
    assert groups["norm.weight"]["weight_decay"] == 0.0
    assert groups["head.bias"]["weight_decay"] == 0.0
    assert groups["head.weight"]["weight_decay"] == 0.05
    assert groups["hierarchies.0.positions"]["weight_decay"] == 0.0


def test_position_embeddings_can_be_decayed_and_biases_and_norms_left_alone_as_in_the_official_mvit() -> None:
    groups = groups_by_name(OptimizeConfig(no_decay="vectors"), "mvit_micro_32")
    for name in ("positions", "class_positions", "class_token", "head.weight", "blocks.0.attention.pool_k.weight"):
        assert groups[name]["weight_decay"] == 0.05, name
    for name in ("head.bias", "blocks.0.norm1.weight", "blocks.0.attention.norm_k.weight", "patch_embed.bias"):
        assert groups[name]["weight_decay"] == 0.0, name


@pytest.mark.parametrize("name", ["nest_micro_32", "mvitv2_micro_32", "hiera_micro_32", "vit_micro_32"])
def test_layer_decay_grows_from_the_stem_to_the_head(name: str) -> None:
    groups = groups_by_name(OptimizeConfig(layer_decay=0.5), name)
    prefix, layers = ("network.", 5) if name.startswith("vit") else ("", 4)
    stem = f"{prefix}patch_embed.proj.weight" if prefix else "patch_embed.weight"
    assert groups[f"{prefix}head.weight"]["scale"] == groups[f"{prefix}norm.weight"]["scale"] == 1.0
    assert groups[stem]["scale"] == 0.5 ** (layers + 1)


def test_layer_decay_can_count_from_the_last_layer_as_in_the_code_of_hiera() -> None:
    """With L layers the factor is decay^(L - i): i + 1 for layer i, 0 for stem and positions, L for norm and head."""
    groups = groups_by_name(OptimizeConfig(layer_decay=0.5, layer_decay_from="last_layer"), "hiera_micro_32")
    for name in ("head.weight", "norm.bias", "blocks.3.mlp.fc1.weight"):
        assert groups[name]["scale"] == 1.0, name
    assert groups["blocks.2.mlp.fc1.weight"]["scale"] == 0.5
    assert groups["blocks.0.norm1.weight"]["scale"] == 0.5**3
    assert groups["positions"]["scale"] == groups["patch_embed.weight"]["scale"] == 0.5**4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate_per_256", 0.0),
        ("final_learning_rate_per_256", 3e-4),
        ("final_learning_rate_per_256", -1e-6),
        ("start_learning_rate_per_256", 3e-4),
        ("start_learning_rate_per_256", -1e-6),
        ("layer_decay", 1.5),
        ("weight_decay", -1.0),
        ("betas", (0.9, 1.0)),
        ("clip_norm", math.nan),
    ],
)
def test_impossible_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=field):
        OptimizeConfig(**{field: value})


def test_a_warm_up_longer_than_the_run_is_said_in_the_plan() -> None:
    ranks = Processes(0, 1, torch.device("cpu"))
    short = Schedule.of(LoopConfig(epochs=5, batch_size=256), OptimizeConfig(warmup_epochs=10), 7, ranks)
    assert "the warm-up is longer than the run" in short.describe_learning_rate()


def test_choices_that_do_not_exist_are_refused_in_python_too() -> None:
    for make in (
        lambda: OptimizeConfig(no_decay="all"),
        lambda: OptimizeConfig(layer_decay_from="stem"),
        lambda: LoopConfig(precision="bf16"),
        lambda: create_model("nest_micro_32", attention="multihead"),
        lambda: create_model("nest_micro_32", aggregation="mean"),
    ):
        with pytest.raises(UserError, match="must be one of"):
            make()


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="divisible"):
        Schedule.of(LoopConfig(batch_size=10, accumulate=3), OptimizeConfig(), 5, Processes(0, 1, torch.device("cpu")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_device_is_refused() -> None:
    with pytest.raises(UserError, match="sees no CUDA"):
        choose_device("cuda")
