"""Whatever is asked of an explanation, there is an answer or one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel

import hvit
from hvit.explain import MAP_METHODS, gradcat, gradcat_batch, has_tree, methods_for
from hvit.explain.methods.cam import class_activation_map
from hvit.explain.tree import Gradient
from hvit.models.gan.discriminators import ResidualDiscriminator, ResidualDiscriminatorConfig
from hvit.models.hiera.model import Hiera


def quadrants(gradient: Gradient) -> Callable[..., np.ndarray]:
    """The values of GradCAT's quadrants, (images, classes, 2, 2)."""
    return lambda model, images, classes=None: np.array(
        [[tree.values[0] for tree in trees] for trees in gradcat_batch(model, images, classes, gradient=gradient)]
    )


METHODS: dict[str, Callable[..., Any]] = {
    "gradcat": quadrants("usual"),
    "gradcat_libra": quadrants("libra"),
    **MAP_METHODS,
}
EVERY_METHOD = pytest.mark.parametrize("method", METHODS)


def make(method: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return hvit.create_model("vit_micro_32" if method == "rollout" else "hiera_micro_32", **changes).eval()


def images_of(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # pyright: ignore[reportReturnType]


@pytest.fixture
def one_process(tmp_path: Any):
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "average": AveragedModel,
    "compiled": compiled,
    "compiled DataParallel": lambda model: compiled(nn.DataParallel(model)),
    "prepared": lambda model: hvit.prepare_for_inference(model, 1, ways=()),
}


@pytest.mark.usefixtures("one_process")
@EVERY_METHOD
def test_a_wrapped_model_is_explained_as_the_model_inside(method: str):
    model = make(method)
    expected = METHODS[method](model, images_of(), 3)
    for name, wrap in WRAPPERS.items():
        wrapped = wrap(model)
        np.testing.assert_allclose(METHODS[method](wrapped, images_of(), 3), expected, atol=1e-6, err_msg=name)
        assert methods_for(wrapped) == methods_for(model)
        assert has_tree(wrapped) == has_tree(model)


@EVERY_METHOD
def test_images_of_any_floating_point_type_are_taken(method: str):
    model, images = make(method), images_of()
    expected = METHODS[method](model, images, 3)
    arrays = images.numpy()
    turned = np.ascontiguousarray(arrays[..., ::-1])[..., ::-1]
    for given in (images.double(), arrays, arrays.astype(">f4"), arrays.astype(np.longdouble), turned):
        np.testing.assert_allclose(METHODS[method](model, given, 3), expected, atol=1e-6)
    np.testing.assert_allclose(METHODS[method](model, arrays[0], 3)[0], expected[0], atol=1e-5)
    fixed = arrays.copy()
    fixed.setflags(write=False)
    np.testing.assert_allclose(METHODS[method](model, fixed, 3), expected, atol=1e-6)


@EVERY_METHOD
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_model_of_any_floating_point_type_is_explained(method: str, kind: torch.dtype):
    model, images = make(method), images_of()
    expected = METHODS[method](model, images, 3)
    found = METHODS[method](model.to(kind), images, 3)
    assert np.isfinite(found).all()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5 if kind == torch.float64 else 0.3)


@EVERY_METHOD
def test_no_images_give_no_explanations(method: str):
    found = METHODS[method](make(method), images_of(0), [1, 2])
    assert len(found) == 0


@EVERY_METHOD
@pytest.mark.parametrize(
    "classes",
    [3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor([3]), np.array([[3], [3]]), [[3], [3]], (3,),
     range(3, 4), [torch.tensor(3)], np.array(3, dtype=np.uint64)],
    ids=lambda one: repr(one)[:40],
)  # fmt: skip
def test_classes_are_whole_numbers_of_any_kind(method: str, classes: Any):
    model = make(method)
    np.testing.assert_array_equal(METHODS[method](model, images_of(), classes), METHODS[method](model, images_of(), 3))


WRONG_CLASSES = (
    3.0, np.float32(3), torch.tensor(3.0), [3.0], True, [True], np.bool_(True), np.array([True]), torch.tensor(True),
    "cat", ["cat"], "3", b"3", -1, 10, 10**30, [10**30], [1, -1], [], [[]], [[1, 2], [3]], [[1], [2], [3]], [[[1]]],
    {3}, np.array([3], dtype=object), np.array([], dtype=np.int64), torch.tensor([3j]), [None],
    np.zeros((1, 1, 1), int),
)  # fmt: skip


@EVERY_METHOD
@pytest.mark.parametrize("classes", WRONG_CLASSES, ids=lambda one: repr(one)[:40])
def test_other_classes_are_refused(method: str, classes: Any):
    with pytest.raises(hvit.UserError):
        METHODS[method](make(method), images_of(), classes)


@pytest.mark.parametrize("class_index", [3.0, "3", True, [3], -1, 10, 10**30, torch.tensor([1, 2]), None.__class__])
@pytest.mark.parametrize("explain", [gradcat, class_activation_map])
def test_one_class_is_one_whole_number(explain: Callable[..., Any], class_index: Any):
    with pytest.raises(hvit.UserError, match=r"whole number|out of range"):
        explain(make("gradcat"), images_of()[0], class_index)


WRONG_IMAGES = {
    "bytes": (images_of() * 255).to(torch.uint8),
    "bytes in an array": np.zeros((2, 3, 32, 32), np.uint8),
    "complex": np.zeros((2, 3, 32, 32), complex),
    "objects": np.zeros((2, 3, 32, 32), object),
    "a picture": Image.new("RGB", (32, 32)),
    "a list": [[[0.0]]],
    "nothing": None,
    "a name": "cat.jpg",
    "grey": torch.zeros(2, 1, 32, 32),
    "channels last": np.zeros((2, 32, 32, 3), np.float32),
    "another size": torch.zeros(2, 3, 40, 40),
    "a clip": torch.zeros(2, 3, 8, 32, 32),
    "two axes": torch.zeros(32, 32),
    "no numbers": torch.full((2, 3, 32, 32), float("nan")),
    "no memory": torch.zeros(2, 3, 32, 32, device="meta"),
    "sparse": torch.zeros(2, 3, 32, 32).to_sparse(),
}


@EVERY_METHOD
@pytest.mark.parametrize("images", WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_other_images_are_refused(method: str, images: Any):
    with pytest.raises(hvit.UserError):
        METHODS[method](make(method), images, 3)


WRONG_MODELS: dict[str, Callable[[], Any]] = {
    "autoencoder": lambda: hvit.create_model("mae_hiera_micro_32"),
    "wrapped autoencoder": lambda: nn.DataParallel(hvit.create_model("mae_hiera_micro_32")),
    "its encoder": lambda: hvit.create_model("mae_hiera_micro_32").encoder,
    "generator": lambda: hvit.create_model("nest_generator_digits_32"),
    "discriminator": lambda: ResidualDiscriminator(ResidualDiscriminatorConfig(input_size=(32, 32), dims=(8, 8, 8, 8))),
    "a name": lambda: "nest_tiny_224",
    "a class": lambda: Hiera,
    "nothing": lambda: None,
    "no memory": lambda: make("cam").to("meta"),
    "layers of torch": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
}


@EVERY_METHOD
@pytest.mark.parametrize("model", WRONG_MODELS)
def test_other_models_are_refused(method: str, model: str):
    with pytest.raises(hvit.UserError):
        METHODS[method](WRONG_MODELS[model](), images_of(), 3)


@pytest.mark.parametrize("method", ["gradcat", "gradcam", "gradcam++", "rollout"])
def test_clips_are_refused_where_images_are_explained(method: str):
    model: Any = hvit.create_model("hiera_micro_16x64")
    with pytest.raises(hvit.UserError, match=r"takes clips|as ViT and DeiT have"):
        METHODS[method](model, torch.zeros(1, 3, 16, 64, 64), 3)


def test_third_party_models_say_why_they_cannot_take_images():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(hvit.UserError, match=r"Sequential cannot take images of shape \(1, 1, 32, 32\)"):
        MAP_METHODS["gradcam"](network, torch.zeros(1, 1, 32, 32), 3, layer="1")  # pyright: ignore[reportCallIssue]


def test_weights_made_in_inference_mode_are_refused():
    with torch.inference_mode():
        model: Any = make("gradcat")
    with pytest.raises(hvit.UserError, match="inference_mode"):
        gradcat(model, images_of()[0], 3)


@pytest.mark.parametrize("part", ["norm", "head"])
def test_a_final_norm_or_head_that_was_changed_is_not_explained_as_another(part: str):
    model = make("gradcat")
    getattr(model, part).register_forward_hook(lambda _module, _given, result: result.roll(1, -1))
    with pytest.raises(hvit.UserError, match=r"not be exact|not its head"):
        class_activation_map(model, images_of()[0], 3)
    if part == "norm":
        with pytest.raises(hvit.UserError, match="not its head on its final norm"):
            gradcat(model, images_of()[0], 3)
        model.norm = nn.RMSNorm(128)
        with pytest.raises(hvit.UserError, match="there is a RMSNorm in its place"):
            gradcat(model, images_of()[0], 3)


@pytest.mark.parametrize("options", [{"top_k": 1.0}, {"top_k": True}, {"top_k": 0}, {"top_k": 11}, {"level": 1.0},
                                     {"level": "top"}, {"level": True}, {"level": 7}])  # fmt: skip
def test_other_numbers_of_classes_and_levels_are_refused(options: dict[str, Any]):
    with pytest.raises(hvit.UserError):
        gradcat_batch(make("gradcat"), images_of(), **options)
