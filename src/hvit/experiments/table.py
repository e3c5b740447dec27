"""The results of an experiment as tables, as text in Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite, nan
from statistics import stdev
from typing import cast

from hvit.experiments.experiment import Measure, Table
from hvit.experiments.grid import chosen_rate
from hvit.experiments.results import Difference, Results, Scores
from hvit.files import JsonObject


def tables(results: Results) -> list[Table]:
    """The table of the cells, that of the claims, those of this experiment alone, and the learning rates."""
    further = results.experiment.further
    return [_cells(results), *(further(results) if further else []), _claims(results), *_rates(results)]


def _cells(results: Results) -> Table:
    experiment = results.experiment
    factors = list(dict.fromkeys(name for cell in experiment.cells for name in cell.factors))
    rows = []
    for cell in experiment.cells:
        scores = results.of(cell)
        row = [cell.factors.get(name, "") for name in factors]
        row.append(str(len(scores.of(scores.first))) if scores else "0")
        row += [_mean(scores, measure) for measure in experiment.measures]
        if collapsed := results.collapsed(cell):
            row[-len(experiment.measures)] += f" ({len(collapsed)} did not train)"
        weights = {cell.name: 1.0, experiment.reference: -1.0} if cell.name != experiment.reference else {}
        row.append(_points(results.difference(weights)) if weights else "reference")
        costs = (scores.seconds, scores.speed) if scores else (nan, nan)
        row += [f"{number:.0f}" if isfinite(number) else "" for number in costs]
        rows.append(row)
    columns = [*factors, "seeds", *(f"{measure.title}, %" for measure in experiment.measures),
               "difference, points [95 %]", "seconds", "images/s"]  # fmt: skip
    return Table(experiment.header.title, columns, rows)


def _claims(results: Results) -> Table:
    rows = []
    for claim in results.experiment.claims:
        verdict, found = results.verdict(claim)
        lost = 100 * claim.margin
        allowed = f" (a loss of {lost:g} point{'' if lost == 1 else 's'} counts as none)" if lost else ""
        rows.append([claim.sentence + allowed, _points(found), verdict])
    return Table("Claims", ["claim", "difference, points [95 %]", "verdict"], rows)


def _rates(results: Results) -> list[Table]:
    rows = []
    for family in results.experiment.families:
        rate = chosen_rate(family, results.place)
        if rate is not None:
            losses = ", ".join(f"{one:g}: {loss:.3f}" for one, loss in rate.losses.items())
            rows.append([family, f"{rate.rate:g}" + (" (at the edge)" if rate.is_edge else ""), losses])
    return (
        [Table("Learning rates", ["family", "chosen, for 256 images", "training loss of each"], rows)] if rows else []
    )


def _mean(scores: Scores | None, measure: Measure) -> str:
    values = list(scores.of(measure.key).values()) if scores else []
    if not values:
        return ""
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * sum(values) / len(values):.1f}{spread}"


def _points(found: Difference | None) -> str:
    if found is None:
        return ""
    interval = f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]" if isfinite(found.low) else ""
    return f"{100 * found.mean:+.1f}{interval}"


def markdown(results: Results) -> str:
    """All tables as Markdown, with the claim of the seed above and how the numbers were made below."""
    header = results.experiment.header
    parts = [f"## {header.title}", f"**Claim**: {header.claim}. **Published**: {header.published}. "
             f"**Refuted if** {header.refuted_by}."]  # fmt: skip
    for number, table in enumerate(tables(results)):
        parts += [f"### {table.title}"] if number else []
        parts.append("\n".join([_line(table.columns), _line(["---"] * len(table.columns)), *map(_line, table.rows)]))
    spread, freedom = results.spread(results.experiment.measures[0].key)
    summary = f"{results.finished} of {len(results.experiment.cells) * len(results.seeds)} runs are finished. "
    if freedom:
        summary += (
            f"Intervals: Student's t with {freedom} degrees of freedom, from the spread shared by the cells "
            f"that trained (standard deviation {100 * spread:.2f} points around the means of cells and seeds). "
        )
    return "\n\n".join([*parts, summary + "± is the standard deviation over the seeds."]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def as_json(results: Results) -> JsonObject:
    """Everything as plain numbers: every score by cell and seed, every difference with both intervals, the verdicts."""
    experiment = results.experiment
    cells = []
    for cell in experiment.cells:
        scores = results.of(cell)
        row: dict[str, object] = {"cell": cell.name, **cell.factors}
        if scores is not None:
            row |= {"values": {key: dict(values) for key, values in scores.values.items()},
                    "did_not_train": results.collapsed(cell),
                    "seconds": scores.seconds, "images_per_second": scores.speed}  # fmt: skip
            against = results.difference({cell.name: 1.0, experiment.reference: -1.0})
            if against is not None and cell.name != experiment.reference:
                row["difference"] = asdict(against)
        cells.append(row)
    claims = []
    for claim in experiment.claims:
        verdict, found = results.verdict(claim)
        claims.append({"claim": claim.sentence, "margin": claim.margin, "verdict": verdict,
                       "difference": asdict(found) if found else None})  # fmt: skip
    rates = {}
    for family in experiment.families:
        rate = chosen_rate(family, results.place)
        if rate is not None:
            rates[family] = {"rate": rate.rate, "losses": {f"{one:g}": loss for one, loss in rate.losses.items()}}
    spread, freedom = results.spread(experiment.measures[0].key)
    return cast(JsonObject, _finite({
        "experiment": experiment.name, "scale": results.place.scale, "header": asdict(experiment.header),
        "reference": experiment.reference, "cells": cells, "claims": claims, "learning_rates": rates,
        "spread": spread, "degrees_of_freedom": freedom,
        "further": [asdict(table) for table in (experiment.further(results) if experiment.further else [])],
    }))  # fmt: skip


def _finite(value: object) -> object:
    """The same tree with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
