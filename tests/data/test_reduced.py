"""A reduced picture remembers its full size."""

from __future__ import annotations

from PIL import Image

from hvit.data import sets
from hvit.data.reduced import Reduced


def test_the_size_is_that_of_the_whole_picture() -> None:
    reduced = Reduced(Image.new("L", (5, 4)), (40, 32))
    assert (reduced.image.size, reduced.size) == ((5, 4), (40, 32))
    assert sets.Reduced is Reduced
