"""The page of a cross-validation: what all folds say together, and each of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hvit import pictures
from hvit.files import JsonObject, write_text
from hvit.markup import MARK, SPACE, Html, element, percent
from hvit.metrics.classification import confusion_matrix
from hvit.recipe import Recipe
from hvit.report.pieces import chart, quiet, section, tile, whole_page
from hvit.run_names import OUT_OF_FOLD, REPORT, fold_folder


def write_folds_report(folder: Path, recipe: Recipe, scores: JsonObject) -> Path:
    """Writes `report.html` of a cross-validation and returns its path. scores: as `hvit.verbs.folds.summarise`."""
    page = whole_page(
        f"{recipe.name} · hvit cross-validation", _headline(recipe, scores), _folds(scores), _classes(scores)
    )
    path = folder / REPORT
    write_text(path, page)
    return path


def _headline(recipe: Recipe, scores: JsonObject) -> Html:
    low, high = scores["interval"]
    how = f"{scores['groups']:,} groups" if scores["groups"] else "samples"
    tiles = (
        tile(
            "Out-of-fold accuracy",
            percent(scores["top1"]),
            f"of {scores['count']:,} · 95{SPACE}% interval {100 * low:.1f} to {percent(high)}, over {how}",
        ),
        tile(
            "Mean of the folds",
            percent(scores["mean_of_folds"]),
            f"standard deviation {percent(scores['deviation_of_folds'])} over {len(scores['folds'])} folds",
        ),
    )
    return element(
        "header",
        element("p", MARK, "hvit cross-validation", class_="eyebrow"),
        element("h1", recipe.name),
        element("p", recipe.summary, class_="summary"),
        element("dl", *tiles, class_="tiles"),
    )


def _folds(scores: JsonObject) -> Html:
    kinds = {"fold": {}, "held out": {"class_": "number"}, "accuracy": {"class_": "number"}, "report": {}}
    heads = [element("th", text, scope="col", **kind) for text, kind in kinds.items()]
    lines = [
        element(
            "tr",
            element("th", str(one["fold"]), scope="row"),
            element("td", f"{one['count']:,}", class_="number"),
            element("td", percent(one["top1"]), class_="number"),
            element("td", element("a", "open", href=f"{fold_folder(one['fold'])}/{REPORT}")),
        )
        for one in scores["folds"]
    ]
    content = element("thead", element("tr", *heads)), element("tbody", *lines)
    words = f"Every sample is predicted once, by the run that did not train on it ({OUT_OF_FOLD})."
    return section("The folds", quiet(words), element("table", *content, class_="classes"))


def _classes(scores: JsonObject) -> Html:
    matrix = confusion_matrix(scores["labels"], scores["predictions"], len(scores["classes"]))
    drawn = chart(partial(pictures.draw_confusion, matrix, scores["classes"]), "Confusion matrix")
    return section("What they get right", drawn, quiet("Rows are true classes, columns predictions."))
