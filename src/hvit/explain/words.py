"""What the methods are called, and what their values mean, for a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import floor, log10
from typing import NamedTuple

import numpy as np


class Method(NamedTuple):
    """A method as a reader knows it, and what its values mean in a sentence."""

    title: str
    meaning: str


METHODS = {
    "block_shapley": Method("Block Shapley", "What each block adds to the class's logit, measured by removing blocks."),
    "gradcat": Method("GradCAT", "Feature times gradient in each block, and the path of the largest."),
    "gradcat_libra": Method(
        "GradCAT, LibraGrad", "The same with gradients that add up to the class's logit at every level."
    ),
    "cam": Method("CAM", "What each place adds to the class's logit, exactly."),
    "gradcam": Method("Grad-CAM", "Channels weighted by the mean gradient of the class's logit."),
    "gradcam++": Method("Grad-CAM++", "Channels weighted by the gradient's positive parts."),
    "rollout": Method("Rollout", "Attention followed through all layers; the same for every class."),
}
"""The methods by their key, in the order in which they are shown."""


def method_of(key: str) -> Method:
    """How a method is called and what it means; one that is not in `METHODS` is called by its key."""
    return METHODS.get(key, Method(key, ""))


MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number_writer(values: Iterable[float]) -> tuple[Callable[[float], str], str]:
    """How to write numbers side by side in few characters: the function, and the factor to print once ("" for none)."""
    largest = max((abs(value) for value in values if np.isfinite(value)), default=0.0)
    exponent = 0 if largest == 0 or 0.1 <= largest < 1000 else floor(log10(largest))
    decimals = 2 if exponent else min(max(2 - floor(log10(max(largest, 1.0))), 0), 2)

    def write(value: float) -> str:
        if not np.isfinite(value):
            return ""
        return f"{value / 10.0**exponent:z.{decimals}f}".replace("-", MINUS)

    return write, f"{TIMES} 10{str(exponent).translate(SUPERSCRIPT)}" if exponent else ""


def percent(probability: float) -> str:
    """A probability from 0 to 1 as it is written next to a class."""
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{100 * probability:.1f} %"


def logit_words(logit: float) -> str:
    """A logit as it is written next to a class."""
    return f"logit {logit:#.3g}".rstrip(".").replace("-", MINUS)
