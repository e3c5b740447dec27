"""A prepared model answers the same for ever, and preparing leaves no trace in the model."""

from __future__ import annotations

import copy
import functools
import importlib.util
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.optim.swa_utils import AveragedModel

import hvit
from hvit.machine import missing_compiler
from hvit.models.inference import prepare as prepared
from hvit.models.inference.packed import PackedLinear, pack
from hvit.models.inference.prepare import PreparedModel, Way, prepare_for_inference
from hvit.models.layers.linear import has_onednn

WAYS = (
    "eager",
    pytest.param("packed", marks=pytest.mark.skipif(not has_onednn(), reason="this torch cannot pack weights")),
    pytest.param(
        "openvino",
        marks=[
            pytest.mark.long,
            pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed"),
        ],
    ),
    pytest.param(
        "compiled",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(missing_compiler() is not None, reason="torch.compile needs a C++ compiler"),
        ],
    ),
)
Prepare = Callable[..., PreparedModel]
LAYERS = (nn.Linear, nn.Conv2d)


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepares a model in one way, however fast it is, in chunks of two images."""

    def work(model: nn.Module, way: Way, **options: Any) -> PreparedModel:
        monkeypatch.setattr(prepared, "_compare_rates", lambda runs, images: {one: float(one == way) for one in runs})
        monkeypatch.setattr(prepared, "_best_chunk", lambda run, images: 2)
        ready = prepare_for_inference(model, 2, ways=(way,), **options)
        assert ready.choice.way == way, ready.choice.notes
        return ready

    return work


def make(name: str = "nest_micro_32") -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    fewer = {"dims": (16, 32), "heads": (1, 2), "depths": (1, 1)} if name == "nest_micro_32" else {}
    return hvit.create_model(name, drop_path=0.2, **fewer), torch.randn(5, 3, 32, 32)


def learn(model: nn.Module, images: Tensor) -> None:
    """Two steps of training, which change weights and running means in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(2):
        model.train()(images).square().sum().backward()
        optimizer.step()


def layers_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, LAYERS)]


def hook(model: nn.Module) -> None:
    for module in model.modules():
        module.register_forward_hook(lambda _module, _given, result: result)
    for layer in layers_of(model):
        layer.register_forward_hook(lambda _module, _given, result: 2 * result)


def overwrite(model: nn.Module) -> None:
    for value in (*model.parameters(), *model.buffers()):
        value.detach().copy_(torch.ones_like(value))


CHANGES: dict[str, Callable[[Any, Tensor], object]] = {
    "training": learn,
    "training mode": lambda model, images: model.train(),
    "hooks": lambda model, images: hook(model),
    "pruning": lambda model, images: [prune.random_unstructured(one, "weight", 0.5) for one in layers_of(model)],
    "other weights": lambda model, images: model.load_state_dict(
        {name: torch.zeros_like(value) for name, value in model.state_dict().items()}, strict=False
    ),
    "weights in place": lambda model, images: overwrite(model),
    "another head": lambda model, images: setattr(model, "head", nn.Linear(model.config.dims[-1], 3)),
    "half precision": lambda model, images: model.half(),
    "double precision": lambda model, images: model.double(),
    "moving": lambda model, images: model.to("meta"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_32", "mvitv2_micro_32", "resnet_micro_32"])
def test_answers_stay_bit_for_bit_whatever_becomes_of_the_model(name: str, way: Way, prepare: Prepare):
    if way == "compiled" and name != "nest_micro_32":
        pytest.skip("compiling takes long")
    model, images = make(name)
    changes = {key: change for key, change in CHANGES.items() if name != "resnet_micro_32" or key != "another head"}
    ready = prepare(model, way)
    batches = [images[:count] for count in ((2,) if way == "compiled" else (5, 2, 1))]
    before = [ready(batch) for batch in batches]
    for what, change in changes.items():
        change(model, images)
        for batch, expected in zip(batches, before, strict=True):
            assert torch.equal(ready(batch), expected), what


@pytest.mark.parametrize("way", WAYS)
def test_preparing_leaves_the_model_as_it_was(way: Way, prepare: Prepare):
    model, images = make()
    model.train()
    model.norm.eval()
    model.head.requires_grad_(False)
    called: list[int] = []
    model.head.register_forward_hook(lambda *_: called.append(1))

    def state() -> list[Any]:
        return [(one.training, len(one._forward_hooks), type(one)) for one in model.modules()] + [
            (name, one.requires_grad, one.dtype, one.data_ptr(), one.grad) for name, one in model.named_parameters()
        ]

    weights, before, drawn = copy.deepcopy(model.state_dict()), state(), torch.get_rng_state()
    ready = prepare(model, way)
    ready(images)
    assert state() == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    shared = {one.data_ptr() for one in model.parameters()} & {one.data_ptr() for one in ready.parameters()}
    assert not shared
    assert not any(one.requires_grad for one in ready.parameters())


class Scaled(nn.Module):
    """An adapter that has no weight to be taken."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        return 1.5 * self.layer(tokens)


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def adapt(model: Any) -> None:
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LAYERS):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, Scaled(layer))


def prune_and_learn(model: Any) -> None:
    """After pruning the weight that a layer shows is old until the layer is called."""
    for layer in layers_of(model):
        prune.random_unstructured(layer, "weight", 0.3)
        layer.get_parameter("weight_orig").data.mul_(1.2)


OBSERVED: dict[str, Callable[[Any], object]] = {
    "hooks": hook,
    "adapters": adapt,
    "pruning": prune_and_learn,
    "parametrisations": lambda model: [
        parametrize.register_parametrization(layer, "weight", Halved()) for layer in layers_of(model)
    ],
    "forward of its own": lambda model: [
        setattr(layer, "forward", lambda given, usual=layer.forward: 2 * usual(given)) for layer in layers_of(model)
    ],
}


@pytest.mark.skipif(not has_onednn(), reason="this torch cannot pack weights")
@pytest.mark.parametrize("what", OBSERVED)
@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_32", "resnet_micro_32"])
def test_observed_layers_are_not_packed_and_answer_as_the_model_does(name: str, what: str, prepare: Prepare):
    model, images = make(name)
    plain = prepare(model, "packed")(images)
    OBSERVED[what](model)
    with torch.no_grad():
        wanted = model.eval()(images)
    assert float((wanted - plain).abs().max()) > 0.01 * float(wanted.abs().max())
    ready = prepare(model, "packed")
    torch.testing.assert_close(ready(images), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    packed = [one for one in pack(ready.model).modules() if isinstance(one, PackedLinear)]
    assert bool(packed) == (what == "adapters"), "an adapter has the layer inside, which may well be packed"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_type_are_computed_in_float32(kind: torch.dtype, way: Way, prepare: Prepare):
    if way == "compiled":
        pytest.skip("compiling takes long, and the copy is the same")
    model, images = make("hiera_micro_32")
    ready = prepare(model.to(kind), way)
    assert next(model.parameters()).dtype == kind
    assert ready.choice.difference < 1e-4
    with torch.no_grad():
        wanted = copy.deepcopy(model).double().eval()(images.double())
    for given in (images, images.double()):
        logits = ready(given)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits.double(), wanted, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(ready(images.to(torch.bfloat16))).all()


@pytest.mark.parametrize("way", WAYS)
def test_autocast_changes_nothing(way: Way, prepare: Prepare):
    if way == "compiled":
        pytest.skip("compiling takes long, and autocast is switched off for all ways alike")
    model, images = make("hiera_micro_32")
    with torch.autocast("cpu", torch.bfloat16):
        ready = prepare(model, way)
        inside = ready(images)
    assert ready.choice.difference < 1e-4
    assert torch.equal(inside, ready(images))
    assert torch.equal(inside, prepare(model, way)(images))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, AveragedModel, torch.compile, lambda one: prepare_for_inference(one, 1, ways=())]
)
def test_what_is_wrapped_is_prepared_as_the_model_inside(wrap: Any):
    model, images = make("hiera_micro_32")
    ready = prepare_for_inference(wrap(model), 2, ways=())
    with torch.no_grad():
        torch.testing.assert_close(ready(images), model.eval()(images))


def test_a_model_prepared_in_inference_mode_can_be_explained_afterwards():
    model, images = make()
    with torch.inference_mode():
        ready = prepare_for_inference(model, 1, ways=())
    given = images[:1].clone().requires_grad_()
    ready.model(given).sum().backward()
    assert given.grad is not None


def test_a_prepared_model_is_not_moved_cast_or_given_weights():
    model, images = make("hiera_micro_32")
    ready = prepare_for_inference(model, 1, ways=("packed",))
    before = ready(images)
    assert ready.to("cpu") is ready
    assert ready.float() is ready
    for change in (lambda: ready.half(), lambda: ready.to("meta"), lambda: ready.double()):
        with pytest.raises(hvit.UserError, match="not moved or cast"):
            change()
    with pytest.raises(hvit.UserError, match="keeps its weights"):
        ready.load_state_dict(model.state_dict())
    with pytest.raises(hvit.UserError, match="prepared on cpu, and the images are on meta"):
        ready(images.to("meta"))
    with pytest.raises(hvit.UserError, match="floating-point"):
        ready((images * 255).to(torch.uint8))
    assert torch.equal(ready(images), before)


def test_what_cannot_be_copied_and_what_has_no_weights_is_refused():
    model, _ = make("hiera_micro_32")
    model.register_forward_hook(functools.partial(lambda _lock, *_: None, threading.Lock()))
    with pytest.raises(hvit.UserError, match="cannot be copied"):
        prepare_for_inference(model, 1, ways=())
    with pytest.raises(hvit.UserError, match="no weights in memory"):
        prepare_for_inference(make()[0].to("meta"), 1, ways=())
