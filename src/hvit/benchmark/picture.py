"""The picture of a benchmark: bars of throughput and of latency for every model and implementation."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from hvit.benchmark.implementations import EAGER, PREPARED
from hvit.files import JsonObject
from hvit.markup import shown, three_digits

_COLOURS = {EAGER: "#2f6db3", PREPARED: "#d08c3f"}
_OTHERS = ("#9aa7b5", "#7a8b6f", "#b58f9a", "#8f86b5")


def draw(results: Sequence[JsonObject]) -> Figure:
    """Two panels next to each other; the number stands at the end of each bar, a thin line ends at the 99th percentile.

    results: as `measure.benchmark` yields them.
    """
    rows = [(result, one) for result in results for one in result["implementations"]]
    figure = Figure(figsize=(11, 1.4 + 0.42 * len(rows)), layout="constrained")
    throughput, latency = figure.subplots(1, 2)
    labels = []
    for place, (result, one) in enumerate(rows):
        name = one["implementation"]
        colour = _COLOURS.get(name) or _OTHERS[sum(map(ord, name)) % len(_OTHERS)]
        labels.append(f"{shown(result['model'])} · {name}")
        throughput.barh(place, one["per_second"], 0.7, color=colour)
        throughput.text(one["per_second"], place, f" {three_digits(one['per_second'])}", va="center", fontsize=8)
        middle, high = (1000 * one["latency"][key] for key in ("p50", "p99"))
        latency.barh(place, middle, 0.7, color=colour)
        latency.plot([middle, high], [place, place], color="black", linewidth=1)
        latency.text(max(middle, high), place, f" {middle:.3g} to {high:.3g}", va="center", fontsize=8)
    batches = sorted({result["batch"] for result in results})
    throughput.set_yticks(range(len(rows)), labels, fontsize=8)
    throughput.set_title(f"throughput, batch {', '.join(map(str, batches))}", loc="left")
    throughput.set_xlabel("inputs a second; more is better")
    latency.set_yticks([])
    latency.set_title("latency: median to 99th percentile", loc="left")
    latency.set_xlabel("milliseconds for one input; less is better")
    for axes in (throughput, latency):
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.22)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
