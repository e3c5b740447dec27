"""Prints whether a method of explanation can be trusted: `hvit explain ... --check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hvit.cli.printing import Refusals, notes, percent, print_json_lines, print_table, say, waited
from hvit.errors import UserError
from hvit.files import JsonObject

if TYPE_CHECKING:
    from hvit.explain.methods.baseline_images import Baseline
    from hvit.explain.tree import Absent, Gradient
    from hvit.verbs.classifier import Classifier, Method


def check(
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
    refused.end()


def _print(answer: JsonObject) -> None:
    rows = []
    for one in answer["measures"]:
        write = percent if one["name"] in ("baselines", "pointing") else "{:.3f}".format
        low, high = map(write, one["interval"])
        passed = "passed" if one["passes"] else "failed"
        rows.append((_WORDS[one["name"]], write(one["value"]), f"{low} to {high}", write(one["compared_with"]), passed))
    print_table(["check", "value", "95 % interval", "compared with", "result"], rows)
    say(
        f"The predicted class has a probability of {percent(answer['probability'])} with the image, and of "
        f"{percent(answer['probability_before'])} with {answer['baseline']} in its place."
    )
    say(f"{answer['verdict']}.")


_WORDS = {
    "deletion": "deletion: area, random order",
    "insertion": "insertion: area, random order",
    "random weights": "random weights: rank correlation, limit",
    "baselines": "baselines: same first step, limit",
    "pointing": "pointing: highest place on the object, chance",
}


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
