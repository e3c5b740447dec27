"""The run folder: who may write it, and how it begins; the names in it are in `hvit.run_names`."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from hvit.errors import UserError
from hvit.files import write_text
from hvit.recipe import write_recipe
from hvit.run_names import ENVIRONMENT, RECIPE, SCORES
from hvit.runs.kind import Prepared
from hvit.runs.plan_file import write_plan
from hvit.tasks.task import Scores
from hvit.training.checkpoint import has_checkpoint
from hvit.training.distribute import Processes
from hvit.training.lock import locked, refuse_if_held


def write_scores(folder: Path, scores: Scores) -> None:
    """Writes `scores.json` in one step."""
    write_text(folder / SCORES, json.dumps(scores) + "\n")


@contextmanager
def held(folder: Path, ranks: Processes) -> Iterator[None]:
    """Holds the run folder, in the first process for all of them. Raises UserError where another process holds it."""
    with ExitStack() as stack:
        ranks.first_only(lambda: stack.enter_context(locked(folder)))
        yield


def refuse_old_run(folder: Path) -> None:
    """Raises UserError where the folder holds a run, or another process trains in it."""
    refuse_if_held(folder)
    _refuse_what_is_there(folder)


def start_folder(prepared: Prepared, lines: dict[str, str], folder: Path) -> None:
    """Writes what a run is and what it begins with. lines: its plan. Raises UserError where a run is there already."""
    _refuse_what_is_there(folder)
    write_text(folder / ENVIRONMENT, json.dumps(_environment(prepared.ranks), indent=2) + "\n")
    write_plan(folder, lines, prepared.schedule, prepared.recipe, prepared.splits)
    write_recipe(prepared.recipe, folder)


def _refuse_what_is_there(folder: Path) -> None:
    if os.path.lexists(folder / RECIPE) or has_checkpoint(folder):
        raise UserError(f"{folder} already holds a run: `hvit resume {folder}` continues it, or choose another --out")


def _environment(ranks: Processes) -> dict[str, object]:
    """Versions and hardware, for whoever compares two runs."""
    device = ranks.device
    packages = ("hvit", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": ["hvit", *sys.argv[1:]],
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "processes": ranks.world_size,
        "device": str(device),
        "device_name": name,
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }
