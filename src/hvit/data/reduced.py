"""A picture that was decoded smaller than it is, and how small it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

Needed = Callable[[int, int], tuple[int, int]]
"""Of a picture so wide and so high: how wide and how high at least it must be decoded for what is made of it."""


@dataclass(frozen=True)
class Reduced:
    """A picture that was decoded smaller than it is.

    size: width and height of the picture in full, to which everything that is chosen at random refers.
    """

    image: Image.Image
    size: tuple[int, int]
