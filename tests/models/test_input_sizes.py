"""The input size of weights is read where programs state it."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from hvit.models.input_sizes import grid_at, input_size_beside, square, stated_input_size, with_input_size


@pytest.mark.parametrize(
    ("loaded", "size"),
    [
        ({"args": Namespace(img_size=192)}, (192, 192)),
        ({"config": {"image_size": [96, 128]}}, (96, 128)),
        ({"pretrained_cfg": {"input_size": (3, 224, 224)}}, (224, 224)),
        ({"args": {"img_size": -1}}, None),
        ({"args": {"img_size": "large"}}, None),
        (with_input_size({}, (64, 32)), (64, 32)),
    ],
)
def test_the_size_is_found_where_it_is_stated(loaded: Any, size: tuple[int, int] | None) -> None:
    assert stated_input_size(loaded) == size


def test_a_config_in_the_same_folder_states_it(tmp_path: Path) -> None:
    assert input_size_beside(tmp_path / "model.safetensors") is None
    (tmp_path / "config.json").write_text(json.dumps({"image_size": 256}))
    assert input_size_beside(tmp_path / "model.safetensors") == (256, 256)


def test_tokens_are_laid_out_by_the_input() -> None:
    assert grid_at(512, (64, 128), (4, 4)) == (16, 32)
    assert grid_at(511, (64, 128), (4, 4)) is None
    assert (square(49), square(50)) == ((7, 7), None)
