"""What a report says of a classifier's probabilities: the reliability diagram, and when the model says unsure."""

from __future__ import annotations

from functools import partial

from hvit import pictures
from hvit.markup import Html, element, percent
from hvit.report.pieces import chart, quiet, section
from hvit.report.reading import Run, Unsure


def confidence_section(run: Run) -> Html:
    """Whether probabilities mean what they say; empty for runs that did not measure it."""
    found = run.scores.calibration if run.scores else None
    if found is None:
        return Html()
    before, after = ([one.model_dump() for one in bins] for bins in (found.before, found.after))
    diagram = chart(partial(pictures.draw_reliability, before, after), "Reliability diagram")
    same = "the same images" if found.measured_on != "test" else "the test images, which chose nothing"
    sentences = [
        f"The expected calibration error ({found.bins} bins of equal width) is {percent(found.error_after)} with "
        f"logits divided by the temperature {found.temperature:.3g}, and {percent(found.error_before)} without.",
        f"The temperature was fitted to {found.fitted_on:,} held-out {run.samples}, and the error measured on {same}"
        f"{'' if found.measured_on == 'test' else ', so that it is a little too good'}.",
    ]
    if found.unsure is not None:
        sentences.append(_unsure(found.unsure, run.samples))
    words = [quiet(sentence) for sentence in sentences]
    return section("What its probabilities are worth", element("div", diagram, class_="charts"), *words)


def _unsure(found: Unsure, samples: str) -> str:
    if not found.coverage:
        return (
            f"No probability keeps to {percent(found.wanted_error)} of wrong answers on the held-out {samples}: the "
            f"model always says unsure."
        )
    return (
        f"Below a probability of {percent(found.below)} the model says unsure, for at most "
        f"{percent(found.wanted_error)} of wrong answers: it answers {percent(found.measured_coverage)} of the "
        f"{samples} measured, and {percent(found.measured_error)} of these answers are wrong."
    )
