"""The part of a report that a run of distillation has: who taught, and how the student compares."""

from __future__ import annotations

from hvit.markup import NOTHING, Html, element, percent
from hvit.report.pieces import number_in, quiet, section
from hvit.report.reading import Run


def distillation_section(run: Run) -> Html:
    """The teachers with their own accuracy, and the share of images to which student and teachers give one class."""
    scores = run.scores
    if scores is None or scores.distillation is None:
        return Html()
    lines = [
        element("tr", element("th", one.name, scope="row"), element("td", percent(one.top1), class_="number"))
        if one.top1 is not None
        else element("tr", element("th", one.name, scope="row"), element("td", NOTHING, class_="number"))
        for one in scores.distillation.teachers
    ]
    head = element("tr", element("th", "teacher", scope="col"), element("th", "held-out accuracy", scope="col"))
    evaluated = run.of_kind("evaluate")
    agreement = number_in(evaluated[-1], "agreement") if evaluated else None
    words = f"The student was trained on the {scores.distillation.target} of its teachers."
    if scores.distillation.target == "both":
        words = "The student was trained on the logits and the features of its teachers."
    if agreement is not None:
        words += f" It gives {percent(agreement)} of the held-out {run.samples} the class that they give."
    table = element("table", element("thead", head), element("tbody", *lines), class_="classes")
    return section("What the teachers reach", quiet(words), element("div", table, class_="scroll"))
