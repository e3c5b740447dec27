"""Run folders written by hand, and their pages read back, for tests of the report."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from hvit import pictures
from hvit.report import generation, write_report

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
        distinctness=0.01, recognised=0.1, warning="the generated images are nearly all alike"),
    row("train", 40, loss=1.2, discriminate_loss=1.2, penalise_loss=0.3, generate_loss=0.8, seconds=18.0),
    row("evaluate", 40, epoch=2.0, distance=10.0, distance_of_halves=1.5, diversity=0.9),
    row("finish", 40, epoch=2.0, seconds=20.0),
]  # fmt: skip


def make_game(folder: Path, **changes: Any) -> Path:
    images = tuple(f"{name}.png" for name in (*generation.PICTURES, "training_images"))
    return make_run(
        folder, **{"recipe": GAN_RECIPE, "rows": GAN_ROWS, "scores": GAN_SCORES, "images": images} | changes
    )


def sample(number: int, predicted: str, name: str = "birds/a.png") -> dict[str, Any]:
    return {
        "picture": f"mistake_{number}", "sample": name, "class": "cat", "predicted": predicted, "confidence": 0.987,
    }  # fmt: skip
