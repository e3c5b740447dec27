"""The report of a distilled run names its teachers."""

from __future__ import annotations

from hvit.report.distillation import distillation_section
from hvit.report.reading import Distillation, Run, Scores, TeacherScore


def run_with(scores: Scores | None, rows: list[dict[str, object]] | None = None) -> Run:
    return Run("run", {}, {}, rows or [], scores, {}, {}, [])


def test_teachers_their_scores_and_the_agreement_are_named() -> None:
    teachers = [TeacherScore(name="first <b>", top1=0.9), TeacherScore(name="second")]
    scores = Scores(count=4, distillation=Distillation(target="both", teachers=teachers))
    text = str(distillation_section(run_with(scores, [{"kind": "evaluate", "step": 1, "agreement": 0.75}])))
    assert "first &lt;b&gt;" in text
    assert "90.0" in text
    assert "the logits and the features" in text
    assert "75.0" in text


def test_other_runs_have_no_such_section() -> None:
    assert str(distillation_section(run_with(Scores(count=1)))) == str(distillation_section(run_with(None))) == ""
