"""Runs the grids of `hvit.experiments`: what is missing, in order, exactly from where it was left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hvit.errors import Stopped, UserError
from hvit.experiments import get_experiment
from hvit.experiments.grid import Job, Place, jobs_of, missing, part_of, ready, state_of
from hvit.experiments.results import Results
from hvit.files import JsonObject, replacing
from hvit.interrupts import Ended
from hvit.recipe import Recipe, as_json, changed_fields, read_recipe, write_recipe
from hvit.run_names import WEIGHTS
from hvit.runs.folder import write_scores
from hvit.tasks.task import Scores
from hvit.training.journal import JOURNAL, Journal, read_journal
from hvit.training.lock import refuse_if_held
from hvit.verbs import train
from hvit.verbs.evaluate import evaluate

_IN_GRID = 4
"""Parts of a path from the folder of all grids: scale, experiment, run and file."""
Say = Callable[[str], None]


def run(
    names: Sequence[str],
    place: Place,
    *,
    data_root: str = "",
    seeds: int | None = None,
    budget: float | None = None,
    part: tuple[int, int] = (0, 1),
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    say: Say = lambda line: None,
) -> int:
    """Runs what is missing of some experiments; returns how many runs are still missing then.

    Finished runs are skipped, begun ones resumed. A run that fails, such as by a loss that is no number, is noted in
    its journal and not tried again.
    budget: minutes after which it stops, the run in progress included, which is saved. part: (k, n) for every n-th run
    from the k-th, so that n processes, or machines with a shared folder, divide the grid. change: what is changed in
    every recipe, such as the device. Raises UserError for folders that hold other runs than the grid's.
    """
    experiments = [get_experiment(name, place.scale) for name in names]
    tried: set[Path] = set()
    with _deadline(budget) as is_over:
        while not is_over():
            jobs = part_of(jobs_of(experiments, place, seeds, data_root), part)
            following = _following([job for job in jobs if job.folder not in tried], place)
            if following is None:
                break
            job, recipe = following
            tried.add(job.folder)
            try:
                _do(job, change(recipe), say)
            except (Stopped, Ended):
                if not is_over():
                    raise
    return missing(jobs_of(experiments, place, seeds, data_root))


def _following(jobs: Sequence[Job], place: Place) -> tuple[Job, Recipe] | None:
    """The first run that is missing and waits for no other, with its recipe; None where there is none."""
    for job in jobs:
        if state_of(job.folder) not in ("done", "failed"):
            recipe = ready(job, place)
            if recipe is not None:
                return job, recipe
    return None


def _do(job: Job, recipe: Recipe, say: Say) -> None:
    """Runs or resumes one run; a failure of its own is noted in its journal."""
    folder, is_new = job.folder, state_of(job.folder) == "new"
    refuse_if_held(folder)
    say(f"{'run' if is_new else 'resume'} {folder.parent.name}/{folder.name}")
    try:
        if not job.trains:
            scores = _test(job.folder, recipe)
        elif is_new:
            scores = train.train(recipe, folder)
        else:
            began_with = read_recipe(folder)
            changes = changed_fields(as_json(_from_elsewhere(began_with, recipe)), recipe)
            if changes:
                raise _OtherRun(
                    f"{folder} holds a run of other settings ({'; '.join(changes[:3])}): choose another --out, or "
                    f"remove it"
                )
            scores = train.resume(folder)
    except (Stopped, _OtherRun):
        raise
    except UserError as error:
        if not (folder / JOURNAL).exists():
            raise  # nothing has begun: the data is missing, or the machine is too small
        rows = read_journal(folder / JOURNAL)
        Journal(folder).write("failed", rows[-1]["step"] if rows else 0, reason=str(error))
        say(f"  failed: {error}")
        return
    score = next((f"{name} {scores[name]:.3f}" for name in ("top1", "linear_probe", "loss") if name in scores), "")
    say(f"  {score}")


def _from_elsewhere(began_with: Recipe, recipe: Recipe) -> Recipe:
    """A run's recipe, where the weights that it began with are the same file of the grid, in another place then."""
    then, now = began_with.weights, recipe.weights
    if then and now and Path(then).parts[-_IN_GRID:] == Path(now).parts[-_IN_GRID:]:
        return replace(began_with, weights=now)
    return began_with


def _test(folder: Path, recipe: Recipe) -> Scores:
    """Tests the weights that a recipe starts from on its held-out data.

    What is left is a run folder with these weights, whose journal has no training.
    """
    assert recipe.weights is not None
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as file:
        file.write(Path(recipe.weights).read_bytes())
    write_recipe(recipe, folder)
    start = time.monotonic()
    scores = evaluate(folder, device=recipe.loop.device)
    journal = Journal(folder)
    journal.write("evaluate", 0, **{key: value for key, value in scores.items() if isinstance(value, int | float)})
    write_scores(folder, scores)
    journal.write("finish", 0, seconds=time.monotonic() - start)
    return scores


class _OtherRun(UserError):
    """A folder of the grid holds something else."""


@contextmanager
def _deadline(minutes: float | None) -> Iterator[Callable[[], bool]]:
    """Gives whether the time is over; when it is, the run in progress is asked to stop, as by a scheduler."""
    if minutes is None:
        yield lambda: False
        return
    end = time.monotonic() + 60 * minutes
    timer = threading.Timer(60 * minutes, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.daemon = True
    if minutes > 0:
        timer.start()
    try:
        yield lambda: time.monotonic() >= end
    finally:
        timer.cancel()


def run_in_parts(arguments: Sequence[str], jobs: int, missing: Callable[[], int]) -> None:
    """Starts a command several times at once, each for its part of the grid, until no more of it can be done.

    A part ends where its runs wait for those of another part, so they are started again while runs get done. On GPUs
    the parts take turns, one device each. missing: counts the runs that are not done. Raises UserError where a part
    fails.
    """
    devices = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    before = None
    while (now := missing()) and now != before:
        before, started = now, []
        for number in range(jobs):
            environment = dict(os.environ)
            if devices:
                environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
            command = [sys.executable, "-m", "hvit", *arguments, "--part", str(number), str(jobs)]
            started.append(subprocess.Popen(command, env=environment))
        status = max(process.wait() for process in started)
        if status:
            raise UserError(f"a part of the runs ended with status {status}; its error stands above")


def missing_runs(names: Sequence[str], place: Place, seeds: int | None = None) -> int:
    """How many runs of some experiments are neither done nor failed."""
    return missing(jobs_of([get_experiment(name, place.scale) for name in names], place, seeds, ""))


def status(names: Sequence[str], place: Place, seeds: int | None = None) -> list[JsonObject]:
    """For every experiment how many of its runs are done, begun, failed or new, and seconds of training so far."""
    rows: list[JsonObject] = []
    for name in names:
        experiment = get_experiment(name, place.scale)
        jobs = jobs_of([experiment], place, seeds, "")
        states = Counter(state_of(job.folder) for job in jobs)
        seconds = sum(_seconds(job.folder) for job in jobs)
        failed = [f"{job.folder.parent.name}/{job.folder.name}" for job in jobs if state_of(job.folder) == "failed"]
        rows.append({"experiment": name, "runs": len(jobs), **{key: states[key] for key in ("done", "begun", "failed")},
                     "seconds": round(seconds), "which_failed": failed})  # fmt: skip
    return rows


def _seconds(folder: Path) -> float:
    """Seconds of training in a folder, by the last line of its journal that has them."""
    if not (folder / JOURNAL).exists():
        return 0.0
    return max((row["seconds"] for row in read_journal(folder / JOURNAL) if "seconds" in row), default=0.0)


def results(name: str, place: Place, seeds: int | None = None) -> Results:
    """The results of an experiment as far as it is. Raises UserError where none of its runs is finished."""
    found = Results(get_experiment(name, place.scale), place, seeds)
    if not found.finished:
        raise UserError(
            f"{place.root} holds no finished run of {name} at the scale {place.scale}: "
            f"hvit experiments run {name} --out {place.root} --scale {place.scale}"
        )
    return found
