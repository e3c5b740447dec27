"""Other libraries' tools work on every family: each cell of the table of docs/guides/other_tools.md is a test."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from hvit.errors import UserError
from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.build import build_network
from hvit.models.hiera.config import HieraConfig
from hvit.models.layers import linear
from hvit.models.layers.attention import attention_kernel
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig

SMALL: dict[str, Any] = {"num_classes": 3, "dims": (8, 16), "heads": (1, 2), "depths": (1, 1)}
IMAGE: dict[str, Any] = {"input_size": (16, 16), "patch_size": (2, 2)}
CLIP: dict[str, Any] = {
    "input_size": (4, 16, 16), "patch_size": (2, 2, 2), "patch_kernel": (3, 3, 3), "query_stride": (1, 2, 2),
}  # fmt: skip
FAMILIES: dict[str, Any] = {
    "NesT": NestConfig(**SMALL, **IMAGE),
    "MViT": MvitConfig(
        **SMALL, **IMAGE, patch_kernel=(3, 3), unit_attention=(False, False), query_pooling="strided",
        positions="absolute", query_residual=False, expansion="mlp", class_token=True,
    ),
    "MViTv2": MvitConfig(**SMALL, **IMAGE, patch_kernel=(3, 3), unit_attention=(False, False)),
    "MViTv2, clips": MvitConfig(**SMALL, **CLIP, unit_attention=(False, False), key_stride=(1, 4, 4)),
    "Hiera": HieraConfig(
        **SMALL, **IMAGE, patch_kernel=(3, 3), unit_size=(2, 2), query_pools=1, unit_attention=(True, False)
    ),
    "Hiera, clips": HieraConfig(**SMALL, **CLIP, unit_size=(1, 2, 2), query_pools=1, unit_attention=(True, False)),
    "ViT": VitConfig(num_classes=3, dims=(8,), heads=(2,), depths=(2,), input_size=(16, 16), patch_size=(4, 4)),
    "ResNet": ResnetConfig(
        num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), block="basic", stem="conv3", input_size=(16, 16)
    ),
}  # fmt: skip


def make(family: str) -> tuple[Any, Tensor]:
    """A model with weights that are not trivial, and three images."""
    torch.manual_seed(0)
    model = build_network(FAMILIES[family]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, torch.randn(3, model.config.in_channels, *model.config.input_size)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5 + 1e-4 * float(wanted.detach().abs().max()))


def linears(model: nn.Module) -> list[str]:
    return [name for name, one in model.named_modules() if isinstance(one, nn.Linear)]


def fx(model: nn.Module, images: Tensor) -> None:
    program = torch.fx.symbolic_trace(model)
    close(program(images), model(images))
    close(program(images[:2]), model(images[:2]))
    with pytest.raises((UserError, RuntimeError, AssertionError)):
        program(images[..., :-1])


def feature_extractor(model: nn.Module, images: Tensor) -> None:
    """Every layer with weights can be read, and gives what a hook sees."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.LayerNorm)
    layers = {name: one for name, one in model.named_modules() if isinstance(one, kinds)}
    nodes = get_graph_node_names(model)[1]
    assert all(any(node == name or node.startswith(name + ".") for node in nodes) for name in layers)
    seen: dict[str, Tensor] = {}
    hooks = [
        one.register_forward_hook(lambda _one, _given, result, name=name: seen.__setitem__(name, result))
        for name, one in layers.items()
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    for name, found in create_feature_extractor(model, list(layers))(images).items():
        close(found, seen[name])


def functional_gradients(model: nn.Module, images: Tensor) -> None:
    """Gradients of all samples at once, of weights that do and that do not ask for gradients, and a Jacobian."""
    weights, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(model, (weights, buffers), (images,)).square().sum()

    for given in (weights, {name: one.detach() for name, one in weights.items()}):
        whole = grad(loss)(given, images)
        each = vmap(grad(lambda given, image: loss(given, image[None])), in_dims=(None, 0))(given, images)
        model.zero_grad()
        model(images).square().sum().backward()
        for name, one in weights.items():
            assert one.grad is not None
            close(whole[name], one.grad)
            close(each[name].sum(0), one.grad)
    assert jacrev(model)(images[:1]).shape == (1, 3, *images[:1].shape)


def double_backward(model: nn.Module, images: Tensor) -> None:
    """The gradient of a gradient penalty, along a direction, is the difference of two penalties."""
    model, images = model.double(), images.double()

    def penalty(images: Tensor) -> Tensor:
        images = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
        return slope.square().sum()

    step = torch.randn_like(images)
    with attention_kernel("explicit"):
        given = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(given).square().sum(), given, create_graph=True)
        (found,) = torch.autograd.grad(slope.square().sum(), given)
        wanted = (penalty(images + 1e-6 * step) - penalty(images - 1e-6 * step)) / 2e-6
    close((found * step).sum(), wanted.detach())


def test_a_second_derivative_of_the_fused_kernel_is_refused_with_advice() -> None:
    model, images = make("Hiera")
    images.requires_grad_()
    with attention_kernel("fused"):
        (slope,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
    with pytest.raises(UserError, match=r"fused attention has no second derivative; .*attention_kernel\('explicit'\)"):
        slope.square().sum().backward()


def lora(model: nn.Module, images: Tensor) -> None:
    peft = pytest.importorskip("peft")
    plain, names = model(images).detach(), linears(model)
    adapted: Any = peft.get_peft_model(
        model, peft.LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False, modules_to_save=None)
    )
    assert sum(".lora_A." in name for name, _ in adapted.named_parameters()) >= len(names) - 1
    found = adapted(images)
    assert float((found - plain).abs().max()) > 1e-3
    found.square().sum().backward()
    assert all(one.grad is not None for one in adapted.parameters() if one.requires_grad)
    close(adapted.merge_and_unload()(images), found)


def captum(model: nn.Module, images: Tensor) -> None:
    attribution = pytest.importorskip("captum.attr")
    found, error = attribution.IntegratedGradients(model).attribute(
        images, target=1, n_steps=200, internal_batch_size=60, return_convergence_delta=True
    )
    assert found.shape == images.shape
    gained = (model(images) - model(torch.zeros_like(images)))[:, 1]
    assert float(error.abs().max()) < 0.05 * (1 + float(gained.abs().max()))
    maps = attribution.LayerGradCam(model, first_convolution(model)).attribute(images, target=1)
    assert maps.shape[:2] == (3, 1)


def torchcam(model: nn.Module, images: Tensor) -> None:
    methods = pytest.importorskip("torchcam.methods")
    layer = next(name for name, one in model.named_modules() if one is first_convolution(model))
    with methods.GradCAM(model, layer, input_shape=tuple(images.shape[1:])) as extractor:
        logits = model(images)
        (maps,) = extractor([1, 0, 2], logits)
    assert maps.shape[0] == 3
    assert maps.isfinite().all()


def torchinfo(model: nn.Module, images: Tensor) -> None:
    found = pytest.importorskip("torchinfo").summary(model, input_size=tuple(images.shape), verbose=0)
    assert found.total_params == sum(one.numel() for one in model.parameters())
    assert found.total_mult_adds > 0


def accelerate(model: nn.Module, images: Tensor) -> None:
    accelerator = pytest.importorskip("accelerate").Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    prepared, optimizer = accelerator.prepare(model, optimizer)
    accelerator.backward(prepared(images).square().sum())
    optimizer.step()
    for name, one in accelerator.unwrap_model(prepared).named_parameters():
        assert one.grad is not None
        torch.testing.assert_close(one.detach(), before[name] - 1e-3 * one.grad)


def dynamic_int8(model: nn.Module, images: Tensor) -> None:
    quantization = pytest.importorskip("torch.ao.quantization")
    wanted, names = model(images), linears(model)
    small = quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not linears(small)
    assert {name for name, one in small.named_modules() if "quantized" in type(one).__module__} >= set(names)
    found = small(images)
    assert float((found - wanted).abs().max()) < 0.2 * float(wanted.abs().max())


def copies(model: Any, images: Tensor) -> None:
    """A copy, a pickle, a file with the whole model, and the weights in a new model, all names and nothing else."""
    wanted, file = model(images), BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = build_network(model.config).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    read = torch.load(file, weights_only=False)
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), read, again):
        assert torch.equal(one(images), wanted)


def lower_precision(model: nn.Module, images: Tensor) -> None:
    wanted = model(images)
    found = model.to(torch.bfloat16)(images.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert float((found.float() - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def last_channels(model: nn.Module, images: Tensor) -> None:
    """Of clips the convolutions: torch cannot lay out the position tables of a Hiera, with four axes, for clips."""
    wanted, of_clips = model(images), images.ndim == 5
    layout = torch.channels_last_3d if of_clips else torch.channels_last
    for part in [one for one in model.modules() if isinstance(one, nn.Conv3d)] if of_clips else [model]:
        part.to(memory_format=layout)
    close(model(images.contiguous(memory_format=layout)), wanted)


def traced(model: nn.Module, images: Tensor) -> None:
    program: Any = torch.jit.trace(model, images[:2])
    close(program(images), model(images))


def exported(model: nn.Module, images: Tensor) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(model, (images[:2],), dynamic_shapes=shapes).module()
    close(program(images), model(images))


def compiled(model: nn.Module, images: Tensor) -> None:
    """Dynamo takes the model as one graph; what comes after it is no matter of a model's."""
    torch._dynamo.reset()
    close(torch.compile(model, backend="eager", fullgraph=True)(images), model(images))


def test_the_table_of_the_page_names_these_tools_and_families() -> None:
    page = (Path(__file__).parents[2] / "docs/guides/other_tools.md").read_text()
    head, _, *rows = re.findall(r"^\| (.*) \|$", page, re.MULTILINE)
    assert head.split(" | ") == ["tool", *FAMILIES]
    assert [row.split(" | ") for row in rows] == [[tool, *["works"] * len(FAMILIES)] for tool in TOOLS]


def first_convolution(model: nn.Module) -> nn.Module:
    return next(one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Conv3d))


TOOLS: dict[str, Callable[[nn.Module, Tensor], None]] = {
    "torch.fx": fx,
    "torchvision's create_feature_extractor": feature_extractor,
    "torch.func with gradients": functional_gradients,
    "double backward": double_backward,
    "LoRA of peft": lora,
    "captum": captum,
    "torchcam": torchcam,
    "torchinfo": torchinfo,
    "accelerate": accelerate,
    "dynamic int8 of torch": dynamic_int8,
    "deepcopy, pickle, torch.save": copies,
    "model.to(torch.bfloat16)": lower_precision,
    "channels_last": last_channels,
    "torch.jit.trace": traced,
    "torch.export": exported,
    "torch.compile": compiled,
}
LONG = ("torch.export", "torch.compile")


@pytest.fixture(autouse=True)
def _the_fast_ways_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise products this small are torch's own."""
    monkeypatch.setattr(linear, "_LEAST", 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tool", [pytest.param(one, marks=pytest.mark.long) if one in LONG else one for one in TOOLS])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_tool_works_on_a_family(tool: str, family: str) -> None:
    TOOLS[tool](*make(family))
