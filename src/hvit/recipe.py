"""What a run is: every choice of it in one frozen, typed tree, written to JSON and read back strictly."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hvit.bounds import check_bounds
from hvit.data.augment_settings import AugmentConfig
from hvit.data.clips import packaged
from hvit.data.open import CifarData, ClipData, DigitsData, FashionData, FolderData, MovingDigitsData
from hvit.errors import UserError
from hvit.files import JsonObject, absolute_path, read_whole, write_text
from hvit.markup import shown
from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.clip_baselines import ClipBaselineConfig
from hvit.models.gan.config import GanConfig
from hvit.models.hiera.config import HieraConfig
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.probe import ProbeConfig
from hvit.models.timm_encoder import TimmConfig
from hvit.renames import rename
from hvit.run_names import GIVEN_TABLE, RECIPE
from hvit.tasks.confidence import ConfidenceConfig
from hvit.tasks.distill_settings import DistillConfig
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """A run's plan. `hvit train NAME --field value` changes any field of a named recipe."""

    name: str
    """The recipe this run started from."""
    summary: str
    """What the run does, in one sentence."""
    model: Annotated[
        NestConfig
        | MvitConfig
        | HieraConfig
        | VitConfig
        | ResnetConfig
        | TimmConfig
        | ClipBaselineConfig
        | MaskedConfig
        | GanConfig
        | ProbeConfig,
        Field(discriminator="family"),
    ]
    """The model's sizes, for generation those of both networks; the number of classes follows from the data."""
    data: Annotated[
        DigitsData | CifarData | FashionData | FolderData | ClipData | MovingDigitsData, Field(discriminator="kind")
    ]
    """The data set."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How training images are augmented."""
    optimize: OptimizeConfig = field(default_factory=OptimizeConfig)
    """The optimizer and its schedule."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """Length, batch size, evaluation and device."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """What a classifier is distilled from, and how."""
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    """What a classifier's probabilities are worth."""
    weights: str | None = None
    """Weights to start from: a file in any known format, a run folder, hf:owner/name, timm (the published ones), or
    teacher (the network of the extra `teacher`); default: none, and for the recipe photos the best that this machine
    has."""
    position_resize: Literal["auto", "plane", "block", "unit"] = "auto"
    """How positions of loaded weights are resized: auto (the family's own way), plane, block (NesT), unit (Hiera)."""
    weights_input_size: tuple[int, int] | None = None
    """Height and width in pixels of the input that the loaded weights are for, if their file does not state it."""
    loss: Literal["auto", "cross_entropy", "binary_cross_entropy", "asymmetric", "huber"] = "auto"
    """Loss of a classifier. auto: cross entropy for one class a sample, also of ordered classes, binary cross entropy
    for several classes, Huber for numbers; asymmetric (Ridnik et al. 2021) is for several classes, too."""
    crop: float = 1.0
    """Side of the centre crop in evaluation, as a share of the shorter side."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """How images are resized."""
    seed: int = 42
    """Seed of everything random in the run."""


_ADAPTER = TypeAdapter(Recipe)
LONGEST_RECIPE = 2**20
"""Bytes that a recipe may have; the longest of ours has some thousands."""
WITHOUT_EFFECT = (
    "loop.workers", "loop.parallel", "loop.shard_size", "loop.offload", "data.root", "data.cache",
    "data.cache_gigabytes", "data.index", "data.shards", "data.held_out_shards", "data.shard_cache",
    "data.shard_cache_size",
)  # fmt: skip
"""Fields that may be changed before a run is resumed; a cache of images may not come or go, which shrinks them."""


def with_classes_of_the_data(recipe: Recipe) -> Recipe:
    """The recipe with the number of a classifier's classes left to the data; others are returned as they are."""
    if isinstance(recipe.model, MaskedConfig | GanConfig | ProbeConfig):
        return recipe
    return replace(recipe, model=replace(recipe.model, num_classes=None))


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Writes `recipe.json` into a run folder."""
    write_text(folder / RECIPE, json.dumps(as_json(recipe), indent=2) + "\n")


def as_json(recipe: Recipe) -> JsonObject:
    """A recipe as JSON has it: lists where it has tuples, and 1.0 where a number that need not be whole is 1."""
    text = json.dumps(asdict(recipe))  # pyright: ignore[reportArgumentType]  (pydantic's dataclass is one, too)
    return json.loads(json.dumps(asdict(_ADAPTER.validate_json(text))))  # pyright: ignore[reportArgumentType]


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder, wherever the folder is now.

    Raises UserError if there is none, or if it holds anything but a recipe.
    """
    path = folder / RECIPE
    if not os.path.lexists(path):
        raise UserError(f"{folder} is no run folder: it has no {RECIPE}; `hvit train` makes one")
    content = read_whole(path, LONGEST_RECIPE)
    try:
        content, replaced = _with_present_names(content)
        recipe = _ADAPTER.validate_json(content)
        check_bounds(recipe)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = shown(".".join(str(part) for part in first["loc"])[:200]) or "the top"
        raise UserError(f"{path} is not a valid recipe at {place}: {shown(first['msg'][:500])}") from error
    except UserError as error:
        raise UserError(f"{path} is not a valid recipe: {error}") from error
    if replaced:
        print(f"{shown(str(path))} has old names: {', '.join(replaced)}", file=sys.stderr)
    table = folder / GIVEN_TABLE
    if re.split(r"[\\/]", getattr(recipe.data, "table", ""))[-1] == GIVEN_TABLE and table.is_file():
        recipe = replace(recipe, data=replace(recipe.data, table=str(absolute_path(table))))  # pyright: ignore[reportCallIssue]
    return recipe


def changed_fields(before: Mapping[str, object], now: Recipe, ignored: Collection[str] = ()) -> tuple[str, ...]:
    """In which fields a recipe differs from what was recorded of one, a phrase each, with the old and the new value.

    before: as `as_json` gives it, perhaps of an earlier version that had fewer fields. Fields that change nothing that
    is learned don't count: the number of data workers, how processes share the work, and where the data lies; nor do
    those of `ignored`. Raises ValueError for no recipe.
    """
    recorded, _ = _with_present_names(json.dumps(before).encode())
    old, new = leaves(as_json(_ADAPTER.validate_json(recorded))), leaves(as_json(now))
    comes_or_goes = new.get("data.kind") == "folder" and bool(old.get("data.cache")) != bool(new.get("data.cache"))
    without_effect = [*ignored, *(name for name in WITHOUT_EFFECT if not (name == "data.cache" and comes_or_goes))]
    return tuple(
        f"{name} was {json.dumps(old.get(name))[:200]} and is {json.dumps(new.get(name))[:200]}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and name not in without_effect
    )


def leaves(tree: Mapping[str, object], path: str = "") -> dict[str, object]:
    """The fields of nested objects by their full names, such as "loop.epochs"."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return found


def _with_present_names(content: bytes) -> tuple[bytes, list[str]]:
    """A recipe of an older version as this one writes it, and the names that were replaced.

    Recipes written before files were read by a stated grey range and page get those they were read by then, and lists
    of hvit's own, which had the path of one installation, their names.
    """
    try:
        tree, replaced = rename(json.loads(content))
        data = dict(tree["data"])
        if data["kind"] in ("folder", "clips"):
            data = {"grey_range": "full", "page": 1, **data} if "grey_range" not in data else data
            data |= {name: packaged.portable(data[name]) for name in packaged.FIELDS if name in data}
        is_older = data != tree["data"]
        tree["data"] = data
        return (json.dumps(tree).encode() if is_older or replaced else content), replaced
    except (ValueError, TypeError, KeyError, RecursionError):
        return content, []  # what is no recipe is refused when it is validated
