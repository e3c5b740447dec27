"""What is saved opens again and computes the same; what could not is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

import hvit
from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.weights.open import open_any, open_autoencoder, open_generator, open_weights
from hvit.models.weights.save import save_weights

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def small(name: str = "hiera_micro_32") -> Any:
    """A model with weights of its own."""
    torch.manual_seed(0)
    return create_model(name).eval()


class Training(nn.Module):
    """A model inside a user's module, with more in it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.criterion = model, nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def pruned(model: Any) -> Any:
    """All linear layers without a third of their weights."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            prune.l1_unstructured(module, "weight", 0.3)
    return model


def with_head(make: Callable[[int], nn.Module]) -> Callable[[Any], Any]:
    """Exchanges the head; make: from the width of the features."""

    def exchange(model: Any) -> Any:
        model.head = make(model.head.in_features)
        return model.eval()

    return exchange


def with_compiled_block(model: Any) -> Any:
    """One block compiled by itself."""
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    return model


def with_normed_head(model: Any) -> Any:
    """A head under weight norm."""
    parametrizations.weight_norm(model.head)
    model.head.parametrizations.weight.original0.data.mul_(3)
    return model


def with_shared_norms(model: Any) -> Any:
    """Two layers with the same bias."""
    model.blocks[0].norm1.bias = model.blocks[0].norm2.bias
    return model


SAVED: dict[str, Callable[[Any], Any]] = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "averaged, parallel and compiled": lambda model: AveragedModel(
        nn.DataParallel(torch.compile(model, backend="eager"))  # pyright: ignore[reportArgumentType]
    ),
    "in a user's module": Training,
    "in a user's module, compiled": lambda model: torch.compile(Training(model), backend="eager"),
    "prepared": lambda model: hvit.prepare_for_inference(model, 2, ways=("eager",)),
    "one block compiled": with_compiled_block,
    "pruned": pruned,
    "averaged and pruned": lambda model: pruned(AveragedModel(model)),
    "head for other classes": with_head(lambda width: nn.Linear(width, 3)),
    "head without a bias": with_head(lambda width: nn.Linear(width, 10, bias=False)),
    "head for other classes without a bias": with_head(lambda width: nn.Linear(width, 4, bias=False)),
    "parametrised": with_normed_head,
    "shared": with_shared_norms,
    "float16": lambda model: model.half().float(),
}


@pytest.mark.parametrize("kind", SAVED)
def test_a_changed_model_is_saved_as_it_computes(tmp_path: Path, kind: str) -> None:
    model = SAVED[kind](small())
    save_weights(model, tmp_path / "one")
    opened = open_weights(tmp_path / "one").model
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # compiling is not what is asked here
        logits = model(IMAGES)
    torch.testing.assert_close(opened(IMAGES), logits, rtol=1e-5, atol=1e-6)
    assert opened.config.num_classes == logits.shape[1]


def test_pruned_weights_are_saved_after_further_training_as_the_next_pass_has_them(tmp_path: Path) -> None:
    model = pruned(small())
    with torch.no_grad():
        model.head.weight_orig.mul_(2)  # as a step does; `weight` follows in the next forward pass
    save_weights(model, tmp_path / "one")
    expected = model.head.weight_orig * model.head.weight_mask
    assert torch.equal(open_weights(tmp_path / "one").model.state_dict()["head.weight"], expected)


class Adapted(nn.Module):
    """A linear layer with a low-rank update next to it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.down, self.up = layer, nn.Linear(layer.in_features, 2), nn.Linear(2, layer.out_features)


def with_values(fill: Callable[[Tensor], Any]) -> Callable[[Any], Any]:
    """Changes the values of one weight."""

    def change(model: Any) -> Any:
        with torch.no_grad():
            fill(model.blocks[0].norm1.weight)
        return model

    return change


def with_head_weight(make: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Another kind of tensor as the head's weight."""

    def change(model: Any) -> Any:
        model.head.weight = nn.Parameter(make(model.head.weight.detach()), requires_grad=False)
        return model

    return change


def with_additions(model: Any) -> Any:
    """A layer with a parameter that the model's class does not know."""
    model.head.register_parameter("lora_a", nn.Parameter(torch.zeros(2)))
    return model


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no model": (lambda model: None, "only models of hvit are saved; got a NoneType"),
    "another library's": (lambda model: nn.Linear(2, 2), "only models of hvit are saved; got a Linear"),
    "a state dict": (lambda model: model.state_dict(), "only models of hvit are saved; got a OrderedDict"),
    "a head of two layers": (
        with_head(lambda width: nn.Sequential(nn.Linear(width, width), nn.Linear(width, 10))),
        r"differs from its configuration .*head\.weight is not there",
    ),
    "no head": (with_head(lambda width: nn.Identity()), r"head\.weight is not there"),
    "an adapted head": (lambda model: with_head(lambda _: Adapted(model.head))(model), r"head\.weight is not there"),
    "additions": (with_additions, r"more than its configuration says .*head\.lora_a; merge adapters"),
    "a wider head": (with_head(lambda width: nn.Linear(width + 1, 10)), r"head\.weight is torch\.float32 \(10, 129\)"),
    "whole numbers": (with_head_weight(Tensor.char), r"head\.weight is torch\.int8"),
    "complex numbers": (with_head_weight(lambda weight: weight.to(torch.complex64)), r"weight is torch\.complex64"),
    "sparse": (with_head_weight(Tensor.to_sparse), r"head\.weight is a Tensor of torch\.sparse_coo"),
    "without memory": (lambda model: model.to("meta"), r"has no values \(meta tensor\)"),
    "not a number": (with_values(lambda weight: weight[3].fill_(torch.nan)), r"not a number .*norm1\.weight"),
    "infinite": (
        with_values(lambda weight: weight[3].fill_(torch.inf)),
        r"1 of \d+ tensors .*norm1\.weight.* diverged",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_could_not_be_opened_is_not_written(tmp_path: Path, kind: str) -> None:
    change, words = REFUSED[kind]
    with pytest.raises(UserError, match=words) as refusal:
        save_weights(change(small()), tmp_path / "one")
    assert len(str(refusal.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel, Training])
def test_wrapped_autoencoders_and_generators_are_saved_and_compared_alike(tmp_path: Path, wrap: Any) -> None:
    for name, opens in (("mae_hiera_micro_32", open_autoencoder), ("nest_generator_micro_32", open_generator)):
        model = small(name)
        save_weights(wrap(model), tmp_path / name)
        for key, tensor in opens(tmp_path / name).model.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[key])
        next(model.children()).register_buffer("more", torch.zeros(1))
        with pytest.raises(UserError, match=r"more than its configuration says .*more"):
            save_weights(wrap(model), tmp_path / f"{name} with more")
        assert not (tmp_path / f"{name} with more").exists()


def test_parametrised_weights_of_a_generator_are_stored_as_its_class_has_them(tmp_path: Path) -> None:
    model = small("conv_generator_micro_32")
    save_weights(model, tmp_path / "one")
    assert open_any(tmp_path / "one").model.state_dict().keys() == model.state_dict().keys()


class Colour(StrEnum):
    """Text of a type of its own."""

    RED = "red"


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (range(3), ("0", "1", "2")),
        (np.arange(3), ("0", "1", "2")),
        (torch.arange(3), ("0", "1", "2")),
        ([np.int64(4), np.uint8(5), 6], ("4", "5", "6")),
        (np.array(["a", "b", "c"]), ("a", "b", "c")),
        ([np.str_("a"), "b", Colour.RED], ("a", "b", "red")),
        (("a", "b", "c"), ("a", "b", "c")),
        (dict.fromkeys("abc").keys(), ("a", "b", "c")),
        ((letter for letter in "abc"), ("a", "b", "c")),
        (["crane", "crane", "crane"], ("crane", "crane", "crane")),
        (["\ud800", "\x1b[2J", "a\u202eb"], ("\ud800", "\x1b[2J", "a\u202eb")),
        (None, ()),
        (np.array([]), ()),
    ],
)
def test_class_names_are_kept_and_numbers_become_names(tmp_path: Path, classes: Any, names: tuple[str, ...]) -> None:
    save_weights(create_model("hiera_micro_32", num_classes=3), tmp_path / "one", classes=classes)
    assert open_weights(tmp_path / "one").classes == names


@pytest.mark.parametrize(
    "classes",
    [
        "abc",
        b"abc",
        {"a", "b", "c"},
        dict.fromkeys("abc"),
        3,
        [None] * 3,
        [1.5] * 3,
        [True] * 3,
        [b"a"] * 3,
        [["a"]] * 3,
    ],
)
def test_what_names_no_classes_is_refused(tmp_path: Path, classes: Any) -> None:
    with pytest.raises(UserError, match="class name"):
        save_weights(create_model("hiera_micro_32", num_classes=3), tmp_path / "one", classes=classes)
    assert list(tmp_path.iterdir()) == []


def test_preprocess_is_stored_as_plain_values_of_the_models_input(tmp_path: Path) -> None:
    numbers = {"input_size": np.array([32, 32]), "mean": torch.tensor([0.5]), "crop": np.float64(0.9), "std": (1.0,)}
    save_weights(small(), tmp_path / "one", preprocess=numbers)
    expected = {"input_size": [32, 32], "mean": [0.5], "crop": 0.9, "std": [1.0]}
    assert open_weights(tmp_path / "one").preprocess == expected
    for wrong in ({"input_size": [64, 64]}, {"mean": float("nan")}, {"mean": object()}, [1], "text", 3):
        with pytest.raises(UserError, match="preprocess"):
            save_weights(small(), tmp_path / "two", preprocess=wrong)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "two").exists()


def test_weights_are_loaded_into_a_wrapped_model() -> None:
    source = small()
    target = create_model("hiera_micro_32")
    hvit.load_weights(nn.DataParallel(torch.compile(target, backend="eager")), source.state_dict())
    assert torch.equal(target.state_dict()["head.weight"], source.state_dict()["head.weight"])
    with pytest.raises(UserError, match="loaded into models of hvit; got a Linear"):
        hvit.load_weights(nn.Linear(2, 2), source.state_dict())
    for wrong in (3, None, source, [source.state_dict()]):
        with pytest.raises(UserError, match="weights are a path or a state dict; got a"):
            hvit.load_weights(target, wrong)  # pyright: ignore[reportArgumentType]
