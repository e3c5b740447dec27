"""What a report says of the weights that a run delivers: of which step they are, and what choosing them was worth."""

from __future__ import annotations

from hvit.report.reading import Delivered, Run


def delivery_sentences(run: Run) -> list[str]:
    """Sentences on the weights in the run folder; none where they are those of the last step."""
    found = run.scores.delivered if run.scores else None
    if found is None:
        return []
    if found.keep == "best":
        what = (
            f"The weights are those of step {found.best_step or found.last_step:,}, the best on the validation images"
        )
    else:
        what = f"The weights are the mean of those of {found.evaluations or 0:,} evaluations"
    if found.best_step == found.last_step:
        return [f"{what}, which is the last step."]
    sentences = [f"{what}: {_compared(found, found.validation, found.last_validation)}."]
    if found.test is not None and found.last_test is not None:
        sentences.append(f"On the test images, which chose nothing: {_compared(found, found.test, found.last_test)}.")
    elif found.keep == "best":
        sentences.append("The same images chose them, so that the score is a little too good.")
    return sentences


def _compared(found: Delivered, delivered: float, last: float) -> str:
    return f"{found.score} {delivered:.4g}, and {last:.4g} for the last step ({found.last_step:,})"
