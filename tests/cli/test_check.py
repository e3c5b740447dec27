"""Options that have no meaning together with `--check`, or without it, are refused before anything is opened."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hvit.cli.check import check, refuse_others
from hvit.errors import UserError


def test_only_options_that_are_given_are_refused_and_all_of_them_are_named() -> None:
    refuse_others(True, True, {"--classes": False})
    refuse_others(False, False, {"--classes": True})
    with pytest.raises(UserError, match=r"omit --classes, --beam$"):
        refuse_others(True, False, {"--classes": True, "--level": False, "--beam": True})
    with pytest.raises(UserError, match="--places is for --check only"):
        refuse_others(False, True, {})


@pytest.mark.parametrize(
    ("takes_clips", "count", "words"), [(True, 10, "this model takes clips"), (False, 9, "10 or more; got 9")]
)
def test_clips_and_too_few_images_are_refused_at_once(takes_clips: bool, count: int, words: str) -> None:
    model: Any = SimpleNamespace(preprocess=SimpleNamespace(takes_clips=takes_clips))
    with pytest.raises(UserError, match=words):
        check(Path("run"), model, (), count, (), None, as_json=False)
