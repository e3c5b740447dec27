"""The report of masked pretraining: how much is explained, probes, and pictures in place of classes."""

from __future__ import annotations

from pathlib import Path

from tests.report.runs import RECIPE, Page, make_run, row

MASKED = RECIPE | {"name": "hiera_micro_mae_cifar10", "model": {"family": "masked", "mask_ratio": 0.6}}
SCORES = {
    "loss": 0.4, "count": 4, "explained_variance": 0.655, "linear_probe": 0.512, "nearest_neighbours": 0.44,
    "classes": ["cat", "dog"],
}  # fmt: skip


def test_what_is_explained_and_both_probes_are_at_the_top_and_the_pictures_below(tmp_path: Path) -> None:
    run = make_run(tmp_path, MASKED, [row("start", 0)], SCORES, ("reconstructions.png", "feature_map.png"))
    page = Page(run)
    for words in ("Explained variance 65.5", "Linear probe 51.2", "Nearest neighbours 44", "What it reconstructs"):
        assert words in page.text.replace("\u00a0", " ")
    assert "few labels will do" in page.text
    assert {"reconstructions", "feature map"} <= set(page.images())


def test_a_run_that_has_just_begun_says_what_is_missing(tmp_path: Path) -> None:
    page = Page(make_run(tmp_path, MASKED, [row("start", 0)], None))
    assert "not measured yet" in page.text
    assert "There are no pictures yet" in page.text


def test_without_scores_the_last_evaluation_counts_and_without_labels_nothing_is_said_of_them(tmp_path: Path) -> None:
    rows = [row("start", 0), *(row("evaluate", step, explained_variance=step / 100) for step in (10, 20))]
    page = Page(make_run(tmp_path, MASKED, rows, None, ("feature_map.png",)))
    assert "Explained variance 20" in page.text.replace("\u00a0", " ")
    assert "Linear probe" not in page.text
    assert "few labels will do" not in page.text
