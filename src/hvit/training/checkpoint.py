"""The checkpoints of a run: one file each, or a folder of shards; the newest two are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hvit.errors import UserError
from hvit.run_names import CHECKPOINTS, step_file, step_files
from hvit.training.distribute import Processes
from hvit.training.state_file import SHARDED, WHOLE, State, read_state, remove_older, write_state


def save_checkpoint(folder: Path, step: int, state: State) -> Path:
    """Writes a state into one file and removes all checkpoints but the newest two.

    folder: the run folder. Raises UserError when it cannot be written; the older checkpoints are then untouched.
    """
    path = folder / CHECKPOINTS / step_file(step, WHOLE)
    try:
        write_state(path, state)
    except UserError as error:
        raise UserError(f"{error}; what was saved before is intact: make room, then `hvit resume {folder}`") from error
    remove_older(path)
    return path


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder holds any checkpoint."""
    return bool(step_files(folder / CHECKPOINTS, WHOLE, SHARDED))


def newest_checkpoint(
    folder: Path, is_whole: Callable[[State], bool] = lambda state: True, ranks: Processes | None = None
) -> tuple[State | None, list[Path]]:
    """The state of the newest intact checkpoint of a run folder, and the damaged ones passed over.

    Of a folder of shards it is the state that `read_sharded` returns. ranks: the processes that read it together.
    Damaged are files whose checksum is wrong, what should be a file and is none (folders, pipes, links that lead
    nowhere), and states that are not whole. None where the run has no checkpoint yet. Raises UserError where it has
    some and all are damaged.
    """
    damaged: list[Path] = []
    for _, path in reversed(step_files(folder / CHECKPOINTS, WHOLE, SHARDED)):
        if path.suffix == f".{SHARDED}":
            from hvit.training.sharded import read_sharded  # takes as long to import as `parallel` says

            state = read_sharded(path, ranks)
        else:
            state = read_state(path)
        if state is not None and is_whole(state):
            return state, damaged
        damaged.append(path)
    if damaged:
        raise UserError(
            f"every checkpoint in {folder / CHECKPOINTS} is damaged: the run cannot continue; start it anew"
        )
    return None, damaged
