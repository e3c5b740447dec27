"""Prints whether a method of explanation can be trusted: `hvit explain ... --check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hvit.cli.printing import Refusals, note, notes, print_json_lines, print_table, say, waited
from hvit.errors import UserError
from hvit.files import JsonObject

if TYPE_CHECKING:
    from hvit.explain.methods.baseline_images import Baseline
    from hvit.explain.tree import Absent, Gradient
    from hvit.verbs.classifier import Classifier, Method


def check(
    run: Path,
    classifier: Classifier,
    images: Sequence[Path],
    count: int,
    methods: Sequence[str],
    where: Path | None,
    as_json: bool,
    baseline: Baseline = "mean",
    budget: float | None = None,
    absent: Absent = "exchanged",
    gradient: Gradient = "usual",
) -> None:
    """Measures methods on `count` of the images, and prints a table and a sentence for each; where: the objects are.

    run: what was opened; in the folder of a run the answers are kept for its report and its model card.

    baseline, budget, absent: of block Shapley. gradient: of GradCAT.
    """
    from hvit.data.open import list_images
    from hvit.explain.localization.places import Places
    from hvit.progress import FilesDone
    from hvit.verbs import check as checking

    if classifier.preprocess.takes_clips:
        raise UserError("--check is for images, and this model takes clips")
    if count < checking.LEAST_IMAGES:
        raise UserError(f"--check takes a number of images, {checking.LEAST_IMAGES} or more; got {count}")
    methods = methods or ("block_shapley",)
    allowed = classifier.methods
    for method in methods:
        if method not in allowed:
            raise UserError(f"this model cannot be explained by {method}; choose from {', '.join(allowed)}")
    methods = with_gradient(methods, gradient)
    places = None if where is None else Places(where)
    files = list_images(images)
    refused = Refusals()
    waited()
    with FilesDone(min(len(files), count), notes, ("checking", "checked", "files")) as done:
        answers = checking.check(
            classifier, files, count, methods, places, done.refusing(refused), done.step, baseline, budget, absent,
            done.spend,
        )  # fmt: skip
    for answer in answers:
        print_json_lines([answer]) if as_json else _print(answer)
    _keep(run, answers)
    refused.end()


def _print(answer: JsonObject) -> None:
    from hvit.report.checked import HEADS, Checked, probability_words, rows_of

    checked = Checked.model_validate(answer)
    print_table(list(HEADS), rows_of(checked))
    say(probability_words(checked))
    say(f"{checked.verdict}.")


def _keep(run: Path, answers: Sequence[JsonObject]) -> None:
    """Keeps the answers in the folder of a run, and writes its report again; says where it cannot."""
    from hvit.report import write_report
    from hvit.report.checked import keep_check

    try:
        kept = keep_check(run, answers)
        if kept is not None:
            note(f"kept in {kept}; {write_report(run)} shows it")
    except UserError as error:  # of a folder that may not be written; what was measured has been printed
        note(f"the check was not kept: {error}")


def with_gradient(methods: Sequence[str], gradient: Gradient) -> tuple[Method, ...]:
    """Methods that the command line names, by their keys: GradCAT with LibraGrad's gradients has a key of its own."""
    from hvit.explain.tree import GRADCATS

    of_gradient = next(key for key, one in GRADCATS.items() if one == gradient)
    return tuple(cast("Method", of_gradient if method == "gradcat" else method) for method in methods)


def refuse_others(is_checking: bool, has_places: bool, others: dict[str, bool]) -> None:
    """Refuses options that have no meaning together with --check, or without it; others: which of these are given."""
    if has_places and not is_checking:
        raise UserError("--places is for --check only: omit it, or add --check with a number of images")
    given = [name for name, is_given in others.items() if is_given]
    if is_checking and given:
        raise UserError(f"--check explains the predicted class and draws nothing: omit {', '.join(given)}")
