"""Answers as they are printed: a line for people, or a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hvit.files import JsonObject
from hvit.markup import shown

if TYPE_CHECKING:
    import numpy as np


def percent(value: float | None) -> str:
    """A share with one decimal; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def answer_line(answer: JsonObject) -> str:
    """What was predicted of one file."""
    return f"{answer['file']}: {'unsure  ' if answer.get('unsure') else ''}{answer_words(answer)}"


def answer_words(answer: JsonObject) -> str:
    """What was predicted of a file: numbers, the classes that are present, or the most probable classes, of every level
    of a hierarchy the first."""
    if "values" in answer:
        return "  ".join(f"{name} {value:.4g}" for name, value in answer["values"].items())
    most = "  ".join(
        f"{one['class']} {percent(one['probability'])}"
        if "probability" in one
        else f"{one['class']} {one['value']:.4g}"
        for one in answer["classes"]
    )
    if "labels" in answer:
        return f"{', '.join(answer['labels']) or 'no class'}  ({most})"
    if "levels" in answer:
        levels = level_words(answer["levels"])
        return f"{levels}  ({most})" if len(answer["classes"]) > 1 else levels
    return most


def level_words(levels: Mapping[str, JsonObject]) -> str:
    """The most probable class of every level, coarse to fine. levels: as of `labels.best_of_levels`."""
    return " · ".join(f"{name} {one['class']} {percent(one['probability'])}" for name, one in levels.items())


def over_time(looks: Sequence[np.ndarray], rate: float, answers: Sequence[JsonObject]) -> list[JsonObject]:
    """The answer of every view of a clip, with its start and end in seconds.

    looks: for each view the numbers of its frames, ascending. rate: frames a second.
    """
    return [
        {"start": round(float(frames[0]) / rate, 3), "end": round(float(frames[-1] + 1) / rate, 3), **answer}
        for frames, answer in zip(looks, answers, strict=True)
    ]


def json_line(row: Mapping[str, object]) -> str:
    """A JSON object in one line. Strings are exact; what would command a terminal is escaped as JSON escapes it."""
    text = json.dumps(row, ensure_ascii=False)
    if shown(text) != text:
        text = "".join(letter if shown(letter) == letter else _json_escape(letter) for letter in text)
    return text


def ranked(names: Sequence[str], probabilities: Sequence[float], indices: Sequence[int]) -> list[JsonObject]:
    """Classes with their probabilities, in the order of `indices`. All three are of these classes only."""
    return [
        {"class": name, "index": index, "probability": round(value, 6)}
        for name, value, index in zip(names, probabilities, indices, strict=True)
    ]


def _json_escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"
