"""The report's sections on several classes a sample, on ordered classes and on numbers, and the sizes of classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hvit import pictures
from hvit.markup import NOTHING, Html, element, percent
from hvit.report.pieces import chart, number_in, place, quiet, section, tile
from hvit.report.reading import LevelRow, Run, Scores

_POINTS = 2_000
_SCORES = {
    "mean_average_precision": "Mean average precision",
    "r2": "Explained variance (R²)",
    "quadratic_kappa": "Quadratic kappa",
}


def is_labelled(run: Run) -> bool:
    """Whether the run's scores are those of several classes a sample, or of numbers."""
    return run.scores is not None and run.scores.label_kind in ("multi", "regression", "ordinal")


def label_tiles(run: Run) -> list[Html]:
    """What was reached, for the headline."""
    scores = run.scores
    assert scores is not None
    of = f"of {scores.count:,} {run.samples}"
    if scores.label_kind == "multi":
        chosen = " · thresholds chosen on these" * scores.thresholds_chosen_here
        detail = f"micro; macro {percent(scores.f1_macro)}{chosen}"
        return [
            tile(_SCORES["mean_average_precision"], percent(scores.mean_average_precision), of),
            tile("F1", percent(scores.f1_micro), detail),
        ]
    if scores.label_kind == "ordinal":
        made = [tile("Held-out accuracy", percent(scores.top1), of)]
        return [
            *made,
            tile(_SCORES["quadratic_kappa"], _number(scores.quadratic_kappa), f"off by {_number(scores.mae)} classes"),
        ]
    return [
        tile(_SCORES["r2"], _number(scores.r2), of),
        tile("Mean absolute error", _number(scores.mae), f"rank correlation {_number(scores.spearman)}"),
    ]


def level_tiles(levels: Sequence[LevelRow], severity: float | None) -> list[Html]:
    """How often the coarser levels of a hierarchy are right, and how far off mistakes are; nothing without levels."""
    made = [tile(f"{row.level}: accuracy", percent(row.top1), f"{row.classes:,} classes") for row in levels[-2::-1]]
    if severity is not None:
        made.append(tile("Mistake severity", f"{severity:.2f}", f"of {len(levels)} levels off, the mean of mistakes"))
    return made


def last_label_score(run: Run) -> Html | None:
    """The tile of a run that is not finished; None where its journal has no such score."""
    for row in reversed(run.of_kind("evaluate")):
        for key, title in _SCORES.items():
            if (value := number_in(row, key)) is not None:
                return tile(title, _number(value), f"at {place(row)}")
    return None


def label_section(run: Run) -> Html:
    """The scores of every class, or of every number with a chart of predictions against labels."""
    assert run.scores is not None
    return labels_section(run.scores, run.samples)


def labels_section(scores: Scores, samples: str) -> Html:
    """As `label_section`, of scores. samples: images or clips."""
    title = "What it gets right"
    if scores.label_kind == "ordinal" and scores.labels:
        from hvit.metrics.classification import confusion_matrix

        matrix = confusion_matrix(scores.labels, scores.predictions, len(scores.classes))
        drawn = chart(partial(pictures.draw_confusion, matrix, scores.classes), "Confusion matrix")
        return section(
            title, counts_words(scores), drawn, quiet("Rows are true classes in their order, columns predictions.")
        )
    if scores.per_class:
        heads = ("class", samples, "threshold", "average precision", "recall", "precision", "F1")
        rows = [
            (row.name, f"{row.count:,}", f"{row.threshold:.2f}", *map(percent, (row.average_precision, row.recall)),
             *map(percent, (row.precision, row.f1)))
            for row in scores.per_class
        ]  # fmt: skip
        words = "A class is predicted where its probability reaches its threshold, which was chosen for the highest F1."
        return section(title, counts_words(scores), quiet(words), _table(heads, rows))
    heads = ("number", "mean absolute error", "root mean square error", "R²", "rank correlation")
    rows = [
        (row.name, _number(row.mae), _number(row.rmse), _number(row.r2), _number(row.spearman))
        for row in scores.per_output
    ]
    step = max(1, len(scores.values) // _POINTS)
    charts = [
        chart(
            partial(
                pictures.draw_predictions,
                [row[output] for row in scores.values[::step]],
                [row[output] for row in scores.predicted_values[::step]],
                name,
            ),
            f"Predicted {name} against the label",
        )
        for output, name in enumerate(scores.classes[:6])
        if scores.values
    ]
    return section(title, _table(heads, rows), element("div", *charts, class_="charts"))


def counts_words(scores: Scores) -> Html:
    """How many training samples each class has; nothing where that is not known or all have as many."""
    counts = scores.training_counts
    if len(counts) != len(scores.classes) or len(set(counts)) < 2:
        return Html()
    order = sorted(range(len(counts)), key=lambda index: -counts[index])
    listed = ", ".join(f"{scores.classes[index]} {counts[index]:,}" for index in order[:12])
    more = f" and {len(counts) - 12:,} more" if len(counts) > 12 else ""
    return quiet(f"Training samples of each class: {listed}{more}.")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Html:
    first = [
        element("th", text, scope="col", **({"class_": "number"} if place else {})) for place, text in enumerate(heads)
    ]
    lines = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell, class_="number") for cell in row[1:]))
        for row in rows
    ]
    table = element("table", element("thead", element("tr", *first)), element("tbody", *lines), class_="classes")
    return element("div", table, class_="scroll")


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"
