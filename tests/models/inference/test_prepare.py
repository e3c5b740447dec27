"""A prepared model answers as its model does, and says how."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

import hvit
from hvit.models.build import build_network
from hvit.models.inference import prepare as prepared
from hvit.models.inference import ways
from hvit.models.inference.packed import PackedLinear, PackedMlp, pack
from hvit.models.inference.prepare import in_chunks, prepare_for_inference
from hvit.models.layers.linear import has_onednn
from hvit.models.masked.config import MASKED_SIZES

MODELS = ("nest_micro_32", "nest_tiny_32_block8", "hiera_micro_32", "hiera_micro_16x64", "mvit_micro_32",
          "mvitv2_micro_16x64", "vit_micro_32", "resnet_micro_32")  # fmt: skip
needs_packing = pytest.mark.skipif(not has_onednn(), reason="this torch cannot pack weights")


def make(name: str, **changes: Any) -> tuple[Any, torch.Tensor]:
    """A model with weights and norms that are not trivial, and five of its inputs."""
    torch.manual_seed(0)
    model: Any = hvit.create_model(name, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for label, buffer in model.named_buffers():
            if label.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return model, torch.randn(5, model.config.in_channels, *model.config.input_size)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.long) if "block8" in one else one for one in MODELS]
)
def test_a_prepared_model_of_every_family_gives_the_model_s_logits(name: str):
    model, images = make(name, drop_path=0.3)
    ready = prepare_for_inference(model.train(), 3, ways=("eager", "packed"))
    with torch.no_grad():
        wanted = model.eval()(images)
        assert relative(ready(images), wanted) < 1e-5
        assert relative(ready(images[:1]), wanted[:1]) < 1e-5
    assert ready.config is model.config
    assert ready.choice.way in ("eager", "packed")
    assert ready.choice.difference < 1e-5
    assert set(ready.choice.rates) == {"eager", *(["packed"] if has_onednn() else [])}


@needs_packing
@pytest.mark.parametrize("name", MODELS)
def test_packing_changes_no_logit_and_nothing_in_the_model(name: str):
    model, images = make(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    packed_model = pack(model.eval())
    with torch.inference_mode():
        assert relative(packed_model(images), model(images)) < 1e-5
    assert not any(type(module) is nn.Linear for module in packed_model.modules())
    assert any(isinstance(module, PackedLinear) for module in packed_model.modules())
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@needs_packing
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_the_fused_gelu_is_the_model_s_own(activation: str):
    model, images = make("nest_micro_32", activation=activation)
    packed_model = pack(model.eval())
    assert sum(isinstance(module, PackedMlp) for module in packed_model.modules()) == sum(model.config.depths)
    with torch.inference_mode():
        assert relative(packed_model(images), model(images)) < 1e-5


def test_chunks_join_to_the_whole():
    rows = torch.arange(7.0)[:, None]
    seen = []

    def run(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return 2 * part

    assert torch.equal(in_chunks(run, rows, 3), 2 * rows)
    assert seen == [3, 3, 1]


def test_a_way_that_answers_otherwise_is_never_chosen(monkeypatch: pytest.MonkeyPatch):
    model, _ = make("hiera_micro_32")

    def wrong(self: Any) -> Any:
        return lambda images: self.model(images) + 0.1

    monkeypatch.setattr(ways.Candidates, "_packed", wrong)
    ready = prepare_for_inference(model, 2, ways=("packed",))
    assert ready.choice.way == "eager"
    assert "packed is not used: its logits differ by" in str(ready.choice)


def test_a_way_that_gives_no_numbers_is_never_chosen(monkeypatch: pytest.MonkeyPatch):
    model, _ = make("hiera_micro_32")
    monkeypatch.setattr(ways.Candidates, "_packed", lambda self: lambda images: self.model(images) * float("nan"))
    assert prepare_for_inference(model, 2, ways=("packed",)).choice.way == "eager"


def test_unavailable_ways_are_skipped_with_a_note(monkeypatch: pytest.MonkeyPatch):
    model, _ = make("hiera_micro_32")
    monkeypatch.setattr(ways, "has_onednn", lambda: False)
    monkeypatch.setattr(ways.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ways, "missing_compiler", lambda: "g++")
    ready = prepare_for_inference(model, 2, ways=("packed", "openvino", "compiled"))
    assert (ready.choice.way, ready.choice.difference) == ("eager", 0.0)
    notes = str(ready.choice)
    assert all(part in notes for part in ("torch with oneDNN", "the package openvino", "there is none"))


def test_a_way_that_fails_is_skipped_with_a_note(monkeypatch: pytest.MonkeyPatch):
    model, _ = make("hiera_micro_32")

    def fail(self: Any) -> Any:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(ways.Candidates, "_packed", fail)
    notes = prepare_for_inference(model, 1, ways=("packed",)).choice.notes
    assert notes == ("packed is not used: it failed with 'no such operator'",)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="the package openvino is not installed")
@pytest.mark.parametrize(
    "name",
    ["nest_micro_32", *(pytest.param(name, marks=pytest.mark.long) for name in ("hiera_micro_32", "mvitv2_micro_32"))],
)
def test_openvino_gives_the_model_s_logits_for_any_number_of_images(name: str):
    model, images = make(name)
    run = ways.Candidates(model.eval(), torch.device("cpu"), "float32").make("openvino")
    with torch.no_grad():
        wanted = model(images)
        for count in (4, 1, 3, 5):
            assert relative(run(images[:count]), wanted[:count]) < 1e-5


def test_bfloat16_is_refused_without_units_for_it(monkeypatch: pytest.MonkeyPatch):
    model, _ = make("hiera_micro_32")
    monkeypatch.setattr(prepared, "has_bfloat16", lambda device: False)
    with pytest.raises(hvit.UserError, match="this cpu has no bfloat16 units"):
        prepare_for_inference(model, dtype="bfloat16")


def test_bfloat16_gives_float32_logits_near_the_model_s(monkeypatch: pytest.MonkeyPatch):
    model, images = make("hiera_micro_32")
    monkeypatch.setattr(prepared, "has_bfloat16", lambda device: True)
    ready = prepare_for_inference(model, 2, "bfloat16", ways=("eager",))
    with torch.no_grad():
        logits, wanted = ready(images), model(images)
    assert logits.dtype == torch.float32
    assert 0.0 < relative(logits, wanted) < 0.1
    assert next(model.parameters()).dtype == torch.float32


def test_a_prepared_model_does_not_learn_and_logits_are_ordinary_tensors():
    model, images = make("hiera_micro_32")
    ready = prepare_for_inference(model, 1, ways=("eager",))
    with pytest.raises(hvit.UserError, match="cannot be trained"):
        ready.train()
    with pytest.raises(hvit.UserError, match="gives no gradients"):
        ready(images.requires_grad_())
    logits = ready(images.detach())
    assert not logits.is_inference()
    assert not logits.requires_grad


def test_what_cannot_be_prepared_is_refused():
    model, images = make("hiera_micro_32")
    autoencoder: Any = build_network(MASKED_SIZES["mae_hiera_micro_32"])
    with pytest.raises(hvit.UserError, match="this is a MaskedAutoencoder"):
        prepare_for_inference(autoencoder)
    for wrong in ({"ways": ("fast",)}, {"dtype": "float16"}, {"batch_size": 0}):
        with pytest.raises(hvit.UserError, match="ways are eager, packed, openvino, compiled"):
            prepare_for_inference(model, **wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(hvit.UserError, match="takes batches of images"):
        prepare_for_inference(model, 1, ways=("eager",))(images[..., :16])
