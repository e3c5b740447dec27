"""What this machine is doing: the memory of this process, and how much other programs keep the cores busy."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from contextlib import suppress
from pathlib import Path

BUSY_LOAD = 0.3
"""Waiting or running programs for each core from which measurements are called disturbed."""


def memory_now(which: str = "VmRSS") -> float | None:
    """Megabytes of this process that are in memory now (VmRSS), or at most so far (VmHWM); None where it is unknown."""
    path = Path("/proc/self/status")
    if not path.is_file():
        return None
    return int(re.findall(rf"{which}:\s+(\d+)", path.read_text())[0]) / 1024


def forget_peak() -> None:
    """Gives freed memory back to Linux, so that the peak (VmHWM) is that of what follows; does nothing elsewhere."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # other systems, other C libraries
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)


def busy_seconds() -> float:
    """Processor seconds that all programs of this machine have used, as Linux counts; 0 elsewhere."""
    path = Path("/proc/stat")
    if not path.is_file():
        return 0.0
    user, nice, system, _, _, interrupts, soft, steal = map(
        int, re.findall(r"\d+", path.read_text().split("\n")[0])[:8]
    )
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def disturbance() -> str | None:
    """A sentence where other programs keep this machine busy."""
    if not hasattr(os, "getloadavg"):
        return None
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < BUSY_LOAD * cores:
        return None
    return f"the load average is {load:.1f} on {cores} cores: other programs make these numbers lower and less certain"
