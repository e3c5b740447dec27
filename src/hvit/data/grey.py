"""From grey levels or colours of more than 8 bits to 8 bits: which values become black and which white.

Microscopes, X-ray devices and scanners store 10, 12 or 14 bits in files of 16, and some store negative or real numbers.
One rule for a whole data set says what is black and what is white, and travels with the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from hvit.errors import UserError

GreyRange = Literal["auto", "full", "percentile"] | tuple[float, float]
"""Which values of images with more than 8 bits a channel become black and white (see `range_of`)."""
WORDS = ("auto", "full", "percentile")
PERCENTILES = (0.1, 99.9)
_BITS = (8, 10, 12, 14, 16)
_SAMPLED = 1_000_000  # values of an image from which its percentiles are taken


@dataclass(frozen=True)
class Levels:
    """The least and the largest value of some images. is_real: whether they are real numbers, not integers.

    NaN and infinite values do not count.
    """

    low: float
    high: float
    is_real: bool = False

    def __str__(self) -> str:
        return f"{self.low:,.6g} to {self.high:,.6g}" if self.is_real else f"{self.low:,.0f} to {self.high:,.0f}"


def checked_range(value: str | Iterable[float | str]) -> GreyRange:
    """The grey range as a word or two floats. Raises UserError for anything else."""
    if isinstance(value, str) and value in WORDS:
        return value  # pyright: ignore[reportReturnType]
    try:
        low, high = (float(number) for number in value if not isinstance(number, (str, bool)))
    except (TypeError, ValueError):
        low = high = math.nan
    if isinstance(value, str) or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"grey_range must be auto, full, percentile, or two numbers in order, the values of black and white; got "
            f"{value!r}"
        )
    return low, high


def check_page(page: int | None) -> None:
    """Raises UserError for anything but a page number from 1, or None."""
    if page is not None and (not isinstance(page, int) or isinstance(page, bool) or page < 1):
        raise UserError(f"page must be a number from 1, or none; got {page!r}")


def together(levels: Iterable[Levels]) -> Levels | None:
    """The levels of several images; None if there are none, or if some are integers and some real numbers."""
    found = list(levels)
    if len({each.is_real for each in found}) != 1:
        return None
    return Levels(min(each.low for each in found), max(each.high for each in found), found[0].is_real)


def range_of(rule: GreyRange, levels: Levels) -> tuple[float, float]:
    """The values that become black and white of images with some levels.

    auto: integers from 0 to the largest number of 8, 10, 12, 14 or 16 bits that none exceeds; real numbers from 0 to 1
    if none is outside; everything else from the least to the largest value. full: 0 to 65,535, real numbers 0 to 1.
    """
    if isinstance(rule, tuple):
        return rule
    assert rule != "percentile", "the percentiles of an image follow from its pixels"
    if levels.is_real:
        return (0.0, 1.0) if rule == "full" or 0 <= levels.low <= levels.high <= 1 else (levels.low, levels.high)
    if rule == "full":
        return 0.0, 65535.0
    fitting = [2.0**bits - 1 for bits in _BITS if levels.low >= 0 and levels.high <= 2**bits - 1]
    return (0.0, fitting[0]) if fitting else (min(0.0, levels.low), levels.high)


def levels_of(stripes: Iterable[np.ndarray], is_real: bool) -> Levels:
    """The least and the largest finite value in the stripes of an image; 0 and 0 if there is none."""
    low, high = math.inf, -math.inf
    for values in stripes:
        if is_real and not np.isfinite(values).all():
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return Levels(low, high, is_real) if low <= high else Levels(0.0, 0.0, is_real)


def percentiles_of(stripes: Iterator[np.ndarray], count: int) -> tuple[float, float]:
    """Nearly the least and nearly the largest value of an image: its 0.1 and 99.9 % percentiles.

    count: how many values the image has; of more than a million, evenly spaced ones are looked at.
    """
    step = max(1, count // _SAMPLED)
    values = np.concatenate([stripe.ravel()[::step] for stripe in stripes])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


def to_8_bits(values: np.ndarray, black: float, white: float, inverted: bool) -> np.ndarray:
    """Values as grey levels: black and below 0, white and above 255, NaN 0; inverted: the other way round."""
    if values.dtype in (np.uint8, np.uint16):
        return _table(black, white, inverted)[values]
    scale = 255 / (white - black) if white > black else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.rint((values.astype(np.float64) - black) * scale)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    levels = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    return 255 - levels if inverted else levels


@lru_cache(maxsize=16)
def _table(black: float, white: float, inverted: bool) -> np.ndarray:
    """The grey level of each value of 16 bits: looking up costs a byte a pixel, computing eight."""
    return to_8_bits(np.arange(65536, dtype=np.int64), black, white, inverted)


def described(rule: GreyRange) -> str:
    """The range as it is typed after --data.grey-range."""
    return rule if isinstance(rule, str) else " ".join(f"{number:g}" for number in rule)
