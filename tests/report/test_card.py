"""Claims about the model card of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hvit.data.clips.settings import ClipData
from hvit.data.images.cifar import CifarData
from hvit.data.images.folders import FolderData
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.report.card import About, model_card, pipeline_tag
from hvit.report.reading import read_run
from tests.report.runs import RECIPE, SCORES, make_run

ABOUT = About("anna/digits", "apache-2.0", "nest_micro_32", False)
CALIBRATION = {
    "temperature": 1.5, "bins": 15, "fitted_on": 4, "measured_on": "held-out", "error_before": 0.13,
    "error_after": 0.04, "before": [], "after": [],
    "unsure": {"below": 0.6, "wanted_error": 0.05, "coverage": 0.9, "error": 0.04, "measured_coverage": 0.8,
               "measured_error": 0.03},
}  # fmt: skip


def card(
    folder: Path, scores: dict[str, Any] = SCORES, about: About = ABOUT, recipe: Recipe | None = None, **fields: Any
) -> str:
    run = read_run(make_run(folder / "run", {**RECIPE, **fields}, scores=scores))
    plan = {"plan": {"data": "folder: 8 images to train on, 4 held out, 3 classes"}}
    return model_card(run, recipe or get_recipe("nest_micro_digits"), plan, about)


def test_a_card_has_scores_with_intervals_calibration_and_the_explanation_check(tmp_path: Path) -> None:
    counts = {"training_counts": [300, 200, 3], "calibration": CALIBRATION}
    text = card(tmp_path, SCORES | counts)
    for words in (
        "says which of 3 classes an image shows",
        "folder: 8 images to train on, 4 held out, 3 classes.",
        "| cat | 300 | 2 |",
        "| top-1 accuracy | 75.0 % | 30.1 % to 95.4 % |",
        "| cat | 2 | 50.0 % | 9.5 % to 90.5 % | 100.0 % |",
        "temperature 1.5, which was fitted to 4 held-out images",
        "calibration error is 4.0 %, and 13.0 % without it",
        "Below a probability of 60.0 % `hvit predict` says unsure",
        "its quadrant in 98.0 % of 400 cases (with the sign flipped 1.0 %)",
        "Classes with fewer than 20 images to train on: never seen.",
        'hvit.from_pretrained("anna/digits")',
        "hvit train nest_micro_digits",
    ):
        assert words in " ".join(text.split()), words
    assert "No licence" not in text
    assert ModelCard(text).data.tags == ["hvit", "nest"]
    of_timm = replace(ABOUT, architecture="timm/tf_efficientnet_lite0")
    assert ModelCard(card(tmp_path / "timm", about=of_timm)).data.tags == ["hvit", "timm"]
    assert "No licence is stated" in card(tmp_path / "none", about=replace(ABOUT, licence=None))


def test_only_data_that_the_hub_has_is_named(tmp_path: Path) -> None:
    for number, (data, name) in enumerate({
        CifarData(kind="cifar10"): ["uoft-cs/cifar10"],
        FolderData(root="/home/anna/photos"): None,
        FolderData(table="hf:ylecun/mnist:plain"): ["ylecun/mnist"],
    }.items()):  # fmt: skip
        text = card(tmp_path / str(number), recipe=replace(get_recipe("nest_micro_digits"), data=data))
        assert ModelCard(text).data.datasets == name


def test_what_a_model_started_from_is_stated(tmp_path: Path) -> None:
    recipe = get_recipe("nest_micro_digits")
    tiny = replace(recipe, weights="timm", model=get_recipe("nest_tiny_imagenet").model)
    text = card(tmp_path / "timm", recipe=tiny)
    assert ModelCard(text).data.base_model == "timm/nest_tiny_jx.goog_in1k"
    assert "whose licence applies to what is made of it" in text
    text = card(tmp_path / "hub", recipe=replace(recipe, weights="hf:bob/encoder@" + "a" * 40))
    assert ModelCard(text).data.base_model == "bob/encoder"
    text = card(tmp_path / "file", recipe=replace(recipe, weights="/home/anna/encoder.pth"))
    assert "a weights file of the owner" in text
    assert "anna/encoder" not in text


@pytest.mark.parametrize(
    ("scores", "model", "tag", "words"),
    [
        ({"label_kind": "multi", "mean_average_precision": 0.5}, {}, "image-classification", "sigmoid()"),
        ({"label_kind": "regression", "mae": 2.0, "r2": 0.5}, {}, None, "labels.std"),
        ({"explained_variance": 0.4}, {"family": "masked"}, "image-feature-extraction", "hvit embed"),
        ({"distance": 3.0, "measure": "FID"}, {"family": "gan"}, "unconditional-image-generation", "hvit generate"),
        ({"top1": 0.5}, {"input_size": [16, 224, 224]}, "video-classification", "CLIPS"),
    ],
)  # fmt: skip
def test_every_kind_of_run_has_a_card(
    scores: dict[str, Any], model: dict[str, Any], tag: str | None, words: str, tmp_path: Path
) -> None:
    found = {"count": 4, "classes": ["cat", "dog", "cow"], **scores}
    fields = {"model": {"family": "nest", "input_size": [32, 32], **model}}
    text = card(tmp_path, found, **fields)
    assert words in text
    assert ModelCard(text).data.pipeline_tag == tag
    assert pipeline_tag(read_run(tmp_path / "run")) == tag
    assert ModelCard(text).data.eval_results


def test_names_of_classes_cannot_break_the_card(tmp_path: Path) -> None:
    text = card(tmp_path, SCORES | {"classes": ["a | b", "<img src=x>", "c\nd"]})
    assert "| a \\| b | 2 |" in text
    assert "\\<img src=x\\>" in text
    assert "| c d |" in text


def test_clips_are_called_clips(tmp_path: Path) -> None:
    recipe = replace(get_recipe("hiera_micro_actions"), data=ClipData(root="/clips"))
    text = card(tmp_path, recipe=recipe, model={"family": "hiera", "input_size": [16, 224, 224]})
    assert "a clip shows" in text
