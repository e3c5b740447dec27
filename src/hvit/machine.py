"""What this machine has to work with, and how its memory is used."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes this process keep memory that it has freed, for its next tensor; returns whether that could be done.

    glibc gives large blocks back to Linux at once and has them mapped anew, page by page, for the next tensor of that
    size, which took up to a seventh of a forward pass (docs/guides/speed.md). From the third or fourth pass of a model
    on, nothing is mapped any more. In exchange the process stays as large as it was at its peak, and the peak itself
    was 1 to 7 % higher, because tensors lie less densely. Does nothing without glibc, or where a variable MALLOC_...
    says what is wanted.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))


def total_memory() -> int | None:
    """Bytes of memory that this process may use: those of the machine, or fewer where a container limits them.

    None where the system does not say.
    """
    found = []
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path(limit).read_text()))
    return min((count for count in found if count > 0), default=None)


@cache
def has_bfloat16(device_type: str) -> bool:
    """Whether a "cuda" device or this "cpu" multiplies bfloat16 numbers in hardware; False for other devices."""
    import torch

    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return device_type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in names)


def missing_compiler() -> str | None:
    """The C++ compiler that torch.compile would use for a CPU and that is not here; None where it is.

    It is the one that the environment variable CXX names, if it names any.
    """
    wanted = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return wanted if shutil.which(wanted) is None else None


def import_silent(name: str) -> Any:
    """The package `name`, which then sends its makers nothing: OpenVINO and NNCF report each use over the network.

    They do so where `openvino_telemetry` can be imported; a program that has imported it itself has decided.
    """
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    return importlib.import_module(name)


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process, which lives as long as the process; openvino must be installed.

    OpenVINO's plugin for CPUs gives the thread that loads it another stack for signal handlers, and frees that stack
    when the last core is gone. Where this happens in another thread, the first thread is left with freed memory, and
    its next signal, an interrupt or a lost data worker, ends the process by a segmentation fault.
    """
    return import_silent("openvino").Core()
