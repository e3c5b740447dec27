"""What a weights file says about preparing images is taken only where it can be true."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.sampling import Sampling
from hvit.errors import UserError

OF_CLIPS = Preprocess((4, 32, 48), (0.5,), (0.25,), 0.9, "bilinear", Sampling(4, 2, "segments", 25.0))
OF_IMAGES = Preprocess((32, 48), (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))


@pytest.mark.parametrize("preprocess", [OF_CLIPS, OF_IMAGES, replace(OF_IMAGES, crop=1.0)])
def test_what_was_stored_is_what_was_meant(preprocess: Preprocess) -> None:
    stored = json.loads(json.dumps(asdict(preprocess)))
    assert stored_preprocess(stored, preprocess.input_size, "a file") == preprocess


HOSTILE: dict[str, dict[str, Any]] = {
    "nothing": {"mean": None},
    "an unknown field": {"secret": 1},
    "text as a number": {"crop": "0.9"},
    "text as a size": {"input_size": "ab"},
    "a truth value as a size": {"input_size": [True, 48]},
    "a fraction as a size": {"input_size": [32.0, 48.0]},
    "another size than the model's": {"input_size": [48, 48]},
    "no number": {"mean": [float("nan")] * 3},
    "infinity": {"std": [float("inf")] * 3},
    "a std that no float has": {"std": [1e-300] * 3},
    "a mean of another world": {"mean": [1e30] * 3},
    "two channels": {"mean": [0.5] * 2, "std": [0.5] * 2},
    "lists in lists": {"mean": [[0.5]] * 3},
    "an unknown interpolation": {"interpolation": "magic"},
    "a list as interpolation": {"interpolation": ["bilinear"]},
    "gigantic pictures": {"crop": 1e-9},
    "a list as sampling": {"sampling": [4]},
    "unknown sampling": {"sampling": {"num_frames": 4, "secret": 1}},
    "incomplete sampling": {"sampling": {"stride": 2}},
    "gigantic clips": {"sampling": {"num_frames": 10**9}},
    "more frames than the model takes": {"sampling": {"num_frames": 1000}},
    "no frames a second": {"sampling": {"num_frames": 4, "target_fps": 0}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_cannot_be_true_is_refused_and_the_file_is_named(kind: str) -> None:
    stored = json.loads(json.dumps(asdict(OF_IMAGES))) | HOSTILE[kind]
    with pytest.raises(UserError, match=r"^bad\.safetensors is damaged, its preprocess is not valid: ") as refusal:
        stored_preprocess(stored, (32, 48), "bad.safetensors")
    assert len(str(refusal.value).splitlines()) == 1


def test_fields_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(UserError, match="not all fields are there"):
        stored_preprocess({"input_size": [32, 48]}, (32, 48), "bad.safetensors")
