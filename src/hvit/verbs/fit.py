"""Training from Python: images and labels as a program holds them become an ordinary run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hvit.data.clips.settings import ClipData
from hvit.data.images.folders import FolderData
from hvit.data.tables.in_python import Given, given, table_lines
from hvit.data.tables.open import IN_PYTHON
from hvit.errors import UserError
from hvit.files import as_path, write_text
from hvit.recipe import Recipe, with_classes_of_the_data
from hvit.recipes import get_recipe
from hvit.run_names import GIVEN_TABLE, RECIPE
from hvit.runs.kind import Report, silent
from hvit.tasks.task import Scores
from hvit.verbs.train import resume, train


def fit(
    recipe: str | Recipe,
    train: Any,
    held_out: Any = None,
    test: Any = None,
    *,
    out: str | Path,
    classes: Sequence[str] = (),
    report: Report = silent,
    accept_changed_data: bool = False,
) -> Scores:
    """Trains on samples and labels that a program holds; the run is like that of `hvit train`. Returns its scores.

    recipe: the name of a recipe, or a recipe. The options of its data hold where they make sense, such as
    `FolderData(balance="weights")`. train, held_out, test: each a list of pairs (image, label), a data set of torch of
    such pairs, arrays (images, labels), a pandas data frame with a column of paths, or a data set of Hugging Face. An
    image is a path, a picture of Pillow, or an array of uint8, or of real numbers from 0 to 1, not normalised:
    (height, width, channels) in NumPy, (channels, height, width) in torch. A clip, of a recipe for clips, is a path or
    such an array (frames, height, width, channels) or (frames, channels, height, width). A label is the number or the
    name of a class, a list of these, a list of 0 and 1 for every class, or real numbers. Without held_out a share of
    train is held out; with test the finished run is scored on that.

    out: the folder of the run. If it holds a run already, that is continued exactly. classes: the names of the classes
    with numbers 0, 1 and so on, in the order of the model's outputs. report: called with the plan. accept_changed_data:
    continue with other data than the run began with.

    Data that consists of paths is kept in the run folder as a table, so that `hvit resume` and `hvit evaluate` work,
    too. Other data has to be given again. Raises UserError for data that cannot be trained on, and for a folder that
    holds a run of another recipe.
    """
    if not isinstance(recipe, str | Recipe):
        raise UserError(f"recipe is the name of a recipe, or a hvit.recipe.Recipe; got {recipe!r:.100}")
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        raise UserError(f"classes are names in a list or a tuple; got {classes!r:.100}")
    recipe = with_classes_of_the_data(get_recipe(recipe) if isinstance(recipe, str) else recipe)
    folder = as_path(out, "out")
    if not str(out):
        raise UserError("out is empty: give the folder of the run")
    task = getattr(recipe.data, "task", "auto")
    found = given(train, held_out, test, classes, task, _takes_clips(recipe))
    recipe = replace(recipe, data=_data(recipe, found, folder))
    table = None if found.files else found.table
    goes_on = os.path.lexists(folder / RECIPE)
    if found.files:
        _keep_table(found, folder, goes_on, accept_changed_data)
    if goes_on:
        return resume(folder, None, report, accept_changed_data, table, recipe)
    return _train(recipe, folder, report, table)


_train = train  # `fit` has an argument of this name


def _data(recipe: Recipe, found: Given, folder: Path) -> FolderData | ClipData:
    """The data of a recipe, with the table that was given."""
    own, kind = recipe.data, ClipData if _takes_clips(recipe) else FolderData
    data = own if isinstance(own, kind) else kind()
    if data.table or getattr(data, "train_list", ""):
        raise UserError("the recipe's data names a table or a list, and the samples are given: name only one")
    if not found.files:
        return replace(data, table=IN_PYTHON, root="", **found.options)
    return replace(data, table=str(folder / GIVEN_TABLE), root=data.root or str(Path.cwd()), **found.options)


def _takes_clips(recipe: Recipe) -> bool:
    return len(recipe.model.input_size) == 3


def _keep_table(found: Given, folder: Path, goes_on: bool, accepts: bool) -> None:
    """Writes the table into the run folder. Raises UserError where a run has begun with another one."""
    path = folder / GIVEN_TABLE
    text = "".join(json.dumps(line) + "\n" for line in table_lines(found.table))
    if goes_on and not accepts and not (path.is_file() and path.read_text(encoding="utf-8") == text):
        raise UserError(
            f"the data is not what the run in {folder} began with: give the same, another out, or accept_changed_data"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
