"""Histograms of gradients are those of MaskFeat's target layer (SlowFast's HOGLayerC), by its definition."""

from __future__ import annotations

from math import atan2, floor, hypot, pi, sqrt

import numpy as np
import torch

from hvit.models.masked.targets import histograms


def by_definition(image: np.ndarray, cell: int) -> np.ndarray:
    """One channel (rows, columns) -> (9, rows of cells, columns of cells), pixel by pixel in double precision.

    Gradients are the products of [1, 2, 1] and [1, 0, -1] on the image with its border reflected; an angle, measured
    from the second axis, counts with its gradient's length in one of nine bins of half a turn; a cell's bins have
    length one.
    """
    rows, columns = image.shape
    padded = np.pad(image.astype(np.float64), 1, mode="reflect")
    cells = np.zeros((9, rows // cell, columns // cell))
    for row in range(rows):
        for column in range(columns):
            window = padded[row : row + 3, column : column + 3]
            across = sum(weight * (window[at, 0] - window[at, 2]) for at, weight in enumerate((1, 2, 1)))
            down = sum(weight * (window[0, at] - window[2, at]) for at, weight in enumerate((1, 2, 1)))
            cells[floor(atan2(across, down) / pi * 9) % 9, row // cell, column // cell] += hypot(across, down)
    lengths = np.sqrt((cells**2).sum(0, keepdims=True))
    return cells / np.maximum(lengths, 1e-12)


def test_they_equal_the_definition_to_a_millionth_in_the_authors_order() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 48, generator=generator)
    found = histograms(images, (16, 16))
    assert found.shape == (2, 2, 3, 108), "2 x 2 cells of 9 bins for 3 channels"
    for number in range(2):
        for channel in range(3):
            cells = by_definition(images[number, channel].numpy(), 8)
            for row in range(2):
                for column in range(3):
                    ours = found[number, row, column].view(3, 9, 2, 2)[channel].numpy()
                    theirs = cells[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_ramp_has_one_direction() -> None:
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    cell = histograms(ramp, (16, 16))[0, 0, 0].view(9, 2, 2)[:, 1, 1]
    # The slope is negative across, as the kernel is [1, 0, -1]: atan2(-1, 0) = -pi/2, in bin floor(-4.5) mod 9 = 4.
    assert cell.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert sqrt(float((cell**2).sum())) == 1
