"""Event files for TensorBoard, written from the journal of a run."""

from __future__ import annotations

import json
from pathlib import Path

from hvit.errors import UserError
from hvit.files import short_path
from hvit.report.pieces import number_in
from hvit.report.reading import read_run
from hvit.run_names import TENSORBOARD

_EVENTS = "events.out.tfevents.*"
_NOT_VALUES = ("step", "time")


def write_events(run_folder: Path) -> Path:
    """Writes the curves of a run as event files into its folder `tensorboard`, in the place of older ones.

    Every number of the journal becomes a scalar "kind/name", such as "evaluate/top1", at its step and time; the recipe
    becomes a text. Returns the folder, for `tensorboard --logdir`. Raises UserError where tensorboard is not installed,
    and as `read_run`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("event files need tensorboard: pip install 'hvit[tensorboard]'") from error
    run = read_run(run_folder)
    folder = run_folder / TENSORBOARD
    try:
        for old in folder.glob(_EVENTS):
            old.unlink()
        writer = SummaryWriter(str(folder))
    except OSError as error:
        raise UserError(f"{short_path(folder)} cannot be written: {error.strerror or error}") from error
    began = next((time for row in run.of_kind("start") if (time := number_in(row, "time")) is not None), 0.0)
    with writer:
        writer.add_text("recipe", f"```\n{json.dumps(run.recipe, indent=2)}\n```", 0, began)
        for row in run.rows:
            moment = began + (number_in(row, "seconds") or 0.0)
            for name in row:
                value = number_in(row, name)
                if value is not None and name not in _NOT_VALUES and not isinstance(row[name], bool):
                    writer.add_scalar(f"{row['kind']}/{name}", value, row["step"], moment)
    return folder
