"""Several runs side by side: what each reached, what it cost, in which settings they differ, and their curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit.errors import UserError
from hvit.files import JsonObject, read_object, replacing, write_text
from hvit.pictures import QUANTITIES, compare_curves, figure_to_png
from hvit.report.comparison import render_comparison
from hvit.report.page import flatten
from hvit.report.pieces import number_in, object_in
from hvit.report.reading import Run, read_run
from hvit.run_names import SCORES

METRICS = (
    "top1", "top5", "balanced_accuracy", "loss", "calibration_error", "mean_average_precision", "f1_macro", "f1_micro",
    "mae", "r2", "quadratic_kappa", "explained_variance", "nearest_neighbours", "linear_probe", "distance", "precision",
    "recall", "mistake_severity",
)  # fmt: skip
"""Scores that are compared, by their names in `scores.json`."""
_NOT_SETTINGS = ("name", "summary")


@dataclass(frozen=True)
class Compared:
    """Runs that are compared, by names that no two of them share.

    rows: {"run", "recipe", "finished", "step", "epochs", "seconds", "parameters", and those of `METRICS` that any run
    has} of each; what a run has not is None, such as the steps of a cross-validation. settings: the fields of the
    recipes whose values differ, each with its value in every run, as it is written; "-" where a recipe has no such
    field.
    """

    runs: dict[str, Run]
    rows: list[JsonObject]
    settings: dict[str, list[str]]


def compare(folders: Sequence[Path]) -> Compared:
    """Reads two or more run folders. Raises UserError for fewer, for a folder that is no run, and for damaged files."""
    if len(folders) < 2:
        raise UserError("name two runs or more to compare")
    runs: dict[str, Run] = {}
    scores: dict[str, JsonObject] = {}
    for folder in folders:
        run = read_run(folder)
        name, number = run.folder, 1
        while name in runs:
            number += 1
            name = f"{run.folder} ({number})"
        runs[name] = run
        scores[name] = read_object(folder / SCORES) if (folder / SCORES).is_file() else {}
    present = [metric for metric in METRICS if any(_says(one, metric) for one in scores.values())]
    rows = [_row(name, run, scores[name], present) for name, run in runs.items()]
    return Compared(runs, rows, _differences(list(runs.values())))


def _says(scores: JsonObject, metric: str) -> bool:
    """Whether scores have a number that can differ: of up to five classes, everything is among the first five."""
    classes = scores.get("classes")
    trivial = metric == "top5" and isinstance(classes, list) and len(classes) <= 5
    return number_in(scores, metric) is not None and not trivial


def _row(name: str, run: Run, scores: JsonObject, metrics: Sequence[str]) -> JsonObject:
    last = run.rows[-1] if run.rows else {}
    epochs = [epoch for row in run.rows if (epoch := number_in(row, "epoch")) is not None]
    return {
        "run": name,
        "recipe": str(run.recipe.get("name", "")),
        "finished": bool(run.of_kind("finish")) or "mean_of_folds" in scores,
        "step": int(last.get("step", 0)) if run.rows else None,
        "epochs": max(epochs, default=None),
        "seconds": max((number_in(row, "seconds") or 0.0 for row in run.rows), default=None),
        "parameters": number_in(object_in(scores, "model"), "parameters"),
        **{metric: number_in(scores, metric) for metric in metrics},
    }


def _differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    flat = [flatten({key: value for key, value in run.recipe.items() if key not in _NOT_SETTINGS}) for run in runs]
    names = dict.fromkeys(name for fields in flat for name in fields)
    values = {name: [fields.get(name, "-") for fields in flat] for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def quantities_of(runs: Mapping[str, Run]) -> list[str]:
    """What the runs have curves of, such as "loss" and "top1"."""
    return [
        quantity
        for quantity in QUANTITIES
        if any(
            number_in(row, quantity) is not None
            for run in runs.values()
            for row in run.of_kind("train" if quantity == "learning_rate" else "evaluate")
        )
    ]


def draw(compared: Compared, path: Path, quantity: str | None = None) -> None:
    """Writes the curves of all runs to a PNG file, or curves and tables to one self-contained HTML page.

    quantity: of the PNG file; default: accuracy, or the first that there is. Raises UserError for another ending, and
    where no run has such a curve.
    """
    present = quantities_of(compared.runs)
    if quantity is not None and quantity not in present:
        raise UserError(f"no run has a curve of {quantity}; they have {', '.join(present) or 'none'}")
    ending = path.suffix.lower()
    if ending == ".html":
        shown = [quantity] if quantity is not None else present
        write_text(path, render_comparison(compared.runs, compared.rows, compared.settings, shown))
    elif ending == ".png":
        if not present:
            raise UserError("the runs have no curves yet: they have not been evaluated")
        chosen = quantity or next((one for one in present if one != "loss"), present[0])
        rows = {name: run.rows for name, run in compared.runs.items()}
        with replacing(path) as file:
            file.write(figure_to_png(compare_curves(rows, chosen)))
    else:
        raise UserError(f"--picture must end in .png or .html; got {path}")
