"""A run of classification takes its number of classes from the data, and says what it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hvit.data.images.digits import DigitsData
from hvit.data.open import Splits, open_data
from hvit.errors import UserError
from hvit.recipe import with_classes_of_the_data
from hvit.runs.classification import Classification
from tests.verbs.tiny import RECIPE, TINY


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DigitsData(canvas=8), 0, 1)


def test_the_number_of_classes_is_the_datas_or_has_to_be(splits: Splits) -> None:
    kind = Classification()
    fitted: Any = kind.fit_to_data(with_classes_of_the_data(RECIPE), splits).model
    assert fitted.num_classes == 10
    assert kind.fit_to_data(RECIPE, splits) == RECIPE
    with pytest.raises(UserError, match="set num_classes to 10"):
        kind.fit_to_data(replace(RECIPE, model=replace(TINY, num_classes=7)), splits)


@pytest.mark.parametrize("classes", [(), ("only",)])
def test_data_without_classes_to_choose_from_are_refused(splits: Splits, classes: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="no labels, or one class only"):
        Classification().fit_to_data(RECIPE, replace(splits, classes=classes))


def test_the_plan_says_how_large_the_model_is() -> None:
    kind = Classification()
    line = kind.describe(RECIPE)["model"]
    parameters = sum(weight.numel() for weight in kind.build(RECIPE).parameters())
    assert f"{parameters:,} parameters" in line
    assert line.endswith("on 1x8x8")
