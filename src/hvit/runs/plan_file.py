"""What a run writes down when it begins, and what has changed when it is resumed: its recipe, and its data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hvit.data.identity import describe_changes, identity_of
from hvit.data.open import PLACES, places_of
from hvit.data.sets import Splits
from hvit.errors import UserError
from hvit.files import JsonObject, as_path, read_object, write_text
from hvit.recipe import Recipe, as_json, changed_fields
from hvit.run_names import PLAN, RECIPE
from hvit.training.schedule import Schedule

_GO_ON = "restore it, or go on all the same with --accept-changed-data"


def write_plan(folder: Path, lines: Mapping[str, str], schedule: Schedule, recipe: Recipe, splits: Splits) -> None:
    """Writes `plan.json`: the plan as printed, the schedule, the recipe, and the identity of the data."""
    plan = {
        "plan": dict(lines),
        "schedule": asdict(schedule),
        "recipe": as_json(recipe),
        "data": identity_of(splits),
    }
    write_text(folder / PLAN, json.dumps(plan, indent=1) + "\n")


def read_plan(folder: Path) -> JsonObject:
    """What a run wrote down when it began. Raises UserError where that is missing or damaged."""
    try:
        plan = read_object(folder / PLAN)
    except UserError as error:
        raise _damaged(folder, str(error)) from error
    if not isinstance(plan.get("data"), dict) or not isinstance(plan.get("recipe", {}), dict):
        raise _damaged(folder, "it does not hold what a run writes")
    return plan


def fingerprints(plan: Mapping[str, object]) -> dict[str, str]:
    """What every checkpoint keeps of a plan, so that no file of a run is exchanged without notice."""
    return {
        name: hashlib.sha256(json.dumps(plan[name], sort_keys=True).encode()).hexdigest()
        for name in ("recipe", "data")
        if name in plan
    }


def compare(
    folder: Path, recipe: Recipe, splits: Splits, samples: str, accepts: bool
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """What differs from the recipe and the data that the run in a folder began with.

    recipe: as recipe.json has it. samples: "images" or "clips". accepts: whether changes are accepted.
    Returns the changes, a phrase each; notes, a sentence each; and whether the plan has to be written anew.
    Raises UserError where there are changes that are not accepted, or the plan is damaged.
    """
    try:
        plan = read_plan(folder)
        in_recipe, in_data = _changes(folder, plan, recipe, splits, samples)
    except UserError as error:
        if not accepts:
            raise
        return (str(error),), (), True
    if in_recipe and not accepts:
        raise UserError(
            f"{RECIPE} was changed after the run began, and the checkpoints in {folder} are not those of its "
            f"{RECIPE} any more: {'; '.join(in_recipe)}; {_GO_ON}"
        )
    if in_data and not accepts:
        raise UserError(f"the data is not what the run in {folder} began with: {'; '.join(in_data)}; {_GO_ON}")
    notes = ()
    if "train" not in plan["data"]:
        notes = (
            "An earlier version of hvit began this run and did not record the names and the content of its data, so "
            "that only counts and classes could be compared. They are recorded from now on.",
        )
    return in_recipe + in_data, notes, bool(in_recipe or in_data or notes) or "recipe" not in plan


def refuse_lost(folder: Path, recipe: Recipe) -> None:
    """Raises UserError where a file or folder that a run needs is not where its recipe says, with what to do.

    recipe: as recipe.json has it, with the data where they are now.
    """
    named = {f"data.{name}": path for name, path in places_of(recipe.data).items() if name != "index"}
    if root := getattr(recipe.data, "root", ""):
        named["data.root"] = root
    named |= {f"distill.teachers {one}": one for one in recipe.distill.teachers if Path(one).is_absolute()}
    named |= {"distill.unlabelled": recipe.distill.unlabelled} if recipe.distill.unlabelled else {}
    for name, path in named.items():
        if not os.path.lexists(as_path(path)):
            advice = "say where the data is with --root" if name.startswith("data.") else "put it back"
            raise UserError(
                f"{path} ({name.split()[0]} of the run in {folder}) is missing: {advice}, or write its present place "
                f"into {folder / RECIPE}"
            )


def _changes(
    folder: Path, plan: JsonObject, recipe: Recipe, splits: Splits, samples: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What differs in the recipe, and in the data. Raises UserError where the plan is damaged."""
    began_with, now = plan["data"], counts_and_labels(splits)
    try:
        # Lists and teachers may lie elsewhere, where what they hold is compared.
        ignored = [f"data.{name}" for name in PLACES] + ["distill.unlabelled"] if "train" in began_with else []
        ignored += ["distill.teachers"] if recipe.distill.checksums else []
        in_recipe = changed_fields(plan["recipe"], recipe, ignored) if "recipe" in plan else ()
        if "train" in began_with:
            return in_recipe, describe_changes(began_with, identity_of(splits), samples)
        if now == began_with:
            return in_recipe, ()
        counts = "{images:,} " + samples + " to train on, {held_out:,} held out, {classes:,} classes"
        before = counts.format(**{name: int(began_with[name]) for name in ("images", "held_out", "classes")})
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _damaged(folder, "it does not hold what a run writes") from error
    return in_recipe, (f"then {before}; now {counts.format(**now)}; names or labels of classes may differ as well",)


def counts_and_labels(splits: Splits) -> dict[str, object]:
    """What earlier versions recorded of the data of a run."""
    labels = [
        images.labels.astype(np.int64 if images.labels.ndim == 1 else np.float32).tobytes()
        for images in (splits.train, splits.held_out)
    ]
    names = json.dumps(splits.classes).encode()
    return {
        "images": len(splits.train),
        "held_out": len(splits.held_out),
        "classes": len(splits.classes),
        "checksum": hashlib.sha256(b"/".join([names, *labels])).hexdigest(),
    }


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder / PLAN} cannot be read, so the run cannot be resumed exactly ({reason}): restore it, or go on with "
        f"the recipe and the data that are here now with --accept-changed-data"
    )
