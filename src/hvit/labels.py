"""What labels mean: one class, several classes, a class of an order, or numbers; and what predicting them takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from hvit.errors import UserError
from hvit.files import JsonObject

LabelKind = Literal["single", "multi", "ordinal", "regression"]


@dataclass(frozen=True)
class LabelLevel:
    """A level of a hierarchy of classes, such as genus above species.

    classes: its classes, in the order of their numbers. of: for each of the model's classes, the number of the class
    here that it belongs to.
    """

    name: str
    classes: tuple[str, ...]
    of: tuple[int, ...]


@dataclass(frozen=True)
class LabelSpec:
    """What the labels of a data set are, and what a model's outputs stand for.

    kind: single (each sample has one class), multi (any number of classes), ordinal (one of classes in an order) or
    regression (numbers). names: of the outputs: classes, or what the numbers measure. mean, std: of the training
    labels, for each number of a regression, whose outputs are standardised by them. thresholds: of multi-label
    classes, the probability from which each is predicted; empty before they are chosen. levels: of a hierarchy of
    single labels, coarse to fine; the last one has the model's own classes.
    """

    kind: LabelKind
    names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    levels: tuple[LabelLevel, ...] = ()

    @property
    def has_classes(self) -> bool:
        """Whether a sample has exactly one class."""
        return self.kind in ("single", "ordinal")

    def describe(self) -> str:
        """What is predicted, in a few words."""
        count = len(self.names)
        if self.levels:
            return " > ".join(f"{level.name} ({len(level.classes):,})" for level in self.levels)
        if self.kind == "single":
            return f"one of {count:,} classes"
        if self.kind == "multi":
            return f"any of {count:,} classes (multi-label)"
        if self.kind == "ordinal":
            return f"one of {count:,} classes in the order {', '.join(self.names[:10])}{', …' * (count > 10)}"
        return f"{'a number' if count == 1 else f'{count:,} numbers'} ({', '.join(self.names[:10])})"

    def as_json(self) -> dict[str, object] | None:
        """What a weights file stores besides the names; None for single labels of one level, which need no more."""
        if self.kind == "single" and not self.levels:
            return None
        stored: dict[str, object] = {"kind": self.kind}
        if self.levels:
            stored["levels"] = [
                {"name": one.name, "classes": list(one.classes), "of": list(one.of)} for one in self.levels[:-1]
            ]
            stored["finest"] = self.levels[-1].name
        if self.kind == "regression":
            stored |= {"mean": list(self.mean), "std": list(self.std)}
        if self.kind == "multi":
            stored["thresholds"] = list(self.thresholds)
        return stored


def spec_from_json(stored: object, names: tuple[str, ...], outputs: int, where: str) -> LabelSpec:
    """The meaning of a model's outputs as a weights file says it. Raises UserError where that cannot be.

    stored: as `LabelSpec.as_json` gives it. outputs: how many the model has.
    """
    if stored is None:
        return LabelSpec("single", names)
    kind = stored.get("kind") if isinstance(stored, Mapping) else None
    if not isinstance(stored, Mapping) or kind not in get_args(LabelKind):
        raise UserError(f"{where} is damaged: it does not say what its labels are")
    mean, std, thresholds = (_numbers(stored.get(name, [])) for name in ("mean", "std", "thresholds"))
    lengths = {"regression": (outputs, outputs, 0), "multi": (0, 0, len(thresholds or ()) and outputs)}
    found = [None if values is None else len(values) for values in (mean, std, thresholds)]
    if found != list(lengths.get(str(kind), (0, 0, 0))) or any(not value > 0 for value in std or ()):
        raise UserError(f"{where} is damaged: what it says about its labels does not fit {outputs:,} outputs")
    assert mean is not None
    assert std is not None
    assert thresholds is not None
    levels = _levels(stored, names, outputs) if "levels" in stored else ()
    if levels is None:
        raise UserError(f"{where} is damaged: its levels of classes do not fit {outputs:,} outputs")
    return LabelSpec(kind, names, mean, std, thresholds, levels)  # pyright: ignore[reportArgumentType]  (one of the kinds)


def level_probabilities(probabilities: np.ndarray, level: LabelLevel) -> np.ndarray:
    """Probabilities of the finest classes (samples, classes) as those of a level: sums over what stands under each."""
    found = np.zeros((len(probabilities), len(level.classes)))
    np.add.at(found.T, np.array(level.of), probabilities.T)
    return found


def best_of_levels(shares: Sequence[float], labels: LabelSpec) -> dict[str, JsonObject]:
    """The most probable class of every level of a hierarchy, by the names of levels, as JSON; none without levels.

    shares: probabilities of the finest classes. A class of a level has the sum of those that stand under it.
    """
    found: dict[str, JsonObject] = {}
    for level in labels.levels:
        (sums,) = level_probabilities(np.asarray(shares, np.float64)[None], level)
        best = int(sums.argmax())
        found[level.name] = {"class": level.classes[best], "index": best, "probability": round(float(sums[best]), 6)}
    return found


def finest(name: str, classes: Sequence[str]) -> LabelLevel:
    """The last level of a hierarchy, whose classes are the model's own."""
    return LabelLevel(name, tuple(classes), tuple(range(len(classes))))


def _levels(stored: Mapping[object, object], names: tuple[str, ...], outputs: int) -> tuple[LabelLevel, ...] | None:
    """The levels that a weights file has, or None where they are not possible."""
    rows, last = stored["levels"], stored.get("finest")
    if stored.get("kind") != "single" or not isinstance(rows, list) or not rows or not isinstance(last, str):
        return None
    levels: list[LabelLevel] = []
    for row in rows:
        if not isinstance(row, Mapping):
            return None
        name, classes, of = row.get("name"), row.get("classes"), row.get("of")
        if not isinstance(name, str) or not isinstance(classes, list) or not isinstance(of, list):
            return None
        if not all(isinstance(one, str) for one in classes) or len(of) != outputs:
            return None
        if not all(type(one) is int and 0 <= one < len(classes) for one in of):
            return None
        levels.append(LabelLevel(name, tuple(classes), tuple(of)))
    called = names or tuple(f"class {number}" for number in range(outputs))
    return (*levels, finest(last, called))


def present_classes(answers: Sequence[float], labels: LabelSpec) -> list[int]:
    """The classes of a sample in multi-label: those that reach their thresholds, the most probable first."""
    thresholds = labels.thresholds or (0.5,) * len(answers)
    found = [index for index, (share, least) in enumerate(zip(answers, thresholds, strict=True)) if share >= least]
    return sorted(found, key=lambda index: -answers[index])


def _numbers(values: object) -> tuple[float, ...] | None:
    """Finite numbers, or None for anything else."""
    if not isinstance(values, list | tuple):
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    try:
        numbers = tuple(map(float, values))
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
