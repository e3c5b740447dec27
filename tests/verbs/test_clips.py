"""Clips on disk: answers over time, pictures frame by frame, and a motion that only the order of frames shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.cli.main import main
from hvit.data.batches import evaluation_batches
from hvit.data.clips.lists import list_clips
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sampling import Sampling
from hvit.errors import UserError
from hvit.models.weights.open import open_weights
from hvit.recipes import get_recipe
from hvit.tasks.classify import Classify
from hvit.verbs import train
from hvit.verbs.classifier import open_classifier
from hvit.verbs.explain import explain_clips


def test_a_run_tells_its_clips_by_all_views_and_names_them(clip_run: Path, clip_folder: Path) -> None:
    scores = json.loads((clip_run / "scores.json").read_text())
    assert (scores["count"], scores["views"]) == (2, [3, 3])
    assert scores["multiply_adds"] == scores["model"]["multiply_adds"] > 0
    assert "3 x 3 views (space, time)" in (clip_run / "report.html").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (clip_run / "clips.jsonl").read_text().splitlines()]
    assert [line["right"] for line in lines] == [line["class"] == line["predicted"] for line in lines]
    assert {Path(line["clip"]).parent.parent for line in lines} == {clip_folder}
    assert scores["top1"] == np.mean([line["right"] for line in lines])


def test_the_map_over_time_adds_up_to_the_logit(clip_run: Path, clip_folder: Path, tmp_path: Path) -> None:
    classifier = open_classifier(clip_run)
    file = clip_folder / "light" / "1.npy"
    (answer,) = explain_clips(classifier, [file], [0, 1], 1, tmp_path, pytest.fail)
    clip = np.load(file)[Sampling(4, 2).of_view(12, 30.0, 0, 1)]
    logits = classifier.model(classifier.preprocess.tensor(clip)[None])[0]
    bias = classifier.model.head.bias
    for one in answer["classes"]:
        expected = logits[one["index"]] - bias[one["index"]]
        assert np.mean(one["over_time"]) == pytest.approx(expected.item(), abs=1e-4)
        segments = one["segments"]
        assert sum(segments["times"]) == pytest.approx(
            logits[one["index"]].item() - segments["removal"]["before"]["logit"], abs=1e-4
        )
    assert [Path(name).name.split("_", 1)[1] for name in answer["pictures"]] == [
        *("block_shapley.png", "block_shapley.gif", "cam.png", "cam.gif")
    ]
    strip, moving = answer["pictures"][:2]
    with Image.open(strip) as picture:
        assert picture.width > 600
    with Image.open(moving) as picture:
        assert picture.n_frames == 4


def test_unreadable_clips_are_named_and_the_others_go_on(
    clip_run: Path, clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with pytest.raises(SystemExit) as end:
        main(["predict", str(clip_run), str(tmp_path / "broken.npy"), str(clip_folder / "dark"), "--json"])
    printed = capsys.readouterr()
    assert end.value.code == 2
    assert len(printed.out.splitlines()) == 4
    assert "broken.npy" in printed.err
    with pytest.raises(SystemExit):
        main(["explain", str(clip_run), str(clip_folder / "dark"), "--methods", "gradcat"])
    assert "clips are explained by block_shapley and cam only" in capsys.readouterr().err
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="holds no clip"):
        list_clips((tmp_path / "nothing",))


@pytest.mark.slow
def test_with_frames_shuffled_only_chance_is_left_of_a_motion(tmp_path: Path) -> None:
    recipe = get_recipe("hiera_micro_moving_digits")
    loop = replace(recipe.loop, epochs=5, evaluate_every=5, workers=0, device="cpu")
    scores = train.train(replace(recipe, loop=loop), tmp_path / "run")
    assert scores["top1"] >= 0.95
    assert shuffled_accuracy(tmp_path / "run") < 0.35


def shuffled_accuracy(folder: Path) -> float:
    """Accuracy of a run of moving digits when the frames of every held-out clip are in random order."""
    opened = open_weights(folder)
    splits = open_data(get_recipe("hiera_micro_moving_digits").data, 0, 1, 8)
    draws = torch.Generator().manual_seed(0)
    batches = []
    for batch in evaluation_batches(splits.held_out, preprocess=Preprocess(**(opened.preprocess or {})), batch_size=50):
        orders = torch.stack([torch.randperm(8, generator=draws) for _ in batch["targets"]])
        images = batch["images"].gather(2, orders[:, None, :, None, None].expand_as(batch["images"]))
        batches.append({"images": images, "targets": batch["targets"]})
    task = Classify(opened.model, splits.classes, {})
    return task.evaluate(task.networks, batches)["top1"]
