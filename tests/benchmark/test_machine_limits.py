"""Claims about what a machine can do at most."""

from __future__ import annotations

from hvit.benchmark.machine_limits import matmul_limit


def test_a_limit_is_a_number_of_operations() -> None:
    assert matmul_limit(shapes=[(64, 32, 32)]) > 0
