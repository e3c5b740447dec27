"""Checkpoints as training programs leave them load, whatever they wrap around the model and store with its weights."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import json
import pathlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.hiera.config import HieraConfig
from hvit.models.hiera.model import Hiera
from hvit.models.weights.load import load_weights, recognise, to_timm
from hvit.models.weights.open import open_weights
from hvit.models.weights.read import read_checkpoint

TINY = HieraConfig(
    input_size=(16, 16),
    num_classes=3,
    dims=(8, 16),
    heads=(1, 2),
    depths=(1, 1),
    patch_kernel=(3, 3),
    patch_size=(2, 2),
    unit_size=(2, 2),
    query_pools=1,
    unit_attention=(True, False),
)
State = dict[str, Tensor]


def tiny(seed: int = 0) -> Hiera:
    """A model with weights of its own."""
    torch.manual_seed(seed)
    return Hiera(TINY).eval()


def loads(source: Any, **sizes: Any) -> Any:
    """Loads into a model with other weights, compares with `tiny()`, and returns the report."""
    target = tiny(seed=1)
    report = load_weights(target, source)
    for name, tensor in tiny().state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
    return report


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor.contiguous() for name, tensor in state.items()}


PREFIXES = (
    "module.", "_orig_mod.", "model.", "encoder.", "backbone.", "net.", "network.", "ema_model.", "_forward_module.",
    "_fsdp_wrapped_module.", "my_own_field.", "module._orig_mod.", "_orig_mod.module.", "module.module.module.",
    "model.module.", "module.model.encoder.", "model.backbone._orig_mod.net.", "network.network.", "encoder.encoder.",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["dictionary", "torch", "safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("translate", [lambda model: model.state_dict(), to_timm], ids=["ours", "timm"])
def test_any_nesting_of_prefixes_loads(
    tmp_path: Path, prefix: str, kind: str, translate: Callable[[Any], State]
) -> None:
    state = prefixed(prefix, translate(tiny()))
    source: Any = state
    if kind == "torch":
        torch.save(state, tmp_path / "one")
        source = tmp_path / "one"
    elif kind == "safetensors":
        save_file(state, tmp_path / "one")
        source = tmp_path / "one"
    assert loads(source).dropped == ()


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        AveragedModel,
        lambda model: AveragedModel(nn.DataParallel(model)),
        lambda model: nn.Sequential(collections.OrderedDict(backbone=model, neck=nn.Linear(2, 2))),
    ],
)
def test_the_state_of_a_wrapped_model_loads_and_what_is_stored_with_it_is_named(wrap: Any) -> None:
    state = wrap(tiny()).state_dict()
    report = loads(state)
    assert set(report.dropped) == {name for name in state if name.startswith(("n_averaged", "neck."))}


def test_compiled_and_checkpointed_blocks_load() -> None:
    state = {
        name.replace("blocks.0.", "blocks.0._orig_mod.").replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): t
        for name, t in tiny().state_dict().items()
    }
    loads(state)
    with pytest.raises(UserError, match=r"two tensors are called norm\.weight"):
        load_weights(tiny(), state | {"_orig_mod.norm.weight": torch.zeros(16)})


def test_pruned_weights_load_as_they_compute() -> None:
    model = tiny()
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            prune.l1_unstructured(module, "weight", 0.5)
    target = tiny(seed=1)
    load_weights(target, prefixed("module.", model.state_dict()))
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(target(images), model(images))


def test_averages_come_before_the_weights_that_they_are_of() -> None:
    state = prefixed("online_model.", tiny(seed=2).state_dict()) | prefixed("ema_model.", tiny().state_dict())
    assert "read from the names that start with 'ema_model.'" in loads(state).notes


def test_of_two_models_that_fit_none_is_chosen() -> None:
    state = prefixed("student.", tiny(seed=2).state_dict()) | prefixed("teacher.", tiny().state_dict())
    with pytest.raises(
        UserError, match=r"several models that fit, under names that start with 'student\.', 'teacher\.'"
    ):
        load_weights(tiny(), state)


def test_prefixes_that_formats_have_keep_their_meaning() -> None:
    torch.manual_seed(0)
    masked = create_model("mae_hiera_micro_32")
    for prefix in ("", "model.", "module.model."):
        again = create_model("mae_hiera_micro_32")
        state = prefixed(prefix, masked.state_dict())
        assert load_weights(again, state).format == "hvit masked autoencoder"
        assert torch.equal(again.state_dict()["mask_token"], masked.state_dict()["mask_token"])
        classifier = create_model("hiera_micro_32")
        load_weights(classifier, state)
        assert torch.equal(classifier.state_dict()["positions"], masked.state_dict()["encoder.positions"])
    vit = create_model("vit_micro_32")  # its own names start with "network."
    for prefix in ("", "network.", "encoder."):
        load_weights(create_model("vit_micro_32"), prefixed(prefix, vit.state_dict()))


def test_a_third_party_model_in_a_wrapper_is_recognised(tmp_path: Path) -> None:
    state = to_timm(create_model("nest_micro_32"))
    assert recognise(prefixed("model.net.", state)) == recognise(state)
    torch.save({"state_dict": prefixed("model.net.", state)}, tmp_path / "lightning.ckpt")
    assert open_weights(tmp_path / "lightning.ckpt").name == "nest_micro_32"


class Metric(enum.Enum):
    """Something of a user's own."""

    TOP1 = 1


@dataclass
class Settings:
    """Something else of a user's own."""

    rate: float = 0.1


def lightning(state: State) -> dict[str, Any]:
    """A checkpoint in Lightning's form."""
    return {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(3)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "root": pathlib.PurePosixPath("/data"),
            "when": datetime.datetime(2024, 1, 1),
            "lr": np.float64(0.1),
            "args": argparse.Namespace(a=np.arange(3), b={1, 2}),
            "more": collections.defaultdict(list, a=[1]),
            "names": types.SimpleNamespace(x=complex(1, 2)),
        },
    }


TRAINING: dict[str, Callable[[State], Any]] = {
    "PyTorch's tutorial": lambda state: {
        "epoch": 1,
        "model_state_dict": state,
        "optimizer_state_dict": torch.optim.AdamW(tiny().parameters()).state_dict(),
        "loss": torch.tensor(0.5),
    },
    "timm": lambda state: {
        "epoch": 1,
        "arch": "hiera",
        "state_dict": tiny(seed=2).state_dict(),
        "state_dict_ema": state,
        "optimizer": torch.optim.SGD(tiny().parameters(), momentum=0.9).state_dict(),
        "args": argparse.Namespace(model="hiera", lr=1e-3, mean=(0.5,), path=pathlib.Path("data")),
        "metric": np.float64(50.0),
        "amp_scaler": {"scale": 65536.0},
        "version": 2,
    },
    "averages that were not begun": lambda state: {"state_dict_ema": {}, "state_dict": state},
    "averages with a counter only": lambda state: {"model_ema": {"n_averaged": torch.tensor(0)}, "model": state},
    "torchvision": lambda state: {
        "model": tiny(seed=2).state_dict(),
        "model_ema": {"n_averaged": torch.tensor(3)} | prefixed("module.", state),
        "optimizer": {},
        "args": argparse.Namespace(),
    },
    "MAE": lambda state: {"model": state, "optimizer": {}, "epoch": 3, "scaler": {}, "args": argparse.Namespace(a=1)},
    "SlowFast": lambda state: {"epoch": 3, "model_state": state, "optimizer_state": {}, "cfg": "TRAIN:\n  A: 1"},
    "Lightning": lightning,
    "DeepSpeed": lambda state: {"module": state, "buffer_names": [], "optimizer": None, "dp_world_size": 1},
    "a distributed checkpoint made one file": lambda state: {
        "app": {"model": state, "optim": {"state": prefixed("exp_avg.", state)}}
    },
    "sections in sections": lambda state: {"checkpoint": {"state_dict": state, "epoch": 3}},
    "a section of any name": lambda state: {"my_weights": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "numpy everywhere": lambda state: {
        "model": state,
        "best": np.float32(0.5),
        "history": np.arange(4),
        "flags": [np.bool_(True), np.int64(3), np.str_("a")],
        "rng": [np.random.RandomState(0).get_state(), torch.get_rng_state(), (3, (1, 2), None)],
    },
    "nothing but tensors": lambda state: state,
    "parameters": lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
    "lists and sets": lambda state: {"model": state, "a": {1, 2}, "b": frozenset([1]), "c": (1, [2])},
    "a Counter": lambda state: {"model": state, "seen": collections.Counter("abc"), "device": torch.device("cpu")},
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("program", TRAINING)
def test_checkpoints_of_training_programs_load(tmp_path: Path, program: str, legacy: bool) -> None:
    held = TRAINING[program](tiny().state_dict())
    torch.save(held, tmp_path / "one.pth", _use_new_zipfile_serialization=not legacy)
    loads(tmp_path / "one.pth")
    loads(held)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle_loads(tmp_path: Path, protocol: int) -> None:
    torch.save(TRAINING["timm"](tiny().state_dict()), tmp_path / "one.pth", pickle_protocol=protocol)
    loads(tmp_path / "one.pth")


def test_tensors_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    draws = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    state = {
        "turned": draws.T,
        "part": draws[1:3, ::2],
        "shared": draws.view(-1)[3:9],
        "number": torch.tensor(3),
        "empty": torch.empty(0, 3),
        "truth": draws > 0,
        "complex": torch.complex(draws, draws),
        **{str(dtype): draws.to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int8)},
    }
    new = {"uint16": draws.to(torch.uint16), "float8": draws.to(torch.float8_e4m3fn)}
    for legacy in (False, True):
        held = state if legacy else state | new  # torch itself cannot read these back from its old layout
        torch.save(held, tmp_path / "one", _use_new_zipfile_serialization=not legacy)
        read, _ = read_checkpoint(tmp_path / "one")
        expected = torch.load(tmp_path / "one", weights_only=True)
        assert list(read) == list(expected)
        for name, tensor in expected.items():
            assert read[name].dtype == tensor.dtype
            assert read[name].shape == tensor.shape
            assert read[name].tolist() == tensor.tolist(), name


def test_reading_a_file_never_changes_it(tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), tmp_path / "one")
    before = (tmp_path / "one").read_bytes()
    for tensor in read_checkpoint(tmp_path / "one")[0].values():
        tensor.fill_(3)
    assert (tmp_path / "one").read_bytes() == before


@pytest.mark.parametrize("extra", [Settings(), Metric.TOP1, Settings, print, nn.Linear(2, 2)])
@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_not_known_to_be_harmless_is_refused_with_its_name_and_the_parts_of_the_file(
    tmp_path: Path, extra: Any, legacy: bool
) -> None:
    held = {"epoch": 3, "model": tiny().state_dict(), "args": extra}
    torch.save(held, tmp_path / "one", _use_new_zipfile_serialization=not legacy)
    kind = extra if isinstance(extra, type | types.BuiltinFunctionType) else type(extra)
    with pytest.raises(UserError) as refusal:
        read_checkpoint(tmp_path / "one")
    assert f"{kind.__module__}.{kind.__qualname__}" in str(refusal.value).replace("__builtin__", "builtins")
    assert "its parts are epoch, model, args" in str(refusal.value)


def test_parts_without_weights_are_named() -> None:
    with pytest.raises(UserError, match=r"holds no weights where .* its parts are epoch, optimizer"):
        load_weights(tiny(), {"epoch": 3, "optimizer": {"state": {"a": torch.ones(1)}}})
    with pytest.raises(UserError, match=r"several parts hold weights .*first, second"):
        load_weights(tiny(), {"first": tiny().state_dict(), "second": tiny().state_dict()})


def shards(folder: Path, suffix: str, state: State) -> Path:
    """A model in two files and their index, as the Trainer of transformers leaves them."""
    names = sorted(state)
    parts = {f"model-0000{number + 1}-of-00002.{suffix}": names[number::2] for number in range(2)}
    for file, held in parts.items():
        part = {name: state[name].contiguous() for name in held}
        save_file(part, folder / file) if suffix == "safetensors" else torch.save(part, folder / file)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    index = folder / f"{stem}.{suffix}.index.json"
    weight_map = {name: file for file, held in parts.items() for name in held}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}, indent=2))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_models_in_several_files_load_by_their_index_or_folder(tmp_path: Path, suffix: str) -> None:
    index = shards(tmp_path, suffix, tiny().state_dict())
    loads(index)
    loads(str(tmp_path))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folders_of_transformers_and_accelerate_stand_for_their_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / "optimizer.bin").write_bytes(b"never read")
    state = {key: tensor.contiguous() for key, tensor in tiny().state_dict().items()}
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    loads(tmp_path)


def changed_index(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        index = shards(folder, "safetensors", tiny().state_dict())
        held = json.loads(index.read_text())
        index.write_text(json.dumps(change(held) or held))
        return index

    return write


def without_a_part(folder: Path) -> Path:
    index = shards(folder, "safetensors", tiny().state_dict())
    (folder / "model-00002-of-00002.safetensors").unlink()
    return index


BAD_INDEXES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no map": (changed_index(lambda held: {"a": 1}), "no index of weights"),
    "a list": (changed_index(lambda held: [1]), "no weights file"),
    "a file that is not there": (without_a_part, r"there is no weights file .*model-00002-of-00002"),
    "a tensor that is not there": (
        changed_index(lambda held: held["weight_map"].update(more="model-00001-of-00002.safetensors")),
        "names tensors that its files do not have: more",
    ),
    "a file somewhere else": (
        changed_index(lambda held: held["weight_map"].update(more="../model.safetensors")),
        "the parts of a model lie in the folder of their index",
    ),
    "an absolute path": (
        changed_index(lambda held: held["weight_map"].update(more="/dev/zero")),
        "in the folder of their index",
    ),
    "itself": (
        changed_index(lambda held: held["weight_map"].update(more="model.safetensors.index.json")),
        "no file of",
    ),
    "the folder": (changed_index(lambda held: held["weight_map"].update(more=".")), "in the folder of their index"),
    "numbers": (changed_index(lambda held: held["weight_map"].update(more=3)), "does not name one file for each"),
}


@pytest.mark.parametrize("kind", BAD_INDEXES)
def test_a_bad_index_is_refused_in_one_sentence(tmp_path: Path, kind: str) -> None:
    write, words = BAD_INDEXES[kind]
    with pytest.raises(UserError, match=words):
        read_checkpoint(write(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_that_are_no_numbers_are_named_and_the_model_is_left_alone(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    state = {name: tensor.to(dtype) for name, tensor in to_timm(create_model("nest_micro_32")).items()}
    state["norm.weight"][3] = value
    torch.save(state, tmp_path / "one")
    target = create_model("nest_micro_32")
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    words = r"not a number or infinite, in 1 of \d+ tensors: norm\.weight"
    for source in (state, tmp_path / "one"):
        with pytest.raises(UserError, match=words):
            load_weights(target, source)
    with pytest.raises(UserError, match=words):
        open_weights(tmp_path / "one")
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_large_finite_values_are_numbers() -> None:
    state = tiny().state_dict()
    state["norm.weight"] = torch.full((16,), 3e38)
    target = tiny(seed=1)
    load_weights(target, state)
    assert target.state_dict()["norm.weight"].max() == 3e38


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda weight: weight.to("meta"), r"no values \(meta tensors\): norm\.weight"),
        (lambda weight: weight.to(torch.complex64), r"norm\.weight is torch\.complex64 in the file"),
        (lambda weight: weight.to(torch.int64), r"norm\.weight is torch\.int64 in the file"),
        (lambda weight: weight > 0, r"norm\.weight is torch\.bool in the file"),
        (lambda weight: weight[:0], r"norm\.weight is \(0,\) in the file"),
        (lambda weight: weight.to_sparse(), r"norm\.weight is a (sparse )?tensor"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stored", [False, True])
def test_tensors_of_another_kind_are_named(tmp_path: Path, make: Any, words: str, stored: bool) -> None:
    state: Any = {**tiny().state_dict(), "norm.weight": make(tiny().state_dict()["norm.weight"])}
    if stored:
        torch.save(state, tmp_path / "one")
        state = tmp_path / "one"
    with pytest.raises(UserError, match=words):
        load_weights(tiny(), state)
