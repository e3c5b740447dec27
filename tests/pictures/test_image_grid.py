"""Claims about grids of images."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hvit import pictures
from tests.pictures.figures import size


def test_the_image_grid_shows_every_image_with_its_pixels_unsmoothed():
    grey, colour = np.eye(8), np.zeros((40, 60, 3), np.uint8)
    images = [grey, colour, Image.new("L", (8, 8)), Image.new("P", (300, 200)), grey]
    figure = pictures.draw_image_grid(images, list("abcde"), 3)
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == list("abcde")
    assert [axes.images[0].get_interpolation() for axes in shown[:4]] == [
        "nearest",
        "nearest",
        "nearest",
        "antialiased",
    ]
    assert size(figure) == (255, 200)
