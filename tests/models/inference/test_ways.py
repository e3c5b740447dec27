"""A way to run a model is made, or refused with what it needs; the copy is the caller's to keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hvit.models.create import create_model
from hvit.models.inference.ways import Candidates, UnavailableError, copy_for_inference, device_of, dtype_of


def test_a_way_for_cpus_is_refused_elsewhere() -> None:
    model: Any = create_model("nest_micro_32")
    elsewhere = Candidates(model.eval(), torch.device("meta"), "float32")
    for way in ("packed", "openvino"):
        with pytest.raises(UnavailableError, match="it needs a CPU"):
            elsewhere.make(way)


def test_the_model_as_it_is_gives_float32_logits() -> None:
    model: Any = copy_for_inference(create_model("nest_micro_32"))  # pyright: ignore[reportArgumentType]
    images = torch.randn(2, 3, 32, 32)
    run = Candidates(model, torch.device("cpu"), "float32").make("eager")
    with torch.inference_mode():
        assert torch.equal(run(images), model(images))


def test_a_copy_is_in_float32_and_shares_no_weight() -> None:
    model: Any = create_model("nest_micro_32").to(torch.bfloat16)
    copied = copy_for_inference(model)
    assert (dtype_of(copied), device_of(copied), copied.training) == (torch.float32, torch.device("cpu"), False)
    assert dtype_of(copy_for_inference(model.double())) == torch.float64
    assert not {one.data_ptr() for one in copied.parameters()} & {one.data_ptr() for one in model.parameters()}
