"""The page of a cross-validation: what all folds say together, and each of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hvit import pictures
from hvit.files import JsonObject, write_text
from hvit.markup import MARK, SPACE, Html, element, percent
from hvit.metrics.classification import confusion_matrix
from hvit.recipe import Recipe
from hvit.report.labelled import labels_section, level_tiles
from hvit.report.pieces import chart, quiet, section, tile, whole_page
from hvit.report.reading import LevelRow, Scores
from hvit.run_names import OUT_OF_FOLD, REPORT, fold_folder


def write_folds_report(folder: Path, recipe: Recipe, scores: JsonObject) -> Path:
    """Writes `report.html` of a cross-validation and returns its path. scores: as `hvit.verbs.folds.summarise`."""
    page = whole_page(
        f"{recipe.name} · hvit cross-validation", _headline(recipe, scores), _folds(scores), _classes(scores)
    )
    path = folder / REPORT
    write_text(path, page)
    return path


def key_of(scores: JsonObject) -> tuple[str, str]:
    """The key of the score that people look at first, and what it is called."""
    keys = {"multi": ("mean_average_precision", "mean average precision"), "regression": ("r2", "R²")}
    return keys.get(scores.get("label_kind", "single"), ("top1", "accuracy"))


def written(key: str, value: float) -> str:
    """A score as a reader sees it: R² as a number, others in percent."""
    return f"{value:.3f}" if key == "r2" else percent(value)


def _headline(recipe: Recipe, scores: JsonObject) -> Html:
    (low, high), (key, called) = scores["interval"], key_of(scores)
    how = f"{scores['groups']:,} groups" if scores["groups"] else "samples"
    tiles = (
        tile(
            f"Out-of-fold {called}",
            written(key, scores[key]),
            f"of {scores['count']:,} · 95{SPACE}% interval {_low(key, low)} to {written(key, high)}, over {how}",
        ),
        tile(
            "Mean of the folds",
            written(key, scores["mean_of_folds"]),
            f"standard deviation {written(key, scores['deviation_of_folds'])} over {len(scores['folds'])} folds",
        ),
    )
    tiles += tuple(level_tiles([LevelRow(**row) for row in scores.get("levels", [])], scores.get("mistake_severity")))
    return element(
        "header",
        element("p", MARK, "hvit cross-validation", class_="eyebrow"),
        element("h1", recipe.name),
        element("p", recipe.summary, class_="summary"),
        element("dl", *tiles, class_="tiles"),
    )


def _low(key: str, value: float) -> str:
    return written(key, value) if key == "r2" else f"{100 * value:.1f}"


def _folds(scores: JsonObject) -> Html:
    key, called = key_of(scores)
    kinds = {"fold": {}, "held out": {"class_": "number"}, called: {"class_": "number"}, "report": {}}
    heads = [element("th", text, scope="col", **kind) for text, kind in kinds.items()]
    lines = [
        element(
            "tr",
            element("th", str(one["fold"]), scope="row"),
            element("td", f"{one['count']:,}", class_="number"),
            element("td", written(key, one[key]), class_="number"),
            element("td", element("a", "open", href=f"{fold_folder(one['fold'])}/{REPORT}")),
        )
        for one in scores["folds"]
    ]
    content = element("thead", element("tr", *heads)), element("tbody", *lines)
    words = f"Every sample is predicted once, by the run that did not train on it ({OUT_OF_FOLD})."
    return section("The folds", quiet(words), element("table", *content, class_="classes"))


def _classes(scores: JsonObject) -> Html:
    if "label_kind" in scores:
        return labels_section(Scores.model_validate(scores), "samples")
    matrix = confusion_matrix(scores["labels"], scores["predictions"], len(scores["classes"]))
    drawn = chart(partial(pictures.draw_confusion, matrix, scores["classes"]), "Confusion matrix")
    return section("What they get right", drawn, quiet("Rows are true classes, columns predictions."))
