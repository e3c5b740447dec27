"""A configuration holds plain values of its types, whatever counted them; another type is refused at once."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import torch

from hvit.errors import UserError
from hvit.models.catalogue import entry
from hvit.models.create import create_model
from hvit.models.gan.config import GAN_SIZES

FAMILIES = ("nest_micro_32", "mvitv2_micro_32", "hiera_micro_32", "vit_micro_32", "resnet_micro_32")
CONFIGS: dict[str, Any] = {
    name: entry(name).config
    for name in (*FAMILIES, "mae_hiera_micro_32", "nest_generator_micro_32", "conv_generator_micro_32")
}
CONFIGS |= {
    "game": GAN_SIZES["nest_gan_micro_32"],
    "discriminator": GAN_SIZES["nest_gan_micro_32"].discriminator,
    "SAGAN's discriminator": GAN_SIZES["sagan_64"].discriminator,
}


class Classes(IntEnum):
    """A whole number of a type of its own."""

    FEW = 7


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": np.array([0, 3, 6]).max() + 1},
        {"num_classes": np.uint8(7)},
        {"num_classes": torch.tensor(7)},
        {"num_classes": np.array(7)},
        {"num_classes": Classes.FEW},
        {"drop_path": np.float64(0.25), "num_classes": 7},
        {"drop_path": np.float32(0.25), "num_classes": 7},
        {"input_size": np.int64(64), "num_classes": 7},
        {"input_size": (np.int64(64), np.int32(64)), "num_classes": 7},
        {"input_size": np.array([64, 64]), "num_classes": 7},
        {"input_size": [64, 64], "num_classes": 7},
        {"input_size": torch.Size([64, 64]), "num_classes": 7},
    ],
)
def test_numbers_of_other_libraries_become_pythons(name: str, changes: dict[str, Any]) -> None:
    config = create_model(name, **changes).config
    size, rate = (64, 64) if "input_size" in changes else config.input_size, changes.get("drop_path", 0.0)
    wanted = replace(CONFIGS[name], num_classes=7, input_size=size, drop_path=float(rate))
    assert config == wanted
    assert repr(config) == repr(wanted)
    assert json.loads(json.dumps(asdict(config))) == json.loads(json.dumps(asdict(wanted)))


@pytest.mark.parametrize("value", [7.0, "7", True, (7,), [7], b"7", 7 + 0j, np.float64(7), np.array([7]), int])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_no_whole_number_is_no_number_of_classes(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=r"num_classes must be a whole number( or None)?; got"):
        create_model(name, num_classes=value)


class Strange:
    """A value that cannot even be printed."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_of_every_family_refuses_another_type_and_names_itself(name: str) -> None:
    config = CONFIGS[name]
    for field in fields(config):
        for value in (Strange(), {"a": 1}, 1j, object(), [[1.5]], (True, "x"), torch.empty(2, device="meta")):
            with pytest.raises(UserError, match=f"^{field.name} must be ") as refusal:
                replace(config, **{field.name: value})
            assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_numbers_are_neither_truth_values_nor_fractions(name: str) -> None:
    config = CONFIGS[name]
    for field in fields(config):
        value = getattr(config, field.name)
        if type(value) is int:
            others: list[Any] = [True, float(value), str(value), [] if "None" in str(field.type) else None]
        elif isinstance(value, tuple) and value and type(value[0]) is int:
            others = [(True, *value[1:]), (*map(float, value),), str(value), 3, value[0]]
        elif type(value) is float:
            others = [True, str(value), float("nan"), float("inf"), 10**400]
        elif type(value) is bool:
            others = [0, 1, "True", None]
        else:
            continue
        for other in others:
            with pytest.raises(UserError, match=f"^{field.name} must be "):
                replace(config, **{field.name: other})


def test_whole_numbers_do_for_floats() -> None:
    config = replace(CONFIGS["nest_micro_32"], drop_path=0)
    assert (config.drop_path, type(config.drop_path)) == (0.0, float)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": 10**12},
        {"dims": (10**9, 10**9, 10**9), "heads": (1, 1, 1)},
        {"mlp_ratio": 10**18},
        {"input_size": 2**40},
        {"depths": (1, 1, 10**12)},
    ],
)
def test_models_larger_than_the_memory_are_refused_before_any_is_taken(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"GB of memory|larger than any memory|at most 10,000 layers"):
        create_model("nest_micro_32", **changes)


@pytest.mark.parametrize("changes", [{"num_classes": 10**30}, {"mlp_ratio": 2**63}, {"dims": (96,) * 1001}])
def test_numbers_beyond_64_bits_and_endless_tuples_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(changes))} must be "):
        create_model("nest_micro_32", **changes)


@pytest.mark.parametrize("name", [3, None, ["nest_micro_32"], "nest"])
def test_a_name_that_is_in_no_catalogue_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match="there is no model called"):
        create_model(name)
