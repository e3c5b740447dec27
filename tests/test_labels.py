"""What a model's outputs stand for is stored with the weights, and what cannot be is refused."""

from __future__ import annotations

import pytest

from hvit.errors import UserError
from hvit.labels import LabelSpec, spec_from_json

SPECS = [
    LabelSpec("single", ("a", "b")),
    LabelSpec("multi", ("a", "b"), thresholds=(0.25, 0.5)),
    LabelSpec("ordinal", ("low", "high")),
    LabelSpec("regression", ("age", "weight"), mean=(40.0, 70.0), std=(10.0, 5.0)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_it_comes_back_from_json(spec: LabelSpec) -> None:
    assert spec_from_json(spec.as_json(), spec.names, 2, "the file") == spec


def test_single_labels_store_nothing_so_that_files_stay_as_they_were() -> None:
    assert SPECS[0].as_json() is None


@pytest.mark.parametrize(
    "stored",
    [
        5,
        {},
        {"kind": "other"},
        {"kind": "regression"},
        {"kind": "regression", "mean": [0, 0], "std": [1, 0]},
        {"kind": "regression", "mean": [0, 0, 0], "std": [1, 1, 1]},
        {"kind": "regression", "mean": [0, 10**400], "std": [1, 1]},
        {"kind": "multi", "thresholds": [0.5]},
        {"kind": "multi", "thresholds": ["0.5", 0.5]},
        {"kind": "multi", "thresholds": [float("nan"), 0.5]},
        {"kind": "ordinal", "mean": [0.0, 1.0]},
    ],
)
def test_a_hostile_file_is_refused(stored: object) -> None:
    with pytest.raises(UserError, match="the file is damaged"):
        spec_from_json(stored, ("a", "b"), 2, "the file")
