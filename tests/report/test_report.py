"""Claims about the report of a run."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit import pictures
from hvit.errors import UserError
from hvit.models.gan.sampling import MOST_COLUMNS
from hvit.report import generation, write_report
from hvit.report.page import flatten

HOSTILE = "\"'><script>alert(1)</script><img src=https://example.com/x onerror=alert(1)>&amp;"
RECIPE = {
    "name": "nest_micro_digits",
    "summary": "A small NesT on real handwritten digits",
    "model": {"family": "nest", "dims": [32, 64, 128], "block_size": None},
    "data": {"kind": "digits", "canvas": 32},
    "augment": {"crop": "none"},
    "optimize": {"learning_rate_per_256": 0.004, "schedule": {"warmup_epochs": 2.0}},
    "loop": {"epochs": 4},
    "seed": 42,
}
SCORES = {
    "top1": 0.75,
    "top5": 1.0,
    "loss": 0.5,
    "count": 4,
    "classes": ["cat", "dog", "never seen"],
    "labels": [0, 0, 1, 1],
    "predictions": [0, 1, 1, 1],
    "explanations": {"quadrant_hits": 0.98, "asked": 400, "mosaics": 100, "flipped_sign": 0.01},
    "model": {"name": "nest_micro_32", "parameters": 612042, "multiply_adds": 30_400_000},
}


def row(kind: str, step: int, **values: Any) -> dict[str, Any]:
    return {"kind": kind, "step": step, **values}


ROWS = [
    row("start", 0, time="2025-01-01T10:00:00"),
    row("train", 50, epoch=2.0, loss=1.5, learning_rate=1e-3, images_per_second=800.0, seconds=40.0),
    row("evaluate", 50, epoch=2.0, loss=1.2, top1=0.8, top5=1.0, seconds=41.0),
    row("train", 100, epoch=4.0, loss=1.1, learning_rate=1e-4, images_per_second=900.0, seconds=80.0),
    row("evaluate", 100, epoch=4.0, loss=1.0, top1=0.75, top5=1.0, seconds=81.0),
    row("finish", 100, seconds=82.0),
]


@pytest.fixture
def real_charts() -> None:
    """For tests that want the charts' own contents."""


@pytest.fixture(autouse=True)
def quick_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn, but their slow writing as SVG is left out where a test does not look at it."""
    if "real_charts" not in request.fixturenames:
        monkeypatch.setattr(pictures, "figure_to_svg", lambda figure: "<svg/>")


def make_run(
    folder: Path,
    recipe: dict[str, Any] = RECIPE,
    rows: list[dict[str, Any]] = ROWS,
    scores: dict[str, Any] | None = SCORES,
    images: tuple[str, ...] = (),
) -> Path:
    (folder / "pictures").mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.15.0"}))
    (folder / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores))
    picture = pictures.figure_to_png(pictures.draw_image_grid([np.eye(8)], ["a digit"], 1), 20)
    for name in images:
        (folder / "pictures" / name).parent.mkdir(exist_ok=True)
        (folder / "pictures" / name).write_bytes(picture)
    return folder


class Page(HTMLParser):
    """The text of a page, and its tags with their attributes."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.source = write_report(run).read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        assert not self.open, f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("p", "td", "th", "dd", "dt", "h1", "h2", "h3", "li", "pre"):
            self.words.append(" ")
        if tag not in ("meta", "img", "source", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def images(self) -> list[str]:
        return [fields["alt"] for tag, fields in self.tags if tag == "img"]


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


def test_a_torn_last_line_is_normal_and_a_torn_middle_line_is_mentioned(tmp_path: Path):
    run = make_run(tmp_path / "run")
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    assert "Left out" not in Page(run).text
    with (run / "journal.jsonl").open("a") as file:
        file.write("\n" + json.dumps(ROWS[-1]) + "\n")
    assert "Left out: 1 line of journal.jsonl that cannot be read (line 7)." in Page(run).text


def test_values_that_are_not_finite_leave_the_report_readable(tmp_path: Path):
    broken = [
        row("train", 60, epoch=2.4, loss=math.nan, learning_rate=None, seconds="long"),
        row("evaluate", 60, epoch=2.4, loss=math.inf, top1=math.nan),
    ]
    page = Page(make_run(tmp_path / "run", rows=[*ROWS[:3], *broken], scores=None))
    assert "Held-out accuracy 80.0 % at step 50" in page.text
    assert "nan" not in page.text


def test_files_that_are_no_pictures_are_left_out_and_named(tmp_path: Path):
    run = make_run(tmp_path / "run")
    (run / "pictures" / "explain_empty.png").touch()
    (run / "pictures" / "folder.png").mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n")
    (run / "pictures" / "link.png").symlink_to(secret)
    page = Page(run)
    assert "Left out, because they are no PNG pictures: explain_empty.png, folder.png, link.png." in page.text
    assert len(page.images()) == 4


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("recipe.json", "{", "recipe.json is damaged"),
        ("recipe.json", "[1, 2]", "must hold a JSON object, not list"),
        ("recipe.json", "[" * 100_000, "recipe.json is damaged"),
        ("recipe.json", "\udcff", "recipe.json is damaged"),
        ("environment.json", "", "environment.json is damaged"),
        ("journal.jsonl", "PK\x03\x04\nnot\na journal\n", "none of its 3 lines can be read"),
        ("scores.json", "not JSON", "scores.json is damaged"),
        ("scores.json", json.dumps(SCORES | {"top1": "high"}), "scores.json is damaged: top1"),
        ("scores.json", json.dumps(SCORES | {"top1": float("nan")}), "scores.json is damaged: top1"),
        ("scores.json", json.dumps(SCORES | {"count": 0}), "scores.json is damaged: count"),
        ("scores.json", json.dumps(SCORES | {"labels": [0, 1]}), "do not fit together"),
        ("scores.json", json.dumps(SCORES | {"labels": [0, 0, 1, 3]}), "do not fit together"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_written(tmp_path: Path, name: str, content: str, sentence: str):
    run = make_run(tmp_path / "run")
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"it has no recipe\.json"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="there is no folder"):
        write_report(tmp_path / "file")


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


GAN_RECIPE = RECIPE | {
    "name": "nest_gan_digits_32",
    "model": {"family": "gan", "generator": {"num_classes": 3, "dims": [8, 8]}, "extractor": "runs/demo"},
    "loop": {"batch_size": 64},
}
GAN_SCORES = {
    "count": 450,
    "measure": "Frechet distance in nest_micro_32 features",
    "features": {"name": "nest_micro_32"},
    "distance": 12.34,
    "distance_of_halves": 1.5,
    "split": "held out",
    "reference_count": 450,
    "precision": 0.7,
    "recall": 0.4,
    "recognised": 0.93,
    "diversity": 0.97,
    "distinctness": 0.8,
    "collapsed": False,
    "loss": 1.2,
    "generator_loss": 0.8,
    "classes": ["cat", "dog", "<i>bird"],
    "memorisation": {"sample_to_training": 2.0, "held_out_to_training": 1.6},
    "model": {"name": "nest_generator_digits_32", "parameters": 691_889, "multiply_adds": 24_000_000},
}
GAN_ROWS = [
    row("start", 0),
    row("train", 20, loss=1.3, discriminate_loss=1.3, penalise_loss=0.2, generate_loss=0.7, seconds=9.0),
    row("evaluate", 20, epoch=1.0, distance=150.0, distance_of_halves=1.5, diversity=0.02, recall=0.1, precision=0.2,
        distinctness=0.01, recognised=0.1, warning="the made images are nearly all alike"),
    row("train", 40, loss=1.2, discriminate_loss=1.2, penalise_loss=0.3, generate_loss=0.8, seconds=18.0),
    row("evaluate", 40, epoch=2.0, distance=10.0, distance_of_halves=1.5, diversity=0.9),
    row("finish", 40, epoch=2.0, seconds=20.0),
]  # fmt: skip


def make_game(folder: Path, **changes: Any) -> Path:
    images = tuple(f"{name}.png" for name in (*generation.PICTURES, "training_images"))
    return make_run(
        folder, **{"recipe": GAN_RECIPE, "rows": GAN_ROWS, "scores": GAN_SCORES, "images": images} | changes
    )


def test_a_run_of_generation_tells_its_distance_by_its_true_name_and_shows_what_it_makes(tmp_path: Path):
    page = Page(make_game(tmp_path / "run"))
    for words in (
        "Frechet distance in nest_micro_32 features 12.3 from 450 held-out images",
        "held-out images · between halves of the real ones 1.5",
        "Smallest on the way 10 at step 40 (epoch 2)",
        "Recognised 93.0 % of made images",
        "Precision 70.0 % of made images lie among real ones · recall 40.0 %",
        "Diversity 0.97 times the distance between two real images · to the nearest 0.80",
        "A column is a class: cat, dog, <i>bird.",
        "It warned at step 20; the first time: the made images are nearly all alike.",
        "at a distance of 2 from the nearest training image, a held-out image at 1.6",
    ):
        assert words in page.text
    for words in ("FID", "accuracy", "What it gets right", "Why it decides", "Warning:"):
        assert words not in page.text
    assert page.images() == [
        "samples",
        "interpolation",
        "Frechet distance in nest_micro_32 features against images seen",
        "Losses of the game against images seen",
        "Diversity, as multiples of real images against images seen",
        "Precision, recall, recognised against images seen",
        "Penalty of steepness (R1) against images seen",
        "samples over time",
        "neighbours",
        "training images",
    ]


def test_a_collapsed_or_copying_generator_is_warned_of_above_its_pictures(tmp_path: Path):
    copying = {"sample_to_training": 0.1, "held_out_to_training": 1.6}
    scores = GAN_SCORES | {"warning": "the made images are nearly all alike", "memorisation": copying}
    page = Page(make_game(tmp_path / "run", scores=scores))
    first, second = page.text.index("Warning: the made images are nearly all"), page.text.index("the generator copies")
    assert first < second < page.text.index("What it makes")
    text = Page(make_game(tmp_path / "unfinished", rows=GAN_ROWS[:3], scores=None)).text
    assert "Warning: the made images are nearly all alike." in text
    assert "Frechet distance 150 between halves of the real ones 1.5" in text
    assert "not finished" in text


def test_a_run_of_generation_that_has_just_begun_is_readable(tmp_path: Path):
    text = Page(make_game(tmp_path / "run", rows=GAN_ROWS[:1], scores=None, images=())).text
    assert "Distance to real images — not measured yet" in text
    assert "There are no curves yet." in text
    assert "There are no pictures yet" in text
    assert "Anew or by heart" not in text
    with pytest.raises(UserError, match="damaged: distance"):
        write_report(make_game(tmp_path / "damaged", scores=GAN_SCORES | {"distance": math.inf}))


def test_the_report_names_columns_as_the_grids_are_laid(tmp_path: Path):
    assert generation.MOST_COLUMNS == MOST_COLUMNS


def sample(number: int, predicted: str, name: str = "birds/a.png") -> dict[str, Any]:
    return {
        "picture": f"mistake_{number}", "sample": name, "class": "cat", "predicted": predicted, "confidence": 0.987,
    }  # fmt: skip


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


@pytest.mark.parametrize("name", ["recipe.json", "environment.json", "journal.jsonl", "scores.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling", "device"])
def test_what_is_no_file_is_refused_at_once(name: str, kind: str, tmp_path: Path):
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    make = {
        "fifo": lambda path: os.mkfifo(path),
        "folder": lambda path: path.mkdir(),
        "dangling": lambda path: path.symlink_to("nowhere"),
        "device": lambda path: path.symlink_to("/dev/zero"),
    }
    make[kind](run / name)
    with pytest.raises(UserError, match=f"{name} is not a regular file"):
        write_report(run)


def test_a_picture_that_is_no_file_is_left_out(tmp_path: Path):
    run = make_run(tmp_path / "run")
    os.mkfifo(run / "pictures" / "waits.png")
    assert "no PNG pictures: waits.png" in Page(run).text
