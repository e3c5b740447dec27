"""The page that compares runs: a table of scores, a chart for each quantity, and the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from hvit import pictures
from hvit.files import JsonObject
from hvit.markup import NOTHING, Html, breakable, duration, element, short_number
from hvit.report.pieces import chart, quiet, section, whole_page
from hvit.report.reading import Run

SHARES = (
    "top1", "top5", "balanced_accuracy", "calibration_error", "mean_average_precision", "f1_macro", "f1_micro",
    "explained_variance", "nearest_neighbours", "linear_probe", "precision", "recall",
)  # fmt: skip
"""Scores that are shares, which are written as percentages."""
HEADS = {"parameters": "parameters", "epochs": "epochs", "seconds": "time"}


def render_comparison(
    runs: Mapping[str, Run],
    rows: Sequence[JsonObject],
    settings: Mapping[str, Sequence[str]],
    quantities: Sequence[str],
) -> str:
    """The whole page as HTML text. rows, settings: as of `hvit.verbs.compare.Compared`."""
    title = f"{len(runs)} runs compared"
    journals = {name: run.rows for name, run in runs.items()}
    charts = [
        chart(partial(pictures.compare_curves, journals, quantity), f"{pictures.QUANTITIES[quantity]} against epochs")
        for quantity in quantities
    ]
    curves = element("div", *charts, class_="charts") if charts else quiet("There are no curves yet.")
    body = (
        element("header", element("h1", title)),
        section("Scores", _scores(rows)),
        section("Training", curves),
        section("Settings that differ", _settings(list(runs), settings)),
    )
    return whole_page(f"{title} · hvit", *body)


def cell(name: str, value: object) -> str:
    """A value of a row as it is written in a table."""
    if value is None:
        return NOTHING
    if name == "finished":
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    assert isinstance(value, int | float)
    if name in SHARES:
        return f"{100 * value:.1f} %"
    if name == "seconds":
        return duration(value)
    if name == "parameters":
        return short_number(int(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _scores(rows: Sequence[JsonObject]) -> Html:
    names = list(rows[0])
    heads = [element("th", HEADS.get(name, name.replace("_", " ")), scope="col") for name in names]
    lines = [
        element(
            "tr", element("th", breakable(str(row["run"])), scope="row"),
            *(element("td", cell(name, row[name]), class_="number") for name in names[1:]),
        )
        for row in rows
    ]  # fmt: skip
    content = element("thead", element("tr", *heads)), element("tbody", *lines)
    return element("div", element("table", *content, class_="classes"), class_="scroll")


def _settings(names: Sequence[str], settings: Mapping[str, Sequence[str]]) -> Html:
    if not settings:
        return quiet("The recipes are the same in every field.")
    heads = [element("th", "field", scope="col"), *(element("th", breakable(name), scope="col") for name in names)]
    lines = [
        element(
            "tr", element("th", element("code", breakable(field)), scope="row"),
            *(element("td", value) for value in values),
        )
        for field, values in settings.items()
    ]  # fmt: skip
    content = element("thead", element("tr", *heads)), element("tbody", *lines)
    return element("div", element("table", *content, class_="fields"), class_="scroll")
