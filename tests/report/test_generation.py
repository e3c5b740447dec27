"""The report of a run of generation: its distance under its true name, warnings, and samples."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.models.gan.sampling import MOST_COLUMNS
from hvit.report import generation, write_report
from tests.report.runs import (
    GAN_ROWS,
    GAN_SCORES,
    Page,
    make_game,
)


def test_a_run_of_generation_tells_its_distance_by_its_true_name_and_shows_what_it_makes(tmp_path: Path):
    page = Page(make_game(tmp_path / "run"))
    for words in (
        "Frechet distance in nest_micro_32 features 12.3 from 450 held-out images",
        "held-out images · between halves of the real ones 1.5",
        "Smallest on the way 10 at step 40 (epoch 2)",
        "Recognised 93.0 % of generated images",
        "Precision 70.0 % of generated images lie among real ones · recall 40.0 %",
        "Diversity 0.97 times the distance between two real images · to the nearest 0.80",
        "A column is a class: cat, dog, <i>bird.",
        "It warned at step 20; the first time: the generated images are nearly all alike.",
        "at a distance of 2 from the nearest training image, a held-out image at 1.6",
    ):
        assert words in page.text
    for words in ("FID", "accuracy", "What it gets right", "Why it decides", "Warning:"):
        assert words not in page.text
    assert page.images() == [
        "samples",
        "interpolation",
        "Frechet distance in nest_micro_32 features against images seen",
        "Losses against images seen",
        "Diversity, as multiples of real images against images seen",
        "Precision, recall, recognised against images seen",
        "Gradient penalty (R1) against images seen",
        "samples over time",
        "neighbours",
        "training images",
    ]


def test_a_collapsed_or_copying_generator_is_warned_of_above_its_pictures(tmp_path: Path):
    copying = {"sample_to_training": 0.1, "held_out_to_training": 1.6}
    scores = GAN_SCORES | {"warning": "the generated images are nearly all alike", "memorisation": copying}
    page = Page(make_game(tmp_path / "run", scores=scores))
    first, second = (
        page.text.index("Warning: the generated images are nearly all"),
        page.text.index("the generator copies"),
    )
    assert first < second < page.text.index("Samples, always of the same latents")
    text = Page(make_game(tmp_path / "unfinished", rows=GAN_ROWS[:3], scores=None)).text
    assert "Warning: the generated images are nearly all alike." in text
    assert "Frechet distance 150 between halves of the real ones 1.5" in text
    assert "not finished" in text


def test_a_run_of_generation_that_has_just_begun_is_readable(tmp_path: Path):
    text = Page(make_game(tmp_path / "run", rows=GAN_ROWS[:1], scores=None, images=())).text
    assert "Distance to real images — not measured yet" in text
    assert "There are no curves yet." in text
    assert "There are no pictures yet" in text
    assert "Memorisation" not in text
    with pytest.raises(UserError, match="damaged: distance"):
        write_report(make_game(tmp_path / "damaged", scores=GAN_SCORES | {"distance": math.inf}))


def test_the_report_names_columns_as_the_grids_are_laid(tmp_path: Path):
    assert generation.MOST_COLUMNS == MOST_COLUMNS
