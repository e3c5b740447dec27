"""Claims about the report of a run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from hvit import pictures
from hvit.errors import UserError
from hvit.report import write_report
from hvit.report.page import flatten
from tests.report.runs import (
    HOSTILE,
    RECIPE,
    ROWS,
    SCORES,
    Page,
    make_run,
    row,
    sample,
)


def test_a_finished_run_is_told_at_a_glance(tmp_path: Path):
    page = Page(make_run(tmp_path / "run"))
    for words in (
        "nest_micro_digits",
        "A small NesT on real handwritten digits",
        "finished",
        "Held-out accuracy 75.0 % of 4 images · 95 % interval 30.1 to 95.4 %",
        "Best on the way 80.0 % at step 50 (epoch 2)",
        "Training time 1 min 22 s 900 images per second",
        "nest_micro_32 612 k parameters · 30.4 M multiply-adds per image",
        "Data digits 3 classes",
    ):
        assert words in page.text
    assert "not finished" not in page.text


def test_curves_classes_and_confusion_are_there(tmp_path: Path):
    page = Page(make_run(tmp_path / "run"))
    assert page.images() == [
        "Loss against epochs",
        "Accuracy against epochs",
        "Learning rate against epochs",
        "Confusion matrix",
    ]
    assert "cat 2 50.0 % 100.0 % 66.7 %" in page.text
    assert "never seen 0 — — —" in page.text
    assert "“cat” predicted as “dog”: once" in page.text


def test_with_many_classes_the_hardest_come_first_and_all_are_folded_up(tmp_path: Path):
    labels = list(range(100))
    scores = SCORES | {
        "count": 100,
        "classes": [f"kind {number}" for number in labels],
        "labels": labels,
        "predictions": [*labels[:99], 7],
    }
    page = Page(make_run(tmp_path / "run", scores=scores))
    assert "The hardest classes class images recall precision F1 kind 99 1 0.0 %" in page.text
    assert "All 100 classes" in page.text
    assert "details" in [tag for tag, _ in page.tags]


def test_explanations_are_shown_before_the_other_pictures_each_by_its_name(tmp_path: Path):
    page = Page(make_run(tmp_path / "run", images=("explain_3.png", "explain_mosaic_1.png", "all_digits.png")))
    assert page.images()[-3:] == ["image 3", "mosaic 1", "all digits"]
    found = "finds the quadrant of the one it is asked for in 98.0 % of 400 cases"
    assert found in page.text
    assert "With its sign flipped, as a control, it does in 1.0 %." in page.text
    assert page.text.index(found) < page.text.index("mosaic 1") < page.text.index("More pictures")


def test_every_field_of_the_plan_is_listed_under_its_command_line_name(tmp_path: Path):
    page = Page(make_run(tmp_path / "run"))
    for words in (
        "model.dims 32, 64, 128",
        "model.block_size none",
        "optimize.learning_rate_per_256 0.004",
        "optimize.schedule.warmup_epochs 2",
        "seed 42",
        "torch 2.15.0",
    ):
        assert words in page.text


def test_flatten_names_nested_fields_with_dots():
    nested = {"a": {"b": {"c": 1}, "d": [1, 2.5, "x"]}, "e": {}, "f": [[1, 2], [3]], "g": None, "h": True, "i": ""}
    assert flatten(nested) == {
        "a.b.c": "1",
        "a.d": "1, 2.5, x",
        "e": "{}",
        "f": "[[1, 2], [3]]",
        "g": "none",
        "h": "true",
        "i": "—",
    }


def test_the_commands_that_repeat_and_continue_the_run_are_printed(tmp_path: Path):
    run = make_run(tmp_path / "my run", rows=ROWS[:3])
    text = Page(run).text
    assert "hvit train nest_micro_digits --seed 42" in text
    assert "hvit resume 'my run'" in text
    (run / "environment.json").write_text(json.dumps({"command": ["hvit", "train", "x y", "--seed", "7"]}))
    assert "hvit train 'x y' --seed 7" in Page(run).text
    assert "hvit resume" not in Page(make_run(tmp_path / "finished")).text


def test_nothing_from_a_file_can_inject(tmp_path: Path, real_charts: None):
    hostile_fields = {HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}}
    recipe = {
        **hostile_fields,
        "name": HOSTILE,
        "summary": HOSTILE,
        "seed": HOSTILE,
        "model": {"family": HOSTILE, **hostile_fields},
        "data": {"kind": HOSTILE, "root": HOSTILE},
    }
    scores = SCORES | {"classes": [HOSTILE, HOSTILE, HOSTILE], "model": {"name": HOSTILE}}
    name = HOSTILE.replace("/", "-")
    run = make_run(tmp_path / name, recipe, scores=scores, images=(f"{name}.png", f"explain_{name}.png"))
    (run / "environment.json").write_text(json.dumps(hostile_fields | {"command": HOSTILE}))
    (run / "pictures" / f"no picture {name}.png").write_text(HOSTILE)
    page = Page(run)
    assert "<script" not in page.source
    allowed = {name for _, fields in page.tags for name in fields}
    assert not {name for name in allowed if name.startswith("on")}
    for tag, fields in page.tags:
        assert tag not in ("script", "iframe", "object", "link", "base", "form", "a")
        assert fields.get("src", "data:").startswith("data:")
        assert fields.get("srcset", "data:").startswith("data:")


def test_the_page_loads_nothing_and_forbids_loading(tmp_path: Path, real_charts: None):
    page = Page(make_run(tmp_path / "run", images=("explain_a.png",)))
    assert "http://" not in page.source
    assert "https://" not in page.source
    assert "@import" not in page.source
    assert "url(" not in page.source
    policies = [fields["content"] for tag, fields in page.tags if fields.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_chart_follows_the_readers_theme(tmp_path: Path):
    page = Page(make_run(tmp_path / "run"))
    sources = [fields for tag, fields in page.tags if tag == "source"]
    assert len(sources) == 4
    assert {fields["media"] for fields in sources} == {"(prefers-color-scheme: dark)"}
    for theme in (pictures.LIGHT, pictures.DARK):
        assert f"--paper: {theme.paper}" in page.source  # a chart's paper is its card's
        assert f"--ink: {theme.ink}" in page.source


def test_a_run_that_stopped_early_says_so(tmp_path: Path):
    page = Page(make_run(tmp_path / "run", rows=ROWS[:3], scores=None))
    assert "not finished" in page.text
    assert "its journal ends at step 50 (epoch 2)" in page.text
    assert "Held-out accuracy 80.0 % at step 50" in page.text
    assert "There is no per-class table yet" in page.text


def test_a_run_without_an_evaluation_says_so(tmp_path: Path):
    page = Page(make_run(tmp_path / "run", rows=ROWS[:2], scores=None))
    assert "Held-out accuracy — not measured yet" in page.text
    assert "It has not been evaluated on held-out data yet." in page.text
    assert page.images() == ["Loss against epochs", "Learning rate against epochs"]


def test_an_empty_run_says_that_nothing_has_happened(tmp_path: Path):
    run = make_run(tmp_path / "run", rows=[], scores=None)
    assert "Nothing has been recorded yet" in Page(run).text
    (run / "journal.jsonl").unlink()
    (run / "environment.json").unlink()
    shutil.rmtree(run / "pictures")
    text = Page(run).text
    assert "Nothing has been recorded yet" in text
    assert "There are no curves yet." in text


def test_a_resumed_run_says_where_and_the_later_line_counts(tmp_path: Path):
    again = row("evaluate", 50, epoch=2.0, loss=1.2, top1=0.6, top5=1.0)
    page = Page(make_run(tmp_path / "run", rows=[*ROWS[:3], row("resume", 40), again, *ROWS[3:]]))
    assert "The run was resumed at step 40 and finished at step 100." in page.text
    assert "Best on the way 75.0 %" in page.text


def test_the_page_is_replaced_in_one_go_and_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = make_run(tmp_path / "run")
    before = write_report(run).read_bytes()
    files = sorted(path.name for path in run.iterdir())
    (run / "journal.jsonl").write_text("")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"report\.html cannot be written: No space left on device"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert sorted(path.name for path in run.iterdir()) == files


def test_the_same_run_gives_the_same_page(tmp_path: Path, real_charts: None):
    run = make_run(tmp_path / "run", images=("explain_a.png",))
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_the_worst_mistakes_are_shown_with_name_class_and_verdict(tmp_path: Path):
    mistakes = [sample(1, "dog"), sample(2, "dog", "b\u202egpj.png"), sample(9, "dog", "gone.png")]
    shown = {"mistakes": mistakes, "explained_samples": [sample(1, "cat") | {"picture": "explain_1"}]}
    images = ("mistake_1.png", "mistake_2.png", "explain_1.png", "dark/explain_1.png")
    page = Page(make_run(tmp_path / "run", scores=SCORES | shown, images=images))
    assert "The worst mistakes" in page.text
    assert "birds/a.png wrong true class cat, predicted dog (98.7" in page.text
    assert r"b\u202egpj.png wrong" in page.text
    assert "gone.png" not in page.text, "a picture that is not there"
    assert "birds/a.png right true class cat, predicted cat" in page.text
    dark = [fields for tag, fields in page.tags if tag == "source" and "image/png" in fields["srcset"]]
    assert [fields["media"] for fields in dark] == ["(prefers-color-scheme: dark)"]
    assert "More pictures" not in page.text


def test_a_run_without_mistakes_says_so_and_an_older_run_says_nothing(tmp_path: Path):
    without = Page(make_run(tmp_path / "run", scores=SCORES | {"mistakes": []}))
    assert "No held-out image was misclassified." in without.text
    assert "worst mistakes" not in Page(make_run(tmp_path / "old")).text


def test_a_report_of_clips_says_clips(tmp_path: Path):
    recipe = RECIPE | {"model": {"family": "hiera", "input_size": [16, 64, 64]}}
    page = Page(make_run(tmp_path / "run", recipe=recipe))
    for words in ("of 4 clips", "900 clips per second", "multiply-adds per clip", "class clips recall"):
        assert words in page.text
    assert not re.search(r"\bimages?\b", page.text)


@pytest.mark.parametrize(("classes", "drawn"), [(5, False), (6, True)])
def test_top_5_is_drawn_from_six_classes_on(classes: int, drawn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[bool] = []
    draw = pictures.draw_curves
    monkeypatch.setattr(
        pictures,
        "draw_curves",
        lambda rows, *rest, **more: seen.append("top5" in str(rows)) or draw(rows, *rest, **more),
    )
    Page(make_run(tmp_path / "run", recipe=RECIPE | {"model": {"family": "nest", "num_classes": classes}}))
    assert set(seen) == {drawn}
