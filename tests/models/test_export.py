"""Models leave for other programs: torch.export, both ONNX exporters, torch.jit.trace and torch.func, for any batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jvp, vmap

from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.build import build_network
from hvit.models.catalogue import entry
from hvit.models.hiera.config import HieraConfig
from hvit.models.layers.attention import attention_kernel
from hvit.models.layers.grids import channels_first, channels_last
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig

SMALL: dict[str, Any] = {"num_classes": 3, "dims": (8, 16), "heads": (1, 2), "depths": (1, 1)}
IMAGE: dict[str, Any] = {"input_size": (16, 16), "patch_size": (2, 2)}
CLIP: dict[str, Any] = {
    "input_size": (4, 16, 16), "patch_size": (2, 2, 2), "patch_kernel": (3, 3, 3), "query_stride": (1, 2, 2),
}  # fmt: skip
HIERA = HieraConfig(
    **SMALL, **IMAGE, patch_kernel=(3, 3), unit_size=(2, 2), query_pools=1, unit_attention=(True, False)
)
MVITV2 = MvitConfig(**SMALL, **IMAGE, patch_kernel=(3, 3), unit_attention=(False, False))
STEP = replace(
    MVITV2, pool="max", pool_kernel="stride", positions="absolute", unit_size=(4, 4), unit_attention=(True, False),
    query_residual=False,
)  # fmt: skip
CONFIGS: dict[str, Any] = {
    "nest": NestConfig(**SMALL, **IMAGE),
    "nest blocks": NestConfig(**SMALL, **IMAGE, aggregation_plane="block", attention="multi_query"),
    "hiera": HIERA,
    "hiera window": replace(HIERA, positions="window", position_grid=(3, 3), expansion="mean_max"),
    "hiera clip": HieraConfig(**SMALL, **CLIP, unit_size=(1, 2, 2), query_pools=1, unit_attention=(True, False)),
    "mvit": MvitConfig(
        **SMALL, **IMAGE, patch_kernel=(3, 3), unit_attention=(False, False), query_pooling="strided",
        positions="absolute", query_residual=False, expansion="mlp", class_token=True,
    ),
    "mvitv2": MVITV2,
    "mvitv2 class token": replace(MVITV2, class_token=True),
    "mvitv2 clip": MvitConfig(**SMALL, **CLIP, unit_attention=(False, False), key_stride=(1, 4, 4)),
    "mvitv2 units": replace(STEP, pool="conv", pool_kernel="three"),
    "mvitv2 to hiera": STEP,
    "vit": VitConfig(num_classes=3, dims=(8,), heads=(2,), depths=(1,), input_size=(16, 16), patch_size=(4, 4)),
    "resnet": ResnetConfig(
        num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), block="basic", stem="conv3", input_size=(16, 16)
    ),
    "autoencoder": MaskedConfig(HIERA, decoder_dim=8, decoder_depth=1, decoder_heads=1),
}  # fmt: skip
# One of each family; the others take the same ways, and torch.export takes a second for each.
FEW = ("nest blocks", "hiera clip", "mvit", "mvitv2", "autoencoder")
FEW_FAST = pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS]
)
CATALOGUE = (
    "nest_micro_32", "hiera_micro_32", "hiera_micro_16x64", "mvit_micro_32", "mvitv2_micro_32", "mvitv2_micro_16x64",
    "vit_micro_32", "resnet_micro_32", "mae_hiera_micro_32",
)  # fmt: skip
# What torch's tracer and its older ONNX exporter say of themselves, and of shapes that they take for fixed.
TALKATIVE = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def talkative(test: Callable[..., None]) -> Callable[..., None]:
    for mark in TALKATIVE:
        test = mark(test)
    return test


class Features(nn.Module):
    """An autoencoder's encoder."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, images: Tensor) -> Tensor:
        return self.autoencoder.features(images)


def make(config: Any) -> tuple[nn.Module, Tensor]:
    """A model with weights that are not trivial, in evaluation mode, and three images."""
    torch.manual_seed(0)
    model: Any = build_network(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model = Features(model) if isinstance(config, MaskedConfig) else model
    return model.eval(), torch.rand(3, config.in_channels, *config.input_size)


def assert_alike(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch", min=1, max=64)},)


def assert_exported(model: nn.Module, images: Tensor) -> None:
    program = torch.export.export(model, (images[:2],), dynamic_shapes=any_batch()).module()
    with torch.no_grad():
        for some in (images[:1], images, images.repeat(3, *[1] * (images.ndim - 1))):
            assert_alike(program(some), model(some))


def assert_onnx_runs(file: BytesIO, model: nn.Module, images: Tensor) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()), full_check=True)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for some in (images[:1], images):
        (found,) = session.run(None, {session.get_inputs()[0].name: some.numpy()})
        with torch.no_grad():
            assert_alike(torch.from_numpy(found), model(some))


def assert_old_onnx(model: nn.Module, images: Tensor) -> None:
    pytest.importorskip("onnx")
    file, batch = BytesIO(), {0: "batch"}
    torch.onnx.export(
        model, (images[:2],), file, dynamo=False, opset_version=17, input_names=["images"], output_names=["logits"],
        dynamic_axes={"images": batch, "logits": batch},
    )  # fmt: skip
    assert_onnx_runs(file, model, images)


@FEW_FAST
def test_an_exported_program_gives_the_logits_of_any_batch(name: str) -> None:
    assert_exported(*make(CONFIGS[name]))


@talkative
@FEW_FAST
def test_the_older_onnx_exporter_writes_valid_files_for_any_batch(name: str) -> None:
    assert_old_onnx(*make(CONFIGS[name]))


@talkative
@pytest.mark.parametrize("name", ["mvitv2 class token", pytest.param("mvitv2 clip", marks=pytest.mark.slow)])
def test_positions_as_further_channels_leave_for_any_batch_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvit.models.mvit.relative._TABLE_BYTES", 0)
    assert_old_onnx(*make(CONFIGS[name]))


@talkative
@FEW_FAST
def test_a_traced_model_gives_the_logits_of_any_batch(name: str) -> None:
    model, images = make(CONFIGS[name])
    traced = torch.jit.trace(model, images[:2])  # which traces twice and compares
    with torch.no_grad():
        for some in (images[:1], images):
            assert_alike(traced(some), model(some))


@talkative
@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_models_of_the_catalogue_leave_by_every_way(name: str) -> None:
    model, images = make(entry(name).config)
    assert_exported(model, images)
    assert_old_onnx(model, images)
    pytest.importorskip("onnxscript")
    file = BytesIO()
    program: Any = torch.onnx.export(model, (images[:2],), dynamo=True, dynamic_shapes=any_batch(), verbose=False)
    program.save(file)
    assert_onnx_runs(file, model, images)


@talkative
@FEW_FAST
def test_torch_func_gives_the_gradients_of_autograd(name: str) -> None:
    model, images = make(CONFIGS[name])
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, (weights, buffers), (image[None],)).square().mean()

    model(images).square().mean().backward()
    whole = grad(lambda weights: functional_call(model, (weights, buffers), (images,)).square().mean())(weights)
    each = vmap(grad(loss), in_dims=(None, 0))(weights, images)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            close: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-5 + 1e-4 * float(parameter.grad.abs().max())}
            torch.testing.assert_close(whole[name], parameter.grad, **close)
            torch.testing.assert_close(each[name].mean(0), parameter.grad, **close)


@talkative
@pytest.mark.parametrize("name", FEW)  # a ViT's attention is timm's, and is not differentiated forwards by torch
def test_torch_func_gives_derivatives_forwards_and_twice(name: str) -> None:
    model, images = make(CONFIGS[name])
    image, step = images[:1], torch.randn_like(images[:1]) * 1e-2

    def loss(image: Tensor) -> Tensor:
        return model(image).square().sum()

    _, slope = jvp(loss, (image,), (step,))
    assert_alike(slope, (grad(loss)(image) * step).sum())
    with attention_kernel("explicit"):
        wanted = torch.autograd.functional.hvp(loss, image, step)[1]
    assert_alike(jvp(grad(loss), (image,), (step,))[1], wanted)
    small = hessian(lambda scale: loss(image * scale))(torch.ones(()))
    assert small.isfinite()


def test_channels_first_and_last_are_views_and_inverses() -> None:
    for rank in (1, 2, 3):
        grid = torch.randn(2, *range(3, 3 + rank), 7)
        planes = channels_first(grid)
        assert planes.shape == (2, 7, *range(3, 3 + rank))
        assert planes.data_ptr() == grid.data_ptr()
        assert torch.equal(channels_last(planes), grid)
