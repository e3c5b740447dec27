"""A way to run a model is made, or refused with what it needs; the copy is the caller's to keep."""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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


class _Stack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def _signal_stack_is_memory() -> bool:
    """Whether the stack on which this thread handles signals is memory of the process."""
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return stack.flags == 2 or any(int(low, 16) <= stack.start < int(high, 16) for low, high in ranges)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_signals_find_their_stack_after_openvino_is_freed_in_another_thread() -> None:
    pytest.importorskip("openvino")
    model: Any = create_model("nest_micro_32", depths=(1, 1, 1)).eval()
    kept = [Candidates(model, torch.device("cpu"), "float32").make("openvino")]
    kept[0](torch.zeros(1, 3, 32, 32))
    assert _signal_stack_is_memory()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(kept.clear).result()
    assert _signal_stack_is_memory()
