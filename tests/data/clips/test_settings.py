"""Options of clips that cannot be are refused when they are made."""

from __future__ import annotations

import pytest

from hvit.data.clips.settings import ClipData
from hvit.errors import UserError


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stride": 0}, "stride must be at least 1, not 0"),
        ({"target_fps": 0.0}, "target_fps must be above 0 and at most 1000"),
        ({"short_side": -1}, "short_side must be 0 or more"),
        ({"separator": ""}, "separator must not be empty"),
        ({"sampling": "segments", "temporal_views": 2}, "temporal_views must be 1, not 2"),
        ({"held_out_list": "val.csv"}, "need train_list"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ClipData(**options)
