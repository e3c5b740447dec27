"""The distilled recipes are those of the family on photos, with a teacher."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvit.recipes import get_recipe, header
from hvit.tasks.distill_settings import DistillConfig


@pytest.mark.parametrize("family", ["nest", "hiera", "vit"])
def test_only_the_teacher_is_new(family: str) -> None:
    distilled, usual = get_recipe(f"{family}_micro_distilled"), get_recipe(f"{family}_micro_folder")
    assert distilled.distill.teachers == ("runs/photos",)
    assert distilled.distill.token == (family == "vit")
    plain = replace(distilled, distill=DistillConfig(), name=usual.name, summary=usual.summary)
    assert plain == usual
    assert "--distill.teachers runs/photos" in header(distilled.name).command
