"""From a run folder to everything its report shows; what is damaged is named in one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from hvit.errors import UserError
from hvit.training.journal import JOURNAL, read_journal

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
Distance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelFacts(BaseModel):
    """What the model is: its name, its number of parameters, and the multiply-adds of one image."""

    name: str
    parameters: int | None = None
    multiply_adds: int | None = None


class ExplanationScores(BaseModel):
    """How often the explanation's first quadrant was the right one, and how often with its sign flipped.

    asked: the number of explanations that were asked for.
    """

    quadrant_hits: Share
    asked: Count
    flipped_sign: Share | None = None
    single_object_hits: Share | None = None


class Memorisation(BaseModel):
    """Median distances in features to the nearest training image."""

    sample_to_training: Distance
    held_out_to_training: Distance

    @property
    def ratio(self) -> float:
        """How far samples are as a multiple of how far held-out images are."""
        return self.sample_to_training / max(self.held_out_to_training, 1e-12)


class Scores(BaseModel):
    """scores.json: what the finished model reaches on held-out data; labels and predictions index `classes`.

    Of a generator: the distance that `measure` names and the rest of what `Generate.evaluate` tells.
    """

    count: Count
    loss: float | None = None
    top1: Share | None = None
    top5: Share | None = None
    explained: float | None = None
    nearest_neighbours: Share | None = None
    linear_probe: Share | None = None
    measure: str | None = None
    distance: Distance | None = None
    distance_of_halves: Distance | None = None
    split: str | None = None
    reference_count: Count | None = None
    precision: Share | None = None
    recall: Share | None = None
    recognised: Share | None = None
    diversity: Distance | None = None
    distinctness: Distance | None = None
    warning: str | None = None
    memorisation: Memorisation | None = None
    classes: list[str] = []
    labels: list[int] = []
    predictions: list[int] = []
    explanations: ExplanationScores | None = None
    model: ModelFacts | None = None


@dataclass(frozen=True)
class Run:
    """Everything a report is made of.

    folder: its name without the path. rows: the journal. pictures: the PNG files by name, without ending.
    notes: sentences on what was left out.
    """

    folder: str
    recipe: dict[str, Any]
    environment: dict[str, Any]
    rows: list[dict[str, Any]]
    scores: Scores | None
    pictures: dict[str, bytes]
    notes: list[str]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The journal's lines of one kind, such as "evaluate"."""
        return [row for row in self.rows if row["kind"] == kind]


def read_run(folder: Path) -> Run:
    """Reads what a report needs from a run folder.

    Only recipe.json has to be there. Raises UserError when the folder is no run or one of its files is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the folder of a run, which `hvit train` prints")
    if not (folder / "recipe.json").exists():
        raise UserError(f"{folder} is no run folder: it has no recipe.json; give the folder `hvit train` prints")
    try:
        recipe = _read_object(folder / "recipe.json")
        environment_path = folder / "environment.json"
        environment = _read_object(environment_path) if environment_path.exists() else {}
        rows, notes = _read_rows(folder / JOURNAL)
        scores = _read_scores(folder / "scores.json")
        pictures, odd = _read_pictures(folder / "pictures")
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    return Run(folder.resolve().name, recipe, environment, rows, scores, pictures, notes + odd)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it from a copy, or train again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not {type(content).__name__}; restore it, or train again")
    return content


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The journal's lines, and what a reader should know about it."""
    if not path.exists():
        return [], []
    rows = read_journal(path)
    lines = path.read_bytes().splitlines()
    torn = [number for number, line in enumerate(lines, start=1) if line.strip() and not _is_object(line)]
    if len(torn) > 1 and not rows:
        raise UserError(f"{path} is damaged: none of its {len(lines)} lines can be read; restore it, or train again")
    # The last line is torn by any kill; there is nothing to say about it.
    torn = [number for number in torn if number < len(lines)]
    if not torn:
        return rows, []
    which = ", ".join(map(str, torn[:5])) + (", …" if len(torn) > 5 else "")
    many = "1 line" if len(torn) == 1 else f"{len(torn)} lines"
    return rows, [f"Left out: {many} of {JOURNAL} that cannot be read (line {which})."]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_scores(path: Path) -> Scores | None:
    if not path.exists():
        return None
    advice = "remove it, or write it anew with `hvit evaluate`"
    try:
        scores = Scores.model_validate(_read_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is damaged: {field}: {first['msg']}; {advice}") from error
    numbers = {*scores.labels, *scores.predictions}
    if len(scores.labels) != len(scores.predictions) or not numbers <= set(range(len(scores.classes))):
        raise UserError(f"{path} is damaged: its labels, predictions and classes do not fit together; {advice}")
    return scores


def _read_pictures(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The PNG files of the folder by their names without ending, and a note on those that are none.

    Links are not followed: a report shows nothing from outside its run folder.
    """
    found, odd = {}, []
    for path in sorted(folder.glob("*.png")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            found[path.stem] = content
        else:
            odd.append(path.name)
    return found, [f"Left out, because they are no PNG pictures: {', '.join(odd)}."] if odd else []
