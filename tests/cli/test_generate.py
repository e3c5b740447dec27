"""Generating on the command line: pictures, and one sentence for what cannot be drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hvit.models.gan.config import build_generator
from hvit.models.weights.save import save_weights
from tests.verbs.small_generator import NEST, pixels

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a generator without classes, in colour."""
    path = tmp_path_factory.mktemp("plain") / "weights.safetensors"
    save_weights(build_generator(replace(NEST, out_channels=3)), path)
    return path


@pytest.fixture(scope="module")
def digits_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a generator of the ten digits."""
    path = tmp_path_factory.mktemp("digits") / "weights.safetensors"
    save_weights(build_generator(replace(NEST, num_classes=10)), path, classes=tuple("0123456789"))
    return path


def test_generators_without_classes_paint_in_colour(hvit: Run, plain_weights: Path) -> None:
    status, out, _ = hvit("generate", plain_weights, "--num", "9", "--json", "--columns", "4")
    assert status == 0
    assert json.loads(out)["classes"] == []
    assert pixels("generated/samples.png").shape == (3 * 66 - 2, 4 * 66 - 2, 3)
    status, _, err = hvit("generate", plain_weights, "--classes", "3")
    assert status == 2
    assert "without classes" in err


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (["--num", "0"], "got 0"),
        (["--num", "-5"], "got -5"),
        (["--num", "10000000000000000"], "1 to 1,000,000"),
        (["--num", "500000"], "a picture takes 8,192 samples of 8 x 8 at most"),
        (["--classes", "ten"], "there is no class 'ten'"),
        (["--classes", "10"], "#0 to #9 by number"),
        (["--columns", "0"], "1 column or more"),
        (["--interpolations", "-1"], "interpolations are 0 or more"),
        (["--interpolations", "100000"], "a picture takes 1,024 interpolations"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence_and_nothing_is_written(
    hvit: Run, digits_weights: Path, tmp_path: Path, fields: list[str], sentence: str
) -> None:
    status, out, err = hvit("generate", digits_weights, *fields)
    assert status == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not out
    assert not list(tmp_path.iterdir())
