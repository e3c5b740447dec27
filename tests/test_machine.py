"""What a process is told about memory takes hold, and a user's own rule is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Page faults of a tensor of 64 MB that is made, freed and made again.
PROGRAM = """
import resource, torch
from hvit.machine import keep_freed_memory
print(keep_freed_memory())
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
@pytest.mark.parametrize("variables", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}])
def test_freed_memory_is_kept_unless_a_user_has_said_otherwise(variables: dict[str, str]):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    kept, faults = done.stdout.split()
    if not variables and kept == "False":
        pytest.skip("this C library has no mallopt")
    assert kept == str(not variables)
    assert variables or int(faults) < 1000
