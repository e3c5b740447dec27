"""A model's outputs as answers: probabilities of classes, classes that are present, or numbers in their units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from hvit.explain.tree import ClipTree, Prediction, Tree
from hvit.explain.words import percent
from hvit.labels import LabelSpec, present_classes

AnyTree = TypeVar("AnyTree", bound=Tree | ClipTree)


def answers_of(logits: Tensor, labels: LabelSpec) -> Tensor:
    """Outputs (..., outputs) as probabilities, or as numbers in the units of the labels."""
    if labels.kind == "regression":
        mean, std = (torch.tensor(one, dtype=torch.float64, device=logits.device) for one in (labels.mean, labels.std))
        return (logits.double() * std + mean).float()
    return logits.sigmoid() if labels.kind == "multi" else logits.softmax(dim=-1)


def most_asked(answers: Tensor, labels: LabelSpec, most: int) -> list[int]:
    """The outputs to explain, the most probable first; numbers in their order."""
    count = min(most, len(answers))
    return list(range(count)) if labels.kind == "regression" else answers.topk(count).indices.tolist()


def shown_answers(
    names: Sequence[str], values: Sequence[float], labels: LabelSpec
) -> tuple[list[str], list[float] | None]:
    """Names and probabilities for a picture; a number stands behind its name, and has no probability."""
    if labels.kind != "regression":
        return list(names), list(values)
    return [_words(name, value, labels) for name, value in zip(names, values, strict=True)], None


def in_words(answers: Sequence[float], labels: LabelSpec) -> str:
    """What is predicted of one sample, for a caption."""
    if labels.kind == "regression":
        return ", ".join(_words(name, value, labels) for name, value in zip(labels.names, answers, strict=True))
    if labels.kind == "multi":
        return ", ".join(labels.names[index] for index in present_classes(answers, labels)) or "no class"
    return labels.names[max(range(len(answers)), key=answers.__getitem__)]


def reread(trees: Sequence[AnyTree], labels: LabelSpec, names: Sequence[str]) -> list[AnyTree]:
    """Trees whose predictions without blocks are in terms of the explained output; of single labels the same trees.

    names: of all outputs.
    """
    if labels.has_classes:
        return list(trees)

    def read(tree: AnyTree, one: Prediction) -> Prediction:
        name, logit = names[tree.class_index], one.logit
        if labels.kind == "regression":
            value = logit * labels.std[tree.class_index] + labels.mean[tree.class_index]
            return one._replace(class_index=tree.class_index, words=_words(name, value, labels))
        share = 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))
        return Prediction(tree.class_index, share, share, logit, f"{name} {percent(share)}")

    found = []
    for tree in trees:
        removal = tree.removal
        if removal is not None:
            without = tuple(read(tree, one) for one in removal.without)
            removal = replace(removal, before=read(tree, removal.before), without=without)
        found.append(replace(tree, removal=removal))
    return found


def _words(name: str, value: float, labels: LabelSpec) -> str:
    return f"{name} {value:.4g}" if labels.kind == "regression" else f"{name} {percent(value)}"
