"""What the teachers of a run say to its images: asked once before training, and kept in the run folder."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console

from hvit.data.augment import Augment
from hvit.data.batches import evaluation_batches
from hvit.data.loader import Batch
from hvit.data.open import CifarData, FashionData, FolderData, ImageSet, Splits
from hvit.data.preprocess import Preprocess
from hvit.data.relabelled import Relabelled
from hvit.errors import UserError
from hvit.files import replacing
from hvit.progress import FilesDone
from hvit.run_names import TEACHERS
from hvit.runs.kind import Prepared
from hvit.runs.plan_file import fingerprints, read_plan
from hvit.runs.scoring import held_out_batch_size
from hvit.runs.teachers import class_order, knows_classes, open_teacher
from hvit.tasks.distill import Distill, Teacher, first_key
from hvit.training.setup import BatchSource, RunSettings

T = TypeVar("T")
_MOST_REMEMBERED = 2**28
"""Numbers of teachers' answers that are kept for all training images: 1 GiB."""


def ask_teachers(task: Distill, prepared: Prepared, batches: BatchSource, settings: RunSettings) -> None:
    """Gives a task what its teachers say to the held-out images, and where nothing is augmented to all.

    Read from the run folder, where an earlier start of the run has left it; asked and written there where not.
    """
    path, identity = settings.folder / TEACHERS, _identity(prepared, settings.folder)
    _write_answers(path, identity, task, prepared, batches, settings)
    stored = _stored(path, identity)
    assert stored is not None
    for number, images in enumerate(scored_parts(prepared.splits)):
        said = [torch.from_numpy(one) for one in stored[f"part_{number}"]]
        task.answers[stored["firsts"][number].tobytes()] = said
        if said and isinstance(images, Relabelled) and (images.labels < 0).all():
            images.labels[:] = task.together(said).argmax(dim=1).numpy()
    if len(stored["keys"]):
        task.teachers.remember(stored["keys"], stored["rows"])
    task.seconds_asked = float(stored["seconds"])


def scored_parts(splits: Splits) -> list[ImageSet]:
    """The parts of the data that a run is scored on."""
    return [one for one in (splits.held_out, splits.test) if one is not None]


def is_remembered(prepared: Prepared) -> bool:
    """Whether every training image is seen in one way only, so that teachers are asked about it once."""
    augment, recipe = prepared.recipe.augment, prepared.recipe
    if Augment(augment, prepared.preprocess).is_random or augment.mixup or augment.cutmix:
        return False
    if not isinstance(recipe.data, FolderData | CifarData | FashionData):
        return False
    width = sum(one.num_classes + (one.feature_dim or 0) for one in map(open_teacher, recipe.distill.teachers))
    return len(prepared.splits.train) * width <= _MOST_REMEMBERED


def _write_answers(
    path: Path, identity: str, task: Distill, prepared: Prepared, batches: BatchSource, settings: RunSettings
) -> None:
    """Writes what teachers say, where an earlier start of the run has not."""
    splits, ranks, began = prepared.splits, settings.ranks, time.monotonic()
    if ranks.of_first(lambda: _stored(path, identity) is not None):
        return
    firsts, parts = [], {}
    for number, images in enumerate(scored_parts(splits)):
        first = next(iter(evaluation_batches(images, preprocess=prepared.preprocess, batch_size=1, views=(1, 1))))[
            "images"
        ]
        firsts.append(np.frombuffer(first_key(first), np.uint8))
        said = [_logits(one, images, prepared, batches, settings) for one in task.teachers.teachers]
        known = [one for one in said if one is not None]
        parts[f"part_{number}"] = np.stack(known) if known else np.empty((0, len(images), 0), np.float32)

    def ask(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        images = batch["images"].to(ranks.device)
        keys = np.frombuffer(b"".join(task.teachers.keys(images)), np.uint8).reshape(-1, 16)
        return keys, task.teachers.ask(images).cpu().numpy()

    keys, rows = np.empty((0, 16), np.uint8), np.empty((0, 0), np.float32)
    if is_remembered(prepared):
        found = _of_all(ask, splits.train, task.teachers.view, batches, settings)
        if ranks.is_first:
            keys, rows = (np.concatenate(some) for some in zip(*found, strict=True))

    def write() -> None:
        with replacing(path) as file:
            np.savez(
                file, identity=np.array(identity), firsts=np.stack(firsts), **parts, keys=keys, rows=rows,
                seconds=np.array(time.monotonic() - began),
            )  # fmt: skip

    ranks.first_only(write)


def _logits(
    teacher: Teacher, images: ImageSet, prepared: Prepared, batches: BatchSource, settings: RunSettings
) -> np.ndarray | None:
    """What a teacher says to images that it sees as it was trained: logits (images, classes of the data).

    None of a teacher of other classes, and in all processes but the first, which computes them with the others.
    """
    splits, ranks = prepared.splits, settings.ranks
    if not knows_classes(teacher, splits.classes):
        return None
    own = replace(teacher.preprocess, grey_range=splits.grey_range, page=splits.page)
    teacher.model.to(ranks.device)

    @torch.inference_mode()
    def ask(batch: Batch) -> np.ndarray:
        logits = teacher(batch["images"].to(ranks.device))[0]
        assert logits is not None
        return logits[:, class_order(teacher, splits.classes)].cpu().numpy()

    found = _of_all(ask, images, own, batches, settings)
    return np.concatenate(found) if ranks.is_first else None


def _identity(prepared: Prepared, folder: Path) -> str:
    """What the teachers' answers depend on: the data, the teachers, and how images are prepared."""
    how = prepared.recipe.distill
    facts = [fingerprints(read_plan(folder))["data"], how.checksums, how.target, asdict(prepared.preprocess)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stored(path: Path, identity: str) -> dict[str, np.ndarray] | None:
    """The answers that a start of the run has left; None where there are none of these teachers and data."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored}
            _ = [found[name] for name in ("firsts", "part_0", "keys", "rows", "seconds")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if str(found["identity"]) == identity else None


def _of_all(
    ask: Callable[[Batch], T], images: ImageSet, preprocess: Preprocess, batches: BatchSource, settings: RunSettings
) -> list[T]:
    """What is answered to every batch of a set, with progress; each process asks about a part.

    Returns all answers in the first process, in order. Raises UserError where the run is interrupted.
    """
    ranks = settings.ranks
    loader = evaluation_batches(
        images, preprocess=preprocess, batch_size=held_out_batch_size(preprocess), views=(1, 1), rank=ranks.rank,
        world_size=ranks.world_size, workers=settings.loop.workers,
        stops=batches.interrupts.__bool__ if ranks.world_size == 1 else lambda: False,
    )  # fmt: skip
    words, console = ("asking the teachers", "done", "images"), Console(stderr=True, quiet=not ranks.is_first)

    def work() -> list[T]:
        answers = []
        with batches.interrupts.kept(), FilesDone(-(-len(images) // ranks.world_size), console, words) as view:
            for batch in loader:
                answers.append(ask(batch))
                for _ in batch["targets"]:
                    view.step()
                if batches.interrupts:
                    raise UserError(f"stopped; `hvit resume {settings.folder}` starts it anew")
        return answers

    return [answer for some in ranks.gather(work) for answer in some]
