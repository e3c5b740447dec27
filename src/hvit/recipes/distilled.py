"""Runs of distillation: small models that are trained on what a larger pretrained one says to their images."""

from __future__ import annotations

from dataclasses import replace

from hvit.recipe import Recipe
from hvit.recipes import micro
from hvit.recipes.named import Named, named
from hvit.tasks.distill_settings import DistillConfig

_TEACHER = "runs/photos"
_ROWS = (
    ("nest_micro_folder", "nest_micro_distilled", DistillConfig(teachers=(_TEACHER,))),
    ("hiera_micro_folder", "hiera_micro_distilled", DistillConfig(teachers=(_TEACHER,))),
    (
        "vit_micro_folder",
        "vit_micro_distilled",
        DistillConfig(teachers=(_TEACHER,), token=True, hard=True, label_weight=0.5),
    ),
)


def _distilled(usual: Recipe, name: str, how: DistillConfig) -> Named:
    """A classifier's run on photos, with a teacher."""
    summary = f"{usual.summary.partition(',')[0]}, distilled from a larger model"
    recipe = replace(usual, name=name, summary=summary, distill=how)
    token = "with DeiT's distillation token: a second head for the teacher's decision" if how.token else ""
    return named(
        recipe,
        claim=token or "with few labels, better than training on these labels alone",
        cost=f"two to three times {usual.name}: the teacher sees every crop, too",
        expected="depends on the photos and the teacher",
        source="ours, after arXiv 2106.05237" + (" and 2012.12877" if how.token else ""),
        options=f"--distill.teachers {_TEACHER} --data.root DIR",
    )


_USUAL = {one.recipe.name: one.recipe for one in micro.RECIPES}
RECIPES = tuple(_distilled(_USUAL[usual], name, how) for usual, name, how in _ROWS)
