"""What a process is asked to do with memory takes hold, and a user's own rule is left alone."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from hvit import machine

# Page faults of every pass of some layers, and the process's peak (KiB) after the tenth pass and at the end.
PROGRAM = """
import json, resource, torch
from hvit.machine import keep_freed_memory

def used():
    return resource.getrusage(resource.RUSAGE_SELF)

kept, faults, peaks = keep_freed_memory(), [], []
torch.set_num_threads(1)
tokens, weight = torch.zeros(4096, 128), torch.zeros(128, 128)
with torch.inference_mode():
    for _ in range(20 if kept else 0):
        before, hidden = used().ru_minflt, tokens
        for layer in range(6):
            hidden = hidden + torch.nn.functional.gelu(hidden @ weight)
        faults.append(used().ru_minflt - before)
        peaks.append(used().ru_maxrss)
print(json.dumps([kept, faults, peaks[9::10]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_is_kept_and_does_not_grow() -> None:
    """glibc may place a tensor anew some times before its heap has settled, so single passes prove nothing."""
    own = ("MALLOC_", "LD_PRELOAD")  # another allocator has rules of its own
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment, timeout=600
    )
    kept, faults, peaks = json.loads(done.stdout)
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert min(faults[10:]) < faults[0] / 10
    assert peaks[1] < 1.1 * peaks[0]


def test_what_a_user_has_said_of_memory_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: pytest.fail("the C library was asked"))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not machine.keep_freed_memory()


def test_packages_that_report_their_use_are_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    assert machine.import_silent("json") is json
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")


def test_who_has_loaded_the_reports_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    machine.import_silent("json")
    assert sys.modules["openvino_telemetry"] is theirs
