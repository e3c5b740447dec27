"""Experiments on the command line: what there is, how far it is, and what cannot be asked."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from hvit.cli.experiments import ACTIONS
from hvit.experiments import EXPERIMENTS

Run = Callable[..., tuple[int, str, str]]


def test_without_an_action_all_actions_are_explained(hvit: Run) -> None:
    status, out, _ = hvit("experiments")
    assert status == 0
    assert all(f"\n  {name}" in out for name in ACTIONS)


def test_nothing_has_begun_in_an_empty_folder(hvit: Run) -> None:
    status, out, _ = hvit("experiments", "status", "aggregation", "structure", "--seeds", "1", "--json")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["experiment"] for row in rows] == ["aggregation", "structure"]
    assert all(row["runs"] > 0 == row["done"] == row["begun"] == row["failed"] for row in rows)


def test_the_list_names_every_experiment_with_its_claim(hvit: Run) -> None:
    status, out, _ = hvit("experiments", "list", "--scale", "quick")
    assert status == 0
    assert all(name in out for name in EXPERIMENTS)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["run", "aggregation", "--jobs", "2", "--part", "0", "2"], "give --jobs or --part, not both"),
        (["run", "aggregation", "--jobs", "0"], "--jobs 1 or more"),
        (["run", "aggregation", "--seeds", "0"], "--seeds must be above 0; got 0"),
        (["tables"], "did you mean 'table'?"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(hvit: Run, given: list[str], sentence: str) -> None:
    status, out, err = hvit("experiments", *given)
    assert (status, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
