"""Cross-validation: a run for every fold, the predictions of all on what they did not train on, and what they say."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvit.data.folds import groups_of
from hvit.data.open import moved
from hvit.errors import UserError
from hvit.files import JsonObject, read_object, read_whole, write_text
from hvit.metrics.hierarchy import hierarchy_scores
from hvit.metrics.intervals import bootstrap_interval, grouped_interval
from hvit.metrics.labelled import best_thresholds, mean_of, multi_label_scores, ranking_scores, regression_scores
from hvit.models.weights.open import open_weights
from hvit.recipe import Recipe, read_recipe, write_recipe
from hvit.report.folds import write_folds_report
from hvit.run_names import JOURNAL, OUT_OF_FOLD, PREDICTIONS, RECIPE, SCORES, WEIGHTS, fold_folder
from hvit.runs.classification import Classification
from hvit.runs.folder import refuse_old_run
from hvit.runs.kind import Report, silent
from hvit.runs.kinds import kind_of
from hvit.runs.prepare import with_absolute_paths
from hvit.tasks.task import Scores
from hvit.training.journal import read_journal
from hvit.verbs import train

_LONGEST_TABLE = 2**30
SCORE_OF = {"multi": "mean_average_precision", "regression": "r2"}
"""Labels that are not one class a sample -> the score that people look at first."""


def has_folds(recipe: Recipe) -> bool:
    """Whether a recipe is of a cross-validation, and not of one of its folds."""
    return getattr(recipe.data, "folds", 0) > 0 and not getattr(recipe.data, "fold", 0)


def is_cross_validation(folder: Path) -> bool:
    """Whether a folder holds the runs of folds."""
    return (folder / RECIPE).is_file() and has_folds(read_recipe(folder))


def plan(recipe: Recipe) -> dict[str, str]:
    """The plan of the first fold, and what is done with all."""
    _refuse_what_cannot_be(recipe)
    count = _folds(recipe)
    lines = train.plan(_of_fold(recipe, 1))
    return lines | {"folds": f"{count} runs like this one, each holds out another fold"}


def cross_validate(recipe: Recipe, folder: Path, report: Report = silent) -> Scores:
    """Trains a run for every fold of a recipe's data, in a folder of its own; returns the scores over all folds.

    report: called with the plan of every run. Raises UserError as `train`, and for data that cannot be divided.
    """
    _refuse_what_cannot_be(recipe)
    recipe = with_absolute_paths(recipe, kind_of(recipe.model))
    refuse_old_run(folder)
    train.plan(_of_fold(recipe, 1))  # before anything is written
    write_recipe(recipe, folder)
    return _go_on(recipe, folder, None, report, False)


def resume(folder: Path, root: str | None = None, report: Report = silent, accept_changed_data: bool = False) -> Scores:
    """Continues with the fold that was in progress, then with those after it; as `hvit.verbs.train.resume`."""
    return _go_on(read_recipe(folder), folder, root, report, accept_changed_data)


def summarise(folder: Path) -> Scores:
    """Puts the predictions of all folds together, and writes table, scores and report.

    "top1" is the share of all samples that were predicted right by the run that held them out, "interval" its 95 %
    interval (by groups where there are any), "folds" the scores of every run. Raises UserError where predictions of a
    fold are missing.
    """
    recipe = read_recipe(folder)
    kind = _label_kind(folder / fold_folder(1))
    if kind in SCORE_OF:
        return _summarise_answers(folder, recipe, kind)
    rows: list[dict[str, str]] = []
    folds: list[JsonObject] = []
    classes: list[str] = []
    for fold in range(1, _folds(recipe) + 1):
        place = folder / fold_folder(fold)
        classes, found = _read_predictions(place / PREDICTIONS)
        rows += [row | {"fold": str(fold)} for row in found]
        hits = sum(row["class"] == row["predicted"] for row in found)
        folds.append({"fold": fold, "count": len(found), "top1": hits / max(1, len(found))})
        if "delivered" in (scores := read_object(place / SCORES)):
            folds[-1]["best_step"] = scores["delivered"].get("best_step")
    names = [row["name"] for row in rows]
    rule = getattr(recipe.data, "group", "")
    written = all("group" in row for row in rows)  # where names of samples do not say it
    groups = [row["group"] for row in rows] if written else groups_of(rule, names)
    hits = np.array([row["class"] == row["predicted"] for row in rows])
    number = {name: index for index, name in enumerate(classes)}
    of_folds = np.array([one["top1"] for one in folds])
    scores: Scores = {
        "count": len(rows),
        "top1": float(hits.mean()),
        "interval": list(grouped_interval(hits, groups)),
        "groups": len(set(groups)) if rule or written else None,
        "mean_of_folds": float(of_folds.mean()),
        "deviation_of_folds": float(of_folds.std(ddof=1)),
        "folds": folds,
        "classes": classes,
        "labels": [number[row["class"]] for row in rows],
        "predictions": [number[row["predicted"]] for row in rows],
    }
    if "levels" in read_object(folder / fold_folder(1) / SCORES):
        levels = open_weights(folder / fold_folder(1)).labels.levels
        shares = np.array([[float(row[f"p {name}"]) for name in classes] for row in rows])
        scores |= hierarchy_scores(shares, np.array(scores["labels"]), levels)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "group", "fold", "class", "predicted", *classes])
    for row, group in zip(rows, groups, strict=True):
        shares = [row[f"p {name}"] for name in classes]
        table.writerow([row["name"], group, row["fold"], row["class"], row["predicted"], *shares])
    write_text(folder / OUT_OF_FOLD, text.getvalue())
    write_text(folder / SCORES, json.dumps(scores) + "\n")
    write_folds_report(folder, recipe, scores)
    return scores


def read_out_of_fold(folder: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The classes of a cross-validation, and a row for each sample: "name", "group", "fold", "class", "predicted", and
    "p <class>", the probability of each class.

    Raises UserError where the folds are not finished, and for a damaged table.
    """
    path = folder / OUT_OF_FOLD
    if (kind := _label_kind(folder)) in SCORE_OF:
        raise UserError(f"labels are looked at for one class a sample, and those of {folder} are of the kind {kind}")
    if not path.is_file():
        raise UserError(f"the folds in {folder} are not finished: `hvit resume {folder}` trains the rest")
    return _read_predictions(path, ("name", "group", "fold", "class", "predicted"))


def _summarise_answers(folder: Path, recipe: Recipe, kind: str) -> Scores:
    """As `summarise`, for several classes a sample and for numbers.

    The first score is the mean average precision, or R²; its interval is a bootstrap over groups. Thresholds are chosen
    on all predictions, so that F1 is a little too good.
    """
    tables = [_read_answers(folder / fold_folder(fold) / PREDICTIONS) for fold in range(1, _folds(recipe) + 1)]
    names, key = tables[0].names, SCORE_OF[kind]
    if any(table.names != names for table in tables):
        raise UserError(f"the folds in {folder} predict different things; remove their predictions, and resume")
    truth, answers = (np.concatenate([getattr(table, part) for table in tables]) for part in ("truth", "answers"))
    samples = [name for table in tables for name in table.samples]
    rule = getattr(recipe.data, "group", "")
    written = all(table.groups is not None for table in tables)
    groups = [one for table in tables for one in table.groups or ()] if written else groups_of(rule, samples)

    def score(rows: np.ndarray) -> float:
        if kind == "regression":
            return regression_scores(answers[rows], truth[rows], names)[key]
        return mean_of(ranking_scores(answers[rows], truth[rows].astype(int), names), "average_precision") or 0.0

    fold_of = np.repeat(np.arange(1, len(tables) + 1), [len(table.samples) for table in tables])
    folds = [
        {"fold": fold, "count": int((fold_of == fold).sum()), key: score(np.flatnonzero(fold_of == fold))}
        for fold in range(1, len(tables) + 1)
    ]
    of_folds = np.array([one[key] for one in folds])
    if kind == "regression":
        whole = regression_scores(answers, truth, names)
        whole |= {"values": truth.tolist(), "predicted_values": answers.tolist()}
    else:
        whole = multi_label_scores(answers, truth, names, best_thresholds(answers, truth))
        whole["thresholds_chosen_here"] = True
    scores: Scores = {
        "count": len(samples), "label_kind": kind, **whole,
        "interval": list(bootstrap_interval(score, groups)), "groups": len(set(groups)) if rule or written else None,
        "mean_of_folds": float(of_folds.mean()), "deviation_of_folds": float(of_folds.std(ddof=1)), "folds": folds,
        "classes": list(names),
    }  # fmt: skip
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "group", "fold", *names, *(f"predicted {name}" for name in names)])
    for name, group, fold, own, found in zip(samples, groups, fold_of.tolist(), truth, answers, strict=True):
        table.writerow([name, group, fold, *(f"{value:.7g}" for value in (*own, *found))])
    write_text(folder / OUT_OF_FOLD, text.getvalue())
    write_text(folder / SCORES, json.dumps(scores) + "\n")
    write_folds_report(folder, recipe, scores)
    return scores


def _label_kind(run: Path) -> str:
    """What the labels of a run are, as its scores say."""
    return str(read_object(run / SCORES).get("label_kind", "single")) if (run / SCORES).is_file() else "single"


@dataclass(frozen=True)
class _Answers:
    """What a fold's run predicts of the samples that it held out."""

    names: tuple[str, ...]
    samples: list[str]
    groups: list[str] | None
    truth: np.ndarray
    answers: np.ndarray


def _read_answers(path: Path) -> _Answers:
    """The table that `write_answers` writes. Raises UserError where it is damaged."""
    try:
        header, *lines = csv.reader(io.StringIO(read_whole(path, _LONGEST_TABLE).decode("utf-8")))
        facts = 2 if header[1:2] == ["group"] and len(header) % 2 == 0 else 1
        count = (len(header) - facts) // 2
        names = tuple(header[facts : facts + count])
        fits = header[facts + count :] == [f"predicted {name}" for name in names] and count
        numbers = np.array([[float(cell) for cell in line[facts:]] for line in lines]).reshape(-1, 2 * count)
        if not fits or any(len(line) != len(header) for line in lines) or not np.isfinite(numbers).all():
            raise ValueError
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged: it is no table of predictions; remove it, and resume") from error
    groups = [line[1] for line in lines] if facts == 2 else None
    return _Answers(names, [line[0] for line in lines], groups, numbers[:, :count], numbers[:, count:])


def members_of(folder: Path) -> list[Path]:
    """The run folders of a cross-validation. Raises UserError where one has no weights yet."""
    places = [folder / fold_folder(fold) for fold in range(1, _folds(read_recipe(folder)) + 1)]
    missing = [place.name for place in places if not (place / WEIGHTS).is_file()]
    if missing:
        raise UserError(f"{folder} has no weights of {', '.join(missing)} yet: `hvit resume {folder}` trains them")
    return places


def _go_on(recipe: Recipe, folder: Path, root: str | None, report: Report, accepts: bool) -> Scores:
    for fold in range(1, _folds(recipe) + 1):
        place = folder / fold_folder(fold)
        if _is_finished(place):
            continue
        report({"fold": f"{fold} of {_folds(recipe)}"})
        if (place / RECIPE).is_file():
            train.resume(place, root, report, accepts)
        else:
            own = _of_fold(recipe, fold)
            train.train(replace(own, data=moved(own.data, root)), place, report)
    return summarise(folder)


def _is_finished(place: Path) -> bool:
    if not (place / SCORES).is_file() or not (place / PREDICTIONS).is_file():
        return False
    return any(row["kind"] == "finish" for row in read_journal(place / JOURNAL))


def _of_fold(recipe: Recipe, fold: int) -> Recipe:
    return replace(recipe, data=replace(recipe.data, fold=fold))  # pyright: ignore[reportCallIssue]  (of this data, as `has_folds` says)


def _folds(recipe: Recipe) -> int:
    return getattr(recipe.data, "folds", 0)


def _refuse_what_cannot_be(recipe: Recipe) -> None:
    if not isinstance(kind_of(recipe.model), Classification):
        raise UserError("cross-validation is for classifiers; omit --data.folds")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("cross-validation starts its runs itself, one after the other: start it without torchrun, or "
                        "start each fold with --data.fold")  # fmt: skip


def _read_predictions(path: Path, columns: tuple[str, ...] = ()) -> tuple[list[str], list[dict[str, str]]]:
    """The classes of a table of predictions, and its rows; probabilities under "p <class>".

    columns: what stands before the probabilities; default: as `write_predictions` writes it.
    """
    try:
        header, *lines = csv.reader(io.StringIO(read_whole(path, _LONGEST_TABLE).decode("utf-8")))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged: it is no table of predictions; remove it, and resume") from error
    facts = list(columns) or ["name", *["group"] * (header[1:2] == ["group"]), "class", "predicted"]
    classes = header[len(facts) :]
    keys = [*facts, *(f"p {name}" for name in classes)]
    known = set(classes)
    rows = [dict(zip(keys, line, strict=False)) for line in lines]
    if header[: len(facts)] != facts or any(
        len(row) != len(keys) or not {row["class"], row["predicted"]} <= known for row in rows
    ):
        raise UserError(f"{path} is damaged: it is no table of predictions; remove it, and resume")
    return classes, rows
