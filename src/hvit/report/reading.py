"""From a run folder to everything its report shows; what is damaged is named in one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.markup import DARK_PICTURES, some_of
from hvit.run_names import ENVIRONMENT, JOURNAL, PICTURES, RECIPE, SCORES, with_present_keys
from hvit.training.journal import read_journal

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
_LARGEST_FILE = 100 * 2**20  # bytes, of a file of text and of all pictures together
Distance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelFacts(BaseModel):
    """What the model is: its name, its number of parameters, and the multiply-adds of one image."""

    name: str
    parameters: int | None = None
    multiply_adds: int | None = None


class Sample(BaseModel):
    """A held-out sample that the report shows: its picture's name, its own, its class, and what was predicted.

    confidence: the probability of the prediction; None for several classes a sample, and for numbers.
    """

    picture: str
    sample: str
    class_: Annotated[str, Field(alias="class")]
    predicted: str
    confidence: Share | None = None

    @property
    def right(self) -> bool:
        """Whether the prediction is the class."""
        return self.class_ == self.predicted


class Mosaic(BaseModel):
    """A mosaic of four digits, from top left to bottom right, and for how many of them the explanation hit."""

    picture: str
    sample: str
    digits: list[int]
    hits: int


class ExplanationScores(BaseModel):
    """How often the explanation's first quadrant was the right one, and how often with its sign flipped.

    asked: the number of explanations that were asked for.
    """

    quadrant_hits: Share
    asked: Count
    flipped_sign: Share | None = None
    single_object_hits: Share | None = None
    pictures: list[Mosaic] = []


class Memorisation(BaseModel):
    """Median distances in features to the nearest training image."""

    sample_to_training: Distance
    held_out_to_training: Distance

    @property
    def ratio(self) -> float:
        """How far samples are as a multiple of how far held-out images are."""
        return self.sample_to_training / max(self.held_out_to_training, 1e-12)


class Delivered(BaseModel):
    """Which weights a run delivered, and their scores and those of the last step's."""

    keep: str
    score: str
    validation: float
    last_step: int
    last_validation: float
    best_step: int | None = None
    evaluations: int | None = None
    test: float | None = None
    last_test: float | None = None


class Finetuning(BaseModel):
    """What came of fine-tuning after a probe, in a sentence, and the held-out top-1 before and after."""

    delivered: bool
    sentence: str
    held_out_frozen: Share | None = None
    held_out_tuned: Share | None = None


class TeacherScore(BaseModel):
    """A teacher of a distilled run, and its own accuracy where it knows the classes."""

    name: str
    top1: Share | None = None


class Distillation(BaseModel):
    """What a run was distilled from."""

    target: str
    teachers: list[TeacherScore] = []


class ReliabilityBin(BaseModel):
    """Samples whose highest probability lies in an interval."""

    count: Annotated[int, Field(ge=0)]
    confidence: Share
    accuracy: Share


class Unsure(BaseModel):
    """From which probability a model answers, and how often it then does and is wrong."""

    below: float
    wanted_error: Share
    coverage: Share
    error: Share
    measured_coverage: Share
    measured_error: Share


class Calibration(BaseModel):
    """How far probabilities are from the shares that are right, before and after temperature scaling."""

    temperature: Annotated[float, Field(gt=0)]
    bins: Count
    fitted_on: Count
    measured_on: str
    error_before: Share
    error_after: Share
    before: list[ReliabilityBin]
    after: list[ReliabilityBin]
    unsure: Unsure | None = None


class LabelRow(BaseModel):
    """A class of a multi-label set: how many held-out samples have it, its threshold and its scores."""

    name: str
    count: int
    threshold: Share
    average_precision: Share | None = None
    recall: Share | None = None
    precision: Share | None = None
    f1: Share | None = None


class NumberRow(BaseModel):
    """A number that is predicted: its errors in its units, explained variance and rank correlation."""

    name: str
    mae: Distance
    rmse: Distance
    r2: Annotated[float, Field(allow_inf_nan=False)]
    spearman: float | None = None


class LevelRow(BaseModel):
    """A level of a hierarchy of classes: its name, its number of classes, how often the right one is predicted."""

    level: str
    classes: Count
    top1: Share
    balanced_accuracy: Share


class Scores(BaseModel):
    """scores.json: what the finished model reaches on held-out data; labels and predictions index `classes`.

    Of a generator: the distance that `measure` names and the rest of what `Generate.evaluate` returns.
    """

    count: Count
    loss: float | None = None
    top1: Share | None = None
    top5: Share | None = None
    balanced_accuracy: Share | None = None
    levels: list[LevelRow] = []
    mistake_severity: Distance | None = None
    label_kind: str = "single"
    training_counts: list[int] = []
    mean_average_precision: Share | None = None
    f1_micro: Share | None = None
    f1_macro: Share | None = None
    thresholds_chosen_here: bool = False
    mae: Distance | None = None
    r2: Annotated[float, Field(allow_inf_nan=False)] | None = None
    spearman: Annotated[float, Field(ge=-1.001, le=1.001)] | None = None
    quadratic_kappa: Annotated[float, Field(allow_inf_nan=False)] | None = None
    per_class: list[LabelRow] = []
    per_output: list[NumberRow] = []
    values: list[list[Annotated[float, Field(allow_inf_nan=False)]]] = []
    predicted_values: list[list[Annotated[float, Field(allow_inf_nan=False)]]] = []
    views: list[int] = []
    explained_variance: float | None = None
    nearest_neighbours: Share | None = None
    linear_probe: Share | None = None
    measure: str | None = None
    distance: Distance | None = None
    distance_of_halves: Distance | None = None
    kernel_measure: str | None = None
    kernel_distance: Annotated[float, Field(allow_inf_nan=False)] | None = None
    split: str | None = None
    reference_count: Count | None = None
    precision: Share | None = None
    recall: Share | None = None
    recognised: Share | None = None
    diversity: Distance | None = None
    distinctness: Distance | None = None
    warning: str | None = None
    memorisation: Memorisation | None = None
    finetuning: Finetuning | None = None
    classes: list[str] = []
    labels: list[int] = []
    predictions: list[int] = []
    mistakes: list[Sample] | None = None
    explained_samples: list[Sample] = []
    explanations: ExplanationScores | None = None
    model: ModelFacts | None = None
    evaluated_on: str = "held-out"
    delivered: Delivered | None = None
    distillation: Distillation | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Run:
    """Everything a report is made of.

    folder: its name without the path. rows: the journal. pictures: the PNG files by name, without ending;
    dark_pictures: those for dark pages. notes: sentences on what was skipped. path: of the folder.
    """

    folder: str
    recipe: JsonObject
    environment: JsonObject
    rows: list[JsonObject]
    scores: Scores | None
    pictures: dict[str, bytes]
    dark_pictures: dict[str, bytes]
    notes: list[str]
    path: Path = Path()

    def picture(self, name: str) -> tuple[bytes, bytes | None]:
        """A picture by its name, and the one for dark pages if there is one."""
        return self.pictures[name], self.dark_pictures.get(name)

    @property
    def samples(self) -> str:
        """What the data is made of: images or clips."""
        model = self.recipe.get("model")
        parts = [model, model.get("encoder")] if isinstance(model, dict) else []
        sizes = [part.get("input_size") for part in parts if isinstance(part, dict)]
        return "clips" if any(isinstance(size, list) and len(size) == 3 for size in sizes) else "images"

    def of_kind(self, kind: str) -> list[JsonObject]:
        """The journal's lines of one kind, such as "evaluate"."""
        return [row for row in self.rows if row["kind"] == kind]


def read_run(folder: Path) -> Run:
    """Reads what a report needs from a run folder.

    Only recipe.json has to be there. Raises UserError when the folder is no run or one of its files is damaged.
    """
    if not folder.is_dir():
        what = f"{folder} is a file" if folder.is_file() else f"there is no folder {folder}"
        raise UserError(f"{what}: give the folder of a run, which `hvit train` prints")
    if not _exists(folder / RECIPE):
        raise UserError(f"{folder} is no run folder: it has no {RECIPE}; give the folder `hvit train` prints")
    try:
        recipe = _read_object(folder / RECIPE)
        environment_path = folder / ENVIRONMENT
        environment = _read_object(environment_path) if _exists(environment_path) else {}
        rows, notes = _read_rows(folder / JOURNAL)
        scores = _read_scores(folder / SCORES)
        pictures, odd = _read_pictures(folder / PICTURES)
        dark, odd_dark = _read_pictures(folder / PICTURES / DARK_PICTURES)
    except OSError as error:
        raise UserError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    return Run(folder.resolve().name, recipe, environment, rows, scores, pictures, dark, notes + odd + odd_dark, folder)


def _exists(path: Path) -> bool:
    """Whether there is a file to read. Raises UserError for what is none, or too large to be a run's."""
    if not path.exists() and not path.is_symlink():
        return False
    if not path.is_file():
        raise UserError(f"{path} is not a regular file; restore it from a copy, or train again")
    if path.stat().st_size > _LARGEST_FILE:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes, more than a run leaves; restore it, or train again")
    return True


def _read_object(path: Path) -> JsonObject:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it from a copy, or train again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not {type(content).__name__}; restore it, or train again")
    return content


def _read_rows(path: Path) -> tuple[list[JsonObject], list[str]]:
    """The journal's lines, and what a reader should know about it."""
    if not _exists(path):
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
    which = some_of([str(number) for number in torn], 5)
    many = "1 line" if len(torn) == 1 else f"{len(torn)} lines"
    return rows, [f"Skipped: {many} of {JOURNAL} that cannot be read (line {which})."]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_scores(path: Path) -> Scores | None:
    if not _exists(path):
        return None
    advice = "remove it, or write it anew with `hvit evaluate`"
    try:
        scores = Scores.model_validate(with_present_keys(_read_object(path)))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is damaged: {field}: {first['msg']}; {advice}") from error
    shapes = [len(row) for row in (*scores.values, *scores.predicted_values)]
    if len(scores.values) != len(scores.predicted_values) or any(size != len(scores.classes) for size in shapes):
        raise UserError(f"{path} is damaged: its values and predicted values do not fit together; {advice}")
    numbers = {*scores.labels, *scores.predictions}
    if len(scores.labels) != len(scores.predictions) or not numbers <= set(range(len(scores.classes))):
        raise UserError(f"{path} is damaged: its labels, predictions and classes do not fit together; {advice}")
    return scores


def _read_pictures(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The PNG files of the folder by their names without ending, and a note on those that are none.

    Links are not followed: a report shows nothing from outside its run folder.
    """
    found, odd, large = {}, [], []
    for path in sorted(folder.glob("*.png")):
        is_file = path.is_file() and not path.is_symlink()
        size = path.stat().st_size if is_file else 0
        if is_file and sum(map(len, found.values())) + size > _LARGEST_FILE:
            large.append(path.name)
            continue
        content = path.read_bytes() if is_file else b""
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            found[path.stem] = content
        else:
            odd.append(path.name)
    notes = [f"Not shown, because the pictures have too many bytes: {', '.join(large)}."] if large else []
    return found, notes + ([f"Skipped, because they are no PNG pictures: {', '.join(odd)}."] if odd else [])
