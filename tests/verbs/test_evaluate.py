"""A pretrained encoder is evaluated by its features where the data has labels, else by its reconstructions."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.cli.main import main
from hvit.data.images.folders import FolderData
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MaskedConfig
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.runs import scoring
from hvit.verbs import evaluate, train
from tests.processes import in_processes


def small(root: Path, in_channels: int = 3) -> Recipe:
    encoder = replace(
        HIERA_SIZES["hiera_micro_32"], dims=(8, 16, 32), depths=(1, 1, 1), heads=(1, 1, 1), in_channels=in_channels
    )
    recipe = get_recipe("hiera_micro_mae_folder")
    return replace(
        recipe,
        model=MaskedConfig(encoder, decoder_dim=8, decoder_depth=1, decoder_heads=1),
        data=FolderData(root=str(root), labels="auto"),
        loop=replace(recipe.loop, batch_size=4, epochs=2, evaluate_every=1, workers=0, device="cpu"),
    )


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat folder of pictures of odd sizes and kinds: colour, grey, a strip, a single pixel, a broken one."""
    root = tmp_path_factory.mktemp("unlabelled")
    random = np.random.default_rng(1)
    for number, size in enumerate([(40, 30), (9, 70), (1, 1), (64, 64), (33, 31), (500, 8), (20, 20), (12, 90)]):
        shape = size if number % 2 else (*size, 3)
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"no picture")
    return root


@pytest.mark.long
def test_a_labelled_run_is_probed_and_its_features_are_mapped(photo_folder: Path, tmp_path: Path) -> None:
    scores = train.train(small(photo_folder), tmp_path / "run")
    assert (tmp_path / "run/pictures/feature_map.png").stat().st_size > 2_000
    assert len(list((tmp_path / "run/reconstructions").iterdir())) == 2
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "Linear probe" in page
    assert "What it reconstructs" in page
    assert "What it gets right" not in page
    probed = evaluate.evaluate(tmp_path / "run")
    assert probed["loss"] == pytest.approx(scores["loss"])
    assert probed["trained_on"] == 10
    assert 0 <= probed["nearest_neighbours"] <= 1
    # Red and blue pictures differ in their mean: any features separate them.
    assert probed["linear_probe"] == 1.0


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.long
def test_an_unlabelled_dataset_of_odd_images_is_trained_on(unlabelled: Path, tmp_path: Path, in_channels: int) -> None:
    reported: dict[str, str] = {}
    scores = train.train(small(unlabelled, in_channels), tmp_path / "run", reported.update)
    assert "no labels" in reported["data"]
    assert "broken.png" in reported["notes"]
    assert scores["count"] == 2
    assert "nearest_neighbours" not in scores
    assert evaluate.evaluate(tmp_path / "run")["explained_variance"] == pytest.approx(scores["explained_variance"])
    assert "no labels" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_verb_prints_the_probes(photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.train(small(photo_folder), tmp_path / "run")
    main(["evaluate", str(tmp_path / "run")])
    assert "from 10 training images: nearest neighbours" in capsys.readouterr().out
    main(["evaluate", str(tmp_path / "run"), "--json"])
    assert json.loads(capsys.readouterr().out)["trained_on"] == 10


def scored(target: Path, out: Path, **options: object) -> None:
    """Work of a process: the scores of a run or of weights, which the first one writes."""
    scoring._BATCH = 2  # so that each process has batches, and not as many
    scores = evaluate.evaluate(target, device="cpu", **options)  # pyright: ignore[reportArgumentType]
    if os.environ.get("RANK", "0") == "0":
        out.write_text(json.dumps(scores))


@pytest.mark.long
def test_two_processes_score_as_one(
    weights: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_BATCH", 2)
    train.train(small(photo_folder), tmp_path / "run")
    for target, options in ((tmp_path / "run", {}), (weights, {"root": str(photo_folder), "auroc": True})):
        scored(target, tmp_path / "alone.json", **options)
        in_processes(2, partial(scored, **options), target, tmp_path / "together.json")
        alone, together = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("alone", "together"))
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            if isinstance(value, float):
                assert together[name] == pytest.approx(value, rel=1e-5), name
            else:
                assert together[name] == value or isinstance(value, dict | list), name
        assert together.get("predictions") == alone.get("predictions")
