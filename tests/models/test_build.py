"""Models are built with or without memory, counted, and refused where no machine could hold them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvit.errors import UserError
from hvit.models.build import build, build_empty, check_memory, count_parameters, multiply_adds
from hvit.models.nest.config import NEST_SIZES


def test_a_model_without_memory_has_the_same_tensors() -> None:
    config = NEST_SIZES["nest_micro_32"]
    empty, real = build_empty(config), build(config)
    shapes = {name: tensor.shape for name, tensor in real.state_dict().items()}
    assert {name: tensor.shape for name, tensor in empty.state_dict().items()} == shapes
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    assert count_parameters(empty) == count_parameters(real)
    assert multiply_adds(config) > count_parameters(real)


def test_sizes_beyond_any_machine_are_refused_without_taking_memory() -> None:
    with pytest.raises(UserError, match="at most 10,000 layers"):
        build_empty(replace(NEST_SIZES["nest_micro_32"], depths=(1, 1, 20_000)))
    with pytest.raises(UserError, match="this machine has"):
        check_memory(replace(NEST_SIZES["nest_micro_32"], dims=(32, 64, 2**20)))
