"""Our weights files open as the model they were saved from, and hostile ones are refused before memory is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.build import build
from hvit.models.create import create_model
from hvit.models.layers.encoder import Encoder
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest
from hvit.models.timm_baselines import baseline
from hvit.models.weights.load import load_weights, to_timm
from hvit.models.weights.open import open_weights
from hvit.models.weights.save import save_weights

MICRO = NestConfig(input_size=(16, 16), patch_size=(2, 2), num_classes=3, dims=(4, 8), heads=(2, 4), depths=(1, 1))


@pytest.fixture
def model() -> Encoder:
    """A tiny model with weights of its own."""
    torch.manual_seed(0)
    return Nest(MICRO)


def header_of(path: Path) -> dict[str, Any]:
    """The metadata of a file of ours."""
    with safe_open(path, framework="pt") as opened:
        return json.loads(opened.metadata()["hvit"])


@pytest.mark.parametrize(
    "config",
    [
        MICRO,
        replace(MICRO, attention="multi_query", aggregation="merge2", activation="gelu", drop_path=0.1, block_size=4),
        replace(MICRO, aggregation="max3", aggregation_plane="block", in_channels=1),
        VitConfig(input_size=(16, 16), patch_size=(4, 4), num_classes=3, dims=(12,), heads=(3,), depths=(2,)),
    ],
)
def test_a_saved_model_opens_as_itself(tmp_path: Path, config: Any) -> None:
    torch.manual_seed(0)
    saved = build(config).eval()
    file = tmp_path / "naïve café 犬.safetensors"
    preprocess = {"mean": [0.5], "crop": 0.9, "interpolation": "bicubic"}
    save_weights(saved, file, classes=("a", "b", "犬"), preprocess=preprocess)
    opened = open_weights(file)
    assert opened.model.config == config
    assert not any(module.training for module in opened.model.modules())
    assert (opened.classes, opened.preprocess) == (("a", "b", "犬"), preprocess)
    assert opened.name == f"custom {config.family}"
    assert len(opened.report.matched) == len(saved.state_dict())
    images = torch.randn(2, config.in_channels, 16, 16)
    assert torch.equal(opened.model(images), saved(images))
    assert all(parameter.requires_grad for parameter in opened.model.parameters())


@pytest.mark.parametrize("family", ["swin", "pvtv2", "deit"])
def test_what_a_saved_model_of_timm_keeps_beside_its_weights_is_there_again(tmp_path: Path, family: str) -> None:
    """Such as Swin's tables of indices, which no weights file has."""
    torch.manual_seed(0)
    saved = build(baseline(family)).eval()
    save_weights(saved, tmp_path / "saved.safetensors")
    before = torch.get_rng_state()
    opened = open_weights(tmp_path / "saved.safetensors").model
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.randn(2, 3, *saved.config.input_size)
    assert torch.equal(opened(images), saved(images))


def test_a_file_without_classes_has_the_catalogue_name(tmp_path: Path) -> None:
    save_weights(create_model("nest_micro_32", num_classes=4, in_channels=1), tmp_path / "one")
    opened = open_weights(tmp_path / "one")
    assert (opened.name, opened.classes, opened.preprocess) == ("nest_micro_32", (), None)
    assert header_of(tmp_path / "one")["format"] == 1


def test_half_precision_weights_open_as_float32(tmp_path: Path, model: Encoder) -> None:
    save_weights(model.bfloat16(), tmp_path / "half")
    assert {parameter.dtype for parameter in open_weights(tmp_path / "half").model.parameters()} == {torch.float32}


def test_opening_draws_no_random_numbers(tmp_path: Path, model: Encoder) -> None:
    save_weights(model, tmp_path / "one")
    before = torch.get_rng_state()
    open_weights(tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_replaces_whole_files_and_leaves_nothing_half_written(
    tmp_path: Path, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.safetensors"
    save_weights(model, file)
    first = file.read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(UserError, match=r"weights\.safetensors cannot be written: No space left"):
            save_weights(Nest(MICRO), file)
    assert file.read_bytes() == first
    save_weights(Nest(MICRO), file)
    assert file.read_bytes() != first
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_saved_is_refused(tmp_path: Path, model: Encoder) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written"):
        save_weights(model, tmp_path / "file" / "weights.safetensors")
    (tmp_path / "file").unlink()
    with pytest.raises(UserError, match=r"cannot be written"):
        save_weights(model, tmp_path)
    with pytest.raises(UserError, match="the model has 3 classes, but 2 names"):
        save_weights(model, tmp_path / "one", classes=("a", "b"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_stands_for_its_weights(tmp_path: Path, model: Encoder) -> None:
    save_weights(model, tmp_path / "weights.safetensors")
    assert open_weights(tmp_path).model.config == MICRO
    assert load_weights(Nest(MICRO), tmp_path).format == "hvit"


def test_third_party_files_open_where_their_shapes_determine_the_model(
    tmp_path: Path, fixtures: Path, model: Encoder
) -> None:
    opened = open_weights(fixtures / "nest_flax_fixture" / "cifar_like")
    assert opened.report.format == "official NesT (Flax)"
    save_file(to_timm(create_model("nest_micro_32")), tmp_path / "timm")
    assert open_weights(tmp_path / "timm").model.config == replace(
        create_model("nest_micro_32").config, activation="gelu"
    )
    save_file(to_timm(model), tmp_path / "unknown heads")
    save_file(model.state_dict(), tmp_path / "ours without metadata")
    for name in ("unknown heads", "ours without metadata"):
        with pytest.raises(UserError, match=f"{name} does not say which model"):
            open_weights(tmp_path / name)
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "resnet")
    with pytest.raises(UserError, match=r"resnet is in no known format .*conv1\.weight"):
        open_weights(tmp_path / "resnet")


def test_choices_that_no_shape_shows_are_compared(tmp_path: Path, model: Encoder) -> None:
    save_weights(model, tmp_path / "one")
    other = Nest(replace(MICRO, activation="gelu", aggregation="conv3_norm_avg3", aggregation_plane="block"))
    report = load_weights(other, tmp_path / "one")
    assert len(report.notes) == 3
    assert "made with activation='gelu_tanh', but this model has 'gelu'" in str(report)
    with pytest.raises(UserError, match=r"made with heads \(2, 4\), but this model has heads \(1, 2\)"):
        load_weights(Nest(replace(MICRO, heads=(1, 2))), tmp_path / "one")


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Puts other fields into the configuration of a header."""
    return lambda header: {**header, "config": {**header["config"], **fields}}


HOSTILE: dict[str, Any] = {
    "no JSON": lambda header: "{",
    "deep JSON": lambda header: "[" * 100_000,
    "a list": lambda header: [1],
    "nothing": lambda header: {},
    "another format": lambda header: {**header, "format": 2},
    "no configuration": lambda header: {**header, "config": None},
    "unknown family": changed(family="transformer"),
    "unknown field": changed(secret=1),
    "another family": lambda header: {**header, "config": asdict(VitConfig(depths=(2,)))},
    "a wrong type": changed(depths="many"),
    "an impossible size": changed(input_size=[17, 17]),
    "negative sizes": changed(dims=[-4, 8]),
    "gigantic width": changed(dims=[4 * 10**9, 8 * 10**9]),
    "overflowing width": changed(dims=[4 * 10**18, 8 * 10**18]),
    "beyond integers": changed(mlp_ratio=10**30),
    "gigantic input": changed(input_size=[2**22, 2**22]),
    "overflowing input": changed(input_size=[2**40, 2**40]),
    "gigantic head": changed(num_classes=10**12),
    "endless depth": changed(depths=[1, 10**12]),
    "endless levels": changed(depths=[1] * 35, dims=[4] * 35, heads=[2] * 35, input_size=[2**36, 2**36]),
    "more classes than weights": changed(num_classes=4),
    "another number of heads": changed(heads=[2, 3]),
    "too few class names": lambda header: {**header, "classes": ["a"]},
    "numbers as class names": lambda header: {**header, "classes": [1, 2, 3]},
    "text as preprocessing": lambda header: {**header, "preprocess": "yes"},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_metadata_are_refused_in_one_sentence(tmp_path: Path, model: Encoder, kind: str) -> None:
    file = tmp_path / "weights.safetensors"
    save_weights(model, file)
    header = HOSTILE[kind](header_of(file))
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(model.state_dict(), file, metadata={"hvit": text})
    with pytest.raises(UserError) as refusal:
        open_weights(file)
    assert "weights.safetensors" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_file_that_lacks_tensors_of_its_configuration_is_refused(tmp_path: Path, model: Encoder) -> None:
    save_weights(model, tmp_path / "whole")
    metadata = {"hvit": json.dumps(header_of(tmp_path / "whole"))}
    for name in ("head.bias", "norm.weight"):
        state = {key: tensor for key, tensor in model.state_dict().items() if key != name}
        save_file(state, tmp_path / "part", metadata=metadata)
        with pytest.raises(UserError, match="part"):
            open_weights(tmp_path / "part")


@pytest.mark.long
def test_opening_a_model_loads_neither_compiler_nor_shards_nor_timm(tmp_path: Path) -> None:
    save_weights(create_model("nest_micro_32"), tmp_path / "model.safetensors")
    code = """
import sys
import hvit.verbs.train
from hvit.models.weights.open import open_weights
import torch
with torch.inference_mode():
    open_weights(sys.argv[1]).model.eval()(torch.zeros(1, 3, 32, 32))
slow = ("torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.distributed.tensor", "sympy", "timm",
        "torchvision", "transformers", "sklearn", "pandas")
sys.exit(", ".join(name for name in slow if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "model.safetensors"], capture_output=True, text=True)
    assert done.returncode == 0, f"seconds are lost at every start to {done.stderr}"


def test_a_run_folder_with_the_weights_of_another_model_is_refused(tmp_path: Path, model: Encoder) -> None:
    save_weights(model, tmp_path / "weights.safetensors")
    own = asdict(MICRO)
    said: list[tuple[dict[str, Any], str]] = [
        (own, ""),
        (own | {"num_classes": None, "input_size": [32, 32]}, ""),
        ({"family": "probe", "encoder": own}, ""),
        ({"family": "gan", "dims": [1]}, ""),
        ({"family": 5, "dims": {}}, "family nest, and not 5"),
        (own | {"depths": [1, 2]}, r"depths \[1, 1\], and not \[1, 2\]"),
        ({"family": "probe", "encoder": own | {"in_channels": 1}}, "in_channels 3, and not 1"),
        ({"family": "masked", "encoder": own}, "family nest, and not masked"),
    ]
    for recipe, words in said:
        (tmp_path / "recipe.json").write_text(json.dumps({"model": recipe}))
        if words:
            with pytest.raises(UserError, match=f"of another model than its recipe.json says .{words}"):
                open_weights(tmp_path)
        else:
            open_weights(tmp_path)
    for damaged in ("{", "[]", '{"model": 1}', "{}"):
        (tmp_path / "recipe.json").write_text(damaged)
        open_weights(tmp_path)
    open_weights(tmp_path / "weights.safetensors")
