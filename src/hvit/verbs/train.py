"""The front page: recipe -> data -> model -> task -> loop -> scores -> report, for every kind of run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict

import torch
from torch import nn

from hvit.bounds import check_bounds
from hvit.data.batches import batches_before, evaluation_batches, train_batches
from hvit.data.images.background import looked_at_meanwhile
from hvit.data.open import moved
from hvit.data.sets import ImageSet
from hvit.data.tables.read import Table
from hvit.errors import UserError
from hvit.files import short_path
from hvit.interrupts import Interrupts
from hvit.recipe import Recipe, as_json, changed_fields, read_recipe
from hvit.report import write_report
from hvit.run_names import RECIPE, TRAINING_IMAGES, picture_file
from hvit.runs.elastic import divided_again, was_restarted
from hvit.runs.folder import held, refuse_old_run, start_folder, write_scores
from hvit.runs.kind import Kind, Prepared, Report, silent
from hvit.runs.kinds import kind_of_run, settle
from hvit.runs.plan_file import compare, fingerprints, read_plan, refuse_lost, write_plan
from hvit.runs.prepare import (
    augment_on_device,
    check_memory,
    draw_training_images,
    new_model,
    plan_lines,
    prepare,
    with_absolute_paths,
)
from hvit.runs.scoring import held_out_batch_size
from hvit.tasks.task import WHOLE, Batch, Before, Scores, Task
from hvit.training.checkpoint import has_checkpoint
from hvit.training.distribute import NO_COMPILING, Processes, is_compile_failure, processes
from hvit.training.parallel import Parallel
from hvit.training.schedule import LoopConfig
from hvit.training.setup import BatchSource, RunSettings


def plan(recipe: Recipe) -> dict[str, str]:
    """What `train` would do, without doing it; nothing is written."""
    check_bounds(recipe)
    decided: dict[str, str] = {}
    recipe, kind = settle(recipe, decided.update, download=False)
    with processes(recipe.loop.device) as ranks:
        prepared = prepare(recipe, kind, ranks, remember=False)
        lines = plan_lines(prepared, kind) | decided
        if recipe.weights is not None:
            model = new_model(prepared.recipe, kind, lines.update)
            lines |= kind.estimate(prepared, model)
        return lines


def train(
    recipe: Recipe, folder: Path, report: Report = silent, table: Table | None = None, resumes: bool = False
) -> Scores:
    """Runs a recipe in a new run folder; returns the scores.

    report: called with the plan (a dict of lines) before training starts. table: the samples that a Python program
    holds, as `hvit.fit` gives them. resumes: continue the run that the folder may hold; so does a command that torchrun
    or Slurm has started again.
    Raises UserError when the folder already holds a run, when another process trains in it, when the machine is too
    small, and as `prepare` and `Trainer` do.
    """
    check_bounds(recipe)
    if getattr(recipe.data, "folds", 0) and not getattr(recipe.data, "fold", 0):
        raise UserError("this recipe has folds: train all with hvit.verbs.folds.cross_validate, or one with data.fold")
    recipe, kind = settle(recipe, report)
    recipe = with_absolute_paths(recipe, kind)
    with processes(recipe.loop.device) as ranks, _faults_as_sentences():
        again = ranks.mean(torch.tensor(float(resumes or was_restarted()), device=ranks.device)).item() > 0
        if again and ranks.share(os.path.lexists(folder / RECIPE)):
            return _continue(folder, ranks, report, wanted=recipe, table=table)
        ranks.first_only(lambda: refuse_old_run(folder))
        prepared = prepare(recipe, kind, ranks, table=table)
        check_memory(prepared, kind)
        model = new_model(prepared.recipe, kind, report)
        with held(folder, ranks):
            ranks.first_only(lambda: _start(prepared, kind, folder))
            return _run(prepared, kind, model, folder, report)


def resume(
    folder: Path,
    root: str | None = None,
    report: Report = silent,
    accept_changed_data: bool = False,
    table: Table | None = None,
    wanted: Recipe | None = None,
    parallel: Parallel | None = None,
) -> Scores:
    """Continues the run in a folder exactly where its newest checkpoint left it; returns the scores.

    root: where the data is now, if it has moved. accept_changed_data: go on with other data, or another recipe, than
    the run began with; the journal then says what has changed. table: as in `train`. wanted: the recipe that the run
    should have, as `train` takes it. parallel: how several processes share the work from now on; default: as before.
    Raises UserError, with what differs, when the data or the recipe is not what the run began with, and when another
    process trains in the folder.
    """
    with processes(read_recipe(folder).loop.device) as ranks, _faults_as_sentences():
        return _continue(folder, ranks, report, root, accept_changed_data, wanted, table, parallel)


def _continue(
    folder: Path,
    ranks: Processes,
    report: Report,
    root: str | None = None,
    accept_changed_data: bool = False,
    wanted: Recipe | None = None,
    table: Table | None = None,
    parallel: Parallel | None = None,
) -> Scores:
    """As `resume`, in processes that have already joined."""
    recipe = read_recipe(folder)
    kind = kind_of_run(recipe)
    with held(folder, ranks):
        loop, divided = divided_again(_shared(recipe.loop, wanted, parallel), _plan_of(folder), ranks.world_size)
        present = replace(recipe, data=moved(recipe.data, root), loop=loop)
        refuse_lost(folder, present)
        prepared = prepare(present, kind, ranks, table=table)
        if wanted is not None:
            _check_same(wanted, recipe, prepared, folder)
        check_memory(prepared, kind)
        if divided:
            report({"continued": divided})
        accepted: list[str] = []
        ranks.first_only(
            lambda: accepted.extend(_accepted(prepared, kind, recipe, folder, accept_changed_data, report))
        )
        started = replace(prepared.recipe, weights=None if has_checkpoint(folder) else recipe.weights)
        return _run(prepared, kind, new_model(started, kind), folder, report, accept_changed_data, accepted, divided)


def _shared(loop: LoopConfig, wanted: Recipe | None, parallel: Parallel | None) -> LoopConfig:
    """The loop of a run with the present way of sharing the work, where one is given."""
    if wanted is not None:
        now = wanted.loop
        return replace(loop, parallel=now.parallel, shard_size=now.shard_size, offload=now.offload, workers=now.workers)
    if parallel is None or parallel == loop.parallel:
        return loop
    shards = parallel in ("fsdp", "hsdp")
    return replace(
        loop,
        parallel=parallel,
        shard_size=loop.shard_size if parallel == "hsdp" else 0,
        offload=loop.offload and shards,
    )


def _plan_of(folder: Path) -> Mapping[str, object]:
    """What the run began with; nothing where that is damaged, which is refused or accepted later."""
    try:
        return read_plan(folder)
    except UserError:
        return {}


def _check_same(wanted: Recipe, recipe: Recipe, prepared: Prepared, folder: Path) -> None:
    """Raises UserError where the run in a folder is of another recipe than the one that is wanted."""
    wanted, kind = settle(wanted, silent)
    wanted = kind.fit_to_data(with_absolute_paths(wanted, kind), prepared.splits)
    if changes := changed_fields(as_json(recipe), wanted):
        raise UserError(f"the run in {folder} is of another recipe: {'; '.join(changes)}; choose another out")


def _start(prepared: Prepared, kind: Kind, folder: Path) -> None:
    """Writes what the run begins with, and a picture of what the model will see."""
    start_folder(prepared, plan_lines(prepared, kind), folder)
    draw_training_images(kind.for_training(prepared), folder / picture_file(TRAINING_IMAGES))


def _run(
    prepared: Prepared,
    kind: Kind,
    model: nn.Module | tuple[nn.Module, ...],
    folder: Path,
    report: Report,
    accepts_changes: bool = False,
    accepted: Sequence[str] = (),
    divided: str = "",
) -> Scores:
    """Trains from the newest checkpoint, or from the start, to the end; scores and reports."""
    recipe, schedule, ranks = prepared.recipe, prepared.schedule, prepared.ranks
    plan_file = read_plan(folder)
    report(plan_lines(prepared, kind) | {"run folder": str(folder)})
    task = kind.make_task(prepared, model, folder)
    settings = RunSettings(
        folder,
        recipe.loop,
        recipe.optimize,
        schedule,
        ranks,
        recipe.seed,
        fingerprints(plan_file),
        accepts_changes,
        kind.by_block,
    )
    later = prepared.splits.later if ranks.is_first else ()
    with _failures_of_the_device_as_sentences(prepared), looked_at_meanwhile(later):
        changes: dict[str, object] = {"accepted": list(accepted)} if accepted else {}
        changes |= {"divided": divided} if divided else {}
        scores = kind.learn(task, prepared, _batches(prepared, kind), settings, **changes) | {
            "classes": list(prepared.splits.classes),
            "sample_kind": prepared.sample_kind,
        }
    _finish(prepared, kind, task, scores, folder)
    return scores


class _Shared(TypedDict):
    """What training and held-out batches have in common."""

    workers: int
    pin_memory: bool
    stops: Callable[[], bool]


def _batches(prepared: Prepared, kind: Kind) -> BatchSource:
    """Where the training, the held-out and the test batches of a run come from."""
    recipe, splits, ranks, interrupts = prepared.recipe, prepared.splits, prepared.ranks, Interrupts()
    shown = kind.for_training(prepared)
    shared: _Shared = {
        "workers": recipe.loop.workers,
        "pin_memory": ranks.device.type == "cuda",
        "stops": interrupts.__bool__ if ranks.world_size == 1 else lambda: False,
    }

    def training(start_step: int) -> Iterable[Batch]:
        return train_batches(
            splits.train, num_classes=len(splits.classes), preprocess=shown.preprocess, augment=shown.recipe.augment,
            seed=recipe.seed, batch_size=recipe.loop.batch_size, total_steps=prepared.schedule.total_steps,
            start_step=start_step, repeats=recipe.loop.repeats, rank=ranks.rank, world_size=ranks.world_size,
            label_kind=splits.labels.kind, **shared,
        )  # fmt: skip

    batch_size = held_out_batch_size(prepared.preprocess)

    def held_out(images: ImageSet) -> Iterable[Batch]:
        # During training one view of a clip is seen; all its views are, when training has finished.
        return evaluation_batches(
            images, preprocess=prepared.preprocess, batch_size=batch_size, views=(1, 1), rank=ranks.rank,
            world_size=ranks.world_size, **shared,
        )  # fmt: skip

    def before(images: ImageSet) -> Before:
        count = batches_before(len(images), batch_size, ranks.rank, ranks.world_size)
        return Before(count, count * batch_size)

    test = splits.test if kind.tests else None
    return BatchSource(
        training,
        partial(held_out, splits.held_out),
        augment_on_device(shown, recipe.loop.batch_size, ranks.rank, ranks.world_size),
        prepared.sample_kind,
        partial(held_out, test) if test else None,
        before(splits.held_out),
        before(test) if test else WHOLE,
        interrupts,
    )


def _finish(prepared: Prepared, kind: Kind, task: Task, scores: Scores, folder: Path) -> None:
    """Scores, pictures and the report of a run whose weights are written."""
    looked = kind.look(prepared, folder)

    def finish() -> None:
        kind.finish(prepared, task, scores, folder, looked)
        write_scores(folder, scores)
        write_report(folder)

    prepared.ranks.first_only(finish)


def _accepted(
    prepared: Prepared, kind: Kind, recipe: Recipe, folder: Path, accepts: bool, report: Report
) -> tuple[str, ...]:
    """What differs from what the run began with, if that is accepted; the plan then says what it goes on with."""
    changes, notes, is_new = compare(folder, recipe, prepared.splits, prepared.sample_kind, accepts)
    if changes:
        report({"accepted": "; ".join(changes)})
    if notes:
        report({"notes": "\n".join(notes)})
    if is_new:
        write_plan(folder, plan_lines(prepared, kind), prepared.schedule, recipe, prepared.splits)
    return changes


@contextmanager
def _faults_as_sentences() -> Iterator[None]:
    """What the machine refuses a run, such as room on a disk or memory, becomes one sentence (UserError)."""
    try:
        yield
    except OSError as error:
        place = f"{short_path(Path(os.fsdecode(error.filename)))}: " if isinstance(error.filename, str | bytes) else ""
        raise UserError(f"the system refused the run something: {place}{error.strerror or error}") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        first = (str(error).strip().splitlines() or ["no memory is left"])[-1][:200]
        raise UserError(
            f"this machine has too little memory for the run ({first}): lower --loop.batch-size or --loop.workers, "
            f"raise --loop.accumulate, or choose a smaller --model"
        ) from error


@contextmanager
def _failures_of_the_device_as_sentences(prepared: Prepared) -> Iterator[None]:
    """A full device, and a compiler that fails, become one sentence (UserError)."""
    loop, schedule = prepared.recipe.loop, prepared.schedule
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{prepared.ranks.device} has too little memory for {schedule.images_per_device} {prepared.sample_kind} at "
            f"a time: raise --loop.accumulate (now {loop.accumulate}), or set --loop.checkpoint-activations"
        ) from error
    except RuntimeError as error:
        if not (loop.compile and is_compile_failure(error)):
            raise
        first = str(error).strip().splitlines()[0]
        raise UserError(f"torch.compile failed: {first}; {NO_COMPILING}") from error
