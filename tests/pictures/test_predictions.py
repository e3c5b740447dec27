"""Claims about the pictures of predictions."""

from __future__ import annotations

import numpy as np
import pytest

from hvit import pictures
from tests.pictures.figures import contrast, size


@pytest.mark.parametrize("num_classes", [2, 10, 100, 130])
def test_a_confusion_matrix_fits_from_two_classes_to_many(num_classes: int):
    matrix = np.diag(np.full(num_classes, 20))
    figure = pictures.draw_confusion(matrix, [f"class number {number}" for number in range(num_classes)])
    width, height = size(figure)
    assert 150 < width < 700
    assert 150 < height < 700


def test_counts_are_written_only_where_they_fit():
    def written(num_classes: int, count: int) -> list[str]:
        figure = pictures.draw_confusion(np.diag(np.full(num_classes, count)), ["x"] * num_classes)
        return [text.get_text() for text in figure.axes[0].texts]

    assert written(3, 12) == ["12", "12", "12"]  # zeros stay empty
    assert written(100, 12) == []
    assert written(40, 1234567) == []


def test_counts_are_readable_on_light_and_dark_cells():
    for theme in (pictures.LIGHT, pictures.DARK):
        figure = pictures.draw_confusion([[50, 1], [0, 50]], ["a", "b"], theme)
        cells = figure.axes[0].collections[0]
        figure.draw_without_rendering()
        colours = np.asarray(cells.get_facecolor())[:, :3]
        for text in figure.axes[0].texts:
            column, row = (int(place) for place in text.get_position())
            ink = np.array([int(str(text.get_color())[start : start + 2], 16) / 255 for start in (1, 3, 5)])
            assert contrast(ink, colours[2 * row + column]) > 3


def test_a_name_that_the_font_lacks_is_named_by_its_number():
    figure = pictures.draw_confusion([[1, 0], [0, 1]], ["狗", "cat"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["class 0", "cat"]
    assert pictures.plain_text("狗 dog", 10) == "□ dog"
