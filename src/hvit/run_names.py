"""The names in a run folder, each spelled once, and what values in its files were called before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

RECIPE = "recipe.json"
"""What the run is."""
PLAN = "plan.json"
"""The plan as printed, and the identity of the data."""
GIVEN_TABLE = "samples.jsonl"
"""The table of the samples whose paths a Python program gave."""
ENVIRONMENT = "environment.json"
"""Versions and hardware."""
JOURNAL = "journal.jsonl"
"""Losses and scores while it trains, a JSON object a line."""
CHECKPOINTS = "checkpoints"
"""The folder from which the run continues."""
WEIGHTS = "weights.safetensors"
"""The trained network, with its configuration, classes and preprocessing."""
SCORES = "scores.json"
"""The scores of the trained network."""
EXPLANATION_CHECK = "explanation_check.json"
"""Whether the run's explanations can be trusted, as `hvit explain RUN --check` found."""
REPORT = "report.html"
"""The report of the run."""
CLIP_RESULTS = "clips.jsonl"
"""What every held-out clip was predicted as."""
REFERENCE = "reference.npz"
"""Statistics of features of training images, which generated ones are compared with."""
FEATURES = "features.npz"
"""Features of the images of a run that fits heads to them."""
FINETUNING = "finetuning"
"""The folder of the training that fine-tuning after a probe has not finished, and the name of the file of its steps."""
TEACHERS = "teachers.npz"
"""What the teachers of a run say to its held-out images, and to its training images where these are not augmented."""
PREDICTIONS = "predictions.csv"
"""What a run of a fold predicts for the samples that the fold holds out."""
OUT_OF_FOLD = "out_of_fold.csv"
"""The predictions of all folds, in the folder of the cross-validation."""
OUTLIERS = "outliers.safetensors"
"""Features of training images, by which `predict` knows images that are unlike them."""
EMBEDDINGS = "embeddings.npy"
"""Features of all images of the run's data, which `hvit embed` writes; a .csv and a .json file belong to it."""
REVIEW = "review"
"""The folder of what `hvit neighbours` found in the run's data, and its pictures."""
REVIEW_FILE = "review.json"
"""Its list in that folder."""
TENSORBOARD = "tensorboard"
"""The folder of event files for TensorBoard."""
SAMPLES = "samples"
"""The folder of a grid of samples of every evaluation; also the name of the picture of the newest."""
RECONSTRUCTIONS = "reconstructions"
"""The folder of a strip of reconstructions of every evaluation; also the name of their picture."""

PICTURES = "pictures"
"""The folder of pictures, which the report shows."""
TRAINING_IMAGES = "training_images"
"""The picture of some training images as the model sees them."""
FEATURE_MAP = "feature_map"
"""The picture of features in the plane."""
INTERPOLATION = "interpolation"
"""The picture of latent interpolations."""
SAMPLES_OVER_TIME = "samples_over_time"
"""The picture of the same latents at several moments of the run."""
NEIGHBOURS = "neighbours"
"""The picture of samples and the training images nearest to them."""
EXPLANATION, MISTAKE = "explain_", "mistake_"
"""How the names of pictures of explanations and of mistakes begin; their numbers follow."""


def picture_file(name: str) -> str:
    """The file of a picture, from the run folder."""
    return f"{PICTURES}/{name}.png"


def fold_folder(fold: int) -> str:
    """The run folder of a fold, counted from 1, in the folder of the cross-validation."""
    return f"fold_{fold}"


def step_file(step: int, ending: str) -> str:
    """The name of a file that is kept of a step."""
    return f"step_{step:09d}.{ending}"


def step_files(folder: Path, *endings: str) -> list[tuple[int, Path]]:
    """The files that were kept of steps in a folder, with their steps, in their order."""
    wanted = "|".join(endings)
    named = ((re.fullmatch(rf"step_(\d+)\.({wanted})", path.name), path) for path in folder.glob("*"))
    return sorted((int(match[1]), path) for match, path in named if match)


OLD_KEYS = {"explained": "explained_variance", "learned_from": "trained_on"}
"""Values of journals and of scores that had another name in an earlier version: old name -> present name."""


def with_present_keys(values: Mapping[str, Value]) -> dict[str, Value]:
    """A line of a journal, or scores, of any version, with the names that its values have now."""
    return {OLD_KEYS.get(key, key): value for key, value in values.items()}
