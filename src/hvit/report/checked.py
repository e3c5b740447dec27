"""Whether a run's explanations can be trusted: what `hvit explain RUN --check` found, for its report and its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from hvit.errors import UserError
from hvit.files import JsonObject, read_object, write_text
from hvit.markup import Html, element, join, percent
from hvit.report.pieces import quiet
from hvit.report.reading import Share
from hvit.run_names import EXPLANATION_CHECK, RECIPE, WEIGHTS

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]

CHECKS = {
    "deletion": "deletion: area, random order",
    "insertion": "insertion: area, random order",
    "random weights": "random weights: rank correlation, limit",
    "baselines": "baselines: same first step, limit",
    "pointing": "pointing: highest place on the object, chance",
}
"""What every measure is called in a table: its name, its value, and what that is compared with."""
_SHARES = ("baselines", "pointing")
HEADS = ("check", "value", "95 % interval", "compared with", "result")


class Measure(BaseModel):
    """A measure over all images, and whether it passes its rule."""

    name: str
    value: Finite
    interval: tuple[Finite, Finite]
    compared_with: Finite
    passes: bool


class Checked(BaseModel):
    """What was measured of a method of explanation."""

    method: str
    images: Count
    baseline: str
    absent: str = "exchanged"
    probability: Share
    probability_before: Share
    measures: list[Measure]
    trusted: bool
    verdict: str


class ExplanationCheck(BaseModel):
    """The file. weights_sha256: of the weights whose explanations were checked."""

    weights_sha256: str
    checks: list[Checked]


def keep_check(run: Path, answers: Sequence[JsonObject]) -> Path | None:
    """Keeps the answers of `verbs.check.check` in a run folder; those of other methods of the same weights stay.

    None for what is no run folder. Raises UserError where it cannot be written.
    """
    if not (run / RECIPE).is_file() or not (run / WEIGHTS).is_file():
        return None
    path, weights = run / EXPLANATION_CHECK, _checksum(run)
    try:
        before = _read(path)
        kept = {one.method: one for one in before.checks} if before and before.weights_sha256 == weights else {}
    except UserError:  # damaged: these answers take its place
        kept = {}
    kept |= {one.method: one for one in map(Checked.model_validate, answers)}
    found = ExplanationCheck(weights_sha256=weights, checks=list(kept.values()))
    write_text(path, json.dumps(found.model_dump(), indent=2) + "\n")
    return path


def checks_of(run: Path) -> list[Checked]:
    """What was checked of a run's weights; nothing where it was not, or where the weights are others now.

    Raises UserError for a damaged file.
    """
    found = _read(run / EXPLANATION_CHECK)
    return found.checks if found is not None and found.weights_sha256 == _checksum(run) else []


def checks_words(run: Path) -> Html:
    """What the report says of the checks: a table and a sentence for each method. Raises UserError as `checks_of`."""
    checks = checks_of(run)
    if not checks and (run / EXPLANATION_CHECK).is_file():
        return quiet("The explanations were checked with other weights than the run has now: check them again.")
    return join([_words(one) for one in checks])


def rows_of(check: Checked) -> list[tuple[str, ...]]:
    """The measures as rows of a table with the heads `HEADS`."""
    rows = []
    for one in check.measures:
        write = percent if one.name in _SHARES else "{:.3f}".format
        low, high = map(write, one.interval)
        passed = "passed" if one.passes else "failed"
        rows.append((CHECKS.get(one.name, one.name), write(one.value), f"{low} to {high}", write(one.compared_with),
                     passed))  # fmt: skip
    return rows


def probability_words(check: Checked) -> str:
    """How much of the predicted class's probability the image accounts for."""
    return (
        f"The predicted class has a probability of {percent(check.probability)} with the image, and of "
        f"{percent(check.probability_before)} with {check.baseline} in its place."
    )


def _words(check: Checked) -> Html:
    heads = [
        element("th", text, scope="col", **({"class_": "number"} if 0 < place < 4 else {}))
        for place, text in enumerate(HEADS)
    ]
    lines = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell, class_="number") for cell in row[1:4]),
                element("td", row[4]))
        for row in rows_of(check)
    ]  # fmt: skip
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="classes")
    return join(
        [element("p", f"{check.verdict}."), element("div", table, class_="scroll"), quiet(probability_words(check))]
    )


def _read(path: Path) -> ExplanationCheck | None:
    if not path.is_file():
        return None
    try:
        return ExplanationCheck.model_validate(read_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is damaged: {field}: {first['msg']}; remove it, or write it anew with `hvit explain {path.parent} "
            f"IMAGES --check 50`"
        ) from error


def _checksum(run: Path) -> str:
    path = run / WEIGHTS
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
