"""Claims about the picture of a benchmark."""

from __future__ import annotations

from hvit.benchmark.picture import draw


def test_every_implementation_has_a_bar_in_both_panels() -> None:
    one = {"per_second": 10.0, "latency": {"p50": 0.1, "p99": 0.2}}
    result = {"model": "a", "batch": 4, "implementations": [{"implementation": name, **one} for name in ("hvit", "x")]}
    throughput, latency = draw([result]).axes
    assert [len(axes.patches) for axes in (throughput, latency)] == [2, 2]
    assert [label.get_text() for label in throughput.get_yticklabels()] == ["a · hvit", "a · x"]
