"""Preprocessing of another input than the model's is refused, when it is written and when it is read."""

from __future__ import annotations

import pytest

from hvit.errors import UserError
from hvit.models.nest.config import NestConfig
from hvit.models.weights.header import check_preprocess


def test_the_input_size_of_the_preprocessing_is_the_models() -> None:
    check_preprocess(None, NestConfig(), "the file")
    check_preprocess({"input_size": [224, 224]}, NestConfig(), "the file")
    with pytest.raises(UserError, match=r"the file prepares images for input_size \[32, 32\]"):
        check_preprocess({"input_size": [32, 32]}, NestConfig(), "the file")
