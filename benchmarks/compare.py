"""The comparison loop of all speed benchmarks, which `hvit benchmark` uses, too. Import this; it is no program."""

from __future__ import annotations

from hvit.benchmark.turns import Turn, interleave, ratios_of, rounds_of, run_apart

__all__ = ["Turn", "interleave", "ratios_of", "rounds_of", "run_apart"]
