"""Opens the teachers that a recipe names, and compares them with the data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

from torch import nn

from hvit.data.layout import spelling
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.sets import IMAGENET_MEAN, IMAGENET_STD, statistics_for
from hvit.errors import UserError
from hvit.files import as_path
from hvit.markup import some_of
from hvit.models.build import build, build_empty
from hvit.models.catalogue import entry, list_models, name_of
from hvit.models.gan.generator import Generator
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.probe import ProbeConfig, ProbedConfig
from hvit.models.weights.hub import named_on_hub
from hvit.models.weights.load import download_timm, load_weights
from hvit.models.weights.open import open_any
from hvit.models.weights.teacher import teacher_state
from hvit.run_names import WEIGHTS
from hvit.runs.starting import TEACHER, TIMM, Start, choose_start
from hvit.tasks.distill import Teacher

_CROP, _NAMED = 0.875, 3


def has_name(what: str) -> bool:
    """Whether a teacher is given by name, not by a path."""
    return what == TEACHER or what.startswith("timm/") or what in list_models()


def open_teacher(what: str) -> Teacher:
    """The teacher that a recipe names.

    what: a run folder, a weights file in any known format, "timm/NAME" or a catalogue name (published weights),
    "hf:owner/name" (of the hub), or "teacher" (the network of the extra). Raises UserError where it is not there, or
    makes images.
    """
    if has_name(what) or named_on_hub(what):
        return _opened(what, None)
    path = as_path(what)
    if not os.path.lexists(path):
        raise UserError(
            f"there is no teacher {what}: give a run folder, a weights file, timm/NAME, or teacher (hvit[teacher])"
        )
    file = path / WEIGHTS if path.is_dir() else path
    state = file.stat() if file.exists() else None
    return _opened(str(path), (state.st_mtime_ns, state.st_size) if state else None)


def empty_teacher(what: str) -> Teacher:
    """The same without memory for its weights, and without a download where it has a name; for counting."""
    if not has_name(what):
        opened = open_teacher(what)
        return replace(opened, model=build_empty(opened.model.config))
    start, preprocess = _start_of(what)
    return Teacher(start.name, build_empty(start.encoder).eval(), (), preprocess, "")  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=4)
def _opened(what: str, state: tuple[int, int] | None) -> Teacher:
    """A teacher, opened once. state: of its file, so that a changed one is opened anew."""
    model, name, classes, preprocess = _named(what) if has_name(what) else _of_file(what)
    model.eval().requires_grad_(False)
    return Teacher(name, model, classes, preprocess, _checksum(model))


def _start_of(what: str) -> tuple[Start, Preprocess]:
    """Where a teacher with a name comes from, and how its images are prepared."""
    if what == TEACHER:
        start = choose_start(ProbeConfig(), TEACHER)
    else:
        start = choose_start(replace(ProbeConfig(), encoder=cast(ProbedConfig, entry(what).config)), TIMM)
    assert start is not None
    config = start.encoder
    mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, config.in_channels)
    preprocess = Preprocess(
        config.input_size, tuple(start.mean or mean), tuple(start.std or std), start.crop,
        start.interpolation,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    return start, preprocess


def _named(what: str) -> tuple[Encoder, str, tuple[str, ...], Preprocess]:
    start, preprocess = _start_of(what)
    config = start.encoder
    source = teacher_state(config) if what == TEACHER else download_timm(name_of(config))  # pyright: ignore[reportArgumentType]
    model = build(config)
    load_weights(model, source)
    return model, start.name, (), preprocess


def _of_file(what: str) -> tuple[Encoder | MaskedAutoencoder, str, tuple[str, ...], Preprocess]:
    opened = open_any(what)
    if isinstance(opened.model, Generator):
        raise UserError(f"the teacher {what} holds a generator, which makes images; name a classifier or an encoder")
    config = opened.model.config
    if opened.preprocess:
        preprocess = stored_preprocess(opened.preprocess, config.input_size, what)
    else:
        mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, config.in_channels)
        preprocess = Preprocess(config.input_size, mean, std, _CROP, "bilinear")
    return opened.model, f"{opened.name} of {what}", opened.classes, preprocess


def class_order(teacher: Teacher, classes: Sequence[str]) -> list[int]:
    """Which of a teacher's logits belong to the classes of the data, in their order; by name where it has names.

    Raises UserError, with the difference, for a teacher of other classes, or of none.
    """
    if not teacher.num_classes:
        raise UserError(f"the teacher {teacher.name} predicts no classes; set distill.target to features")
    has, wanted = [spelling(name) for name in teacher.classes], [spelling(name) for name in classes]
    advice = "fit a head to it first (`hvit probe`), or set distill.target to features"
    if not has:
        if teacher.num_classes != len(classes):
            raise UserError(
                f"the teacher {teacher.name} has {teacher.num_classes} classes, and the data {len(classes)}; {advice}"
            )
        return list(range(len(classes)))
    lacking = [name for name in wanted if name not in has]
    more = [name for name in has if name not in wanted]
    if lacking or more:
        lacks = f" lacks {some_of(lacking, _NAMED)}" if lacking else ""
        knows = f" has {some_of(more, _NAMED)}, which the data lacks" if more else ""
        raise UserError(f"the teacher {teacher.name}{lacks}{' and' if lacking and more else ''}{knows}; {advice}")
    return [has.index(name) for name in wanted]


def knows_classes(teacher: Teacher, classes: Sequence[str]) -> bool:
    """Whether a teacher's logits are those of the data's classes."""
    try:
        class_order(teacher, classes)
    except UserError:
        return False
    return True


def _checksum(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
