"""Claims about the tree picture: it is written whole, nothing in it overlaps, and no name breaks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from hvit.errors import UserError
from hvit.explain import draw_cam, draw_trees, save_figure
from hvit.explain.drawing.layout import place_blocks
from hvit.explain.page import ExplainedClass, ExplainedImage, render_page
from tests.explain.drawing.trees import DIGIT, HOSTILE, PHOTO, assert_nothing_overlaps, grow, grow_removed, texts


@pytest.mark.parametrize("classes", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_no_text_overlaps_another_or_leaves_the_picture(depth: int, classes: int) -> None:
    size, picture = ((224, 224), PHOTO) if depth == 2 else ((32, 32), DIGIT)
    trees = [grow(depth, seed, size, scale=0.3 * 12.0**seed) for seed in range(classes)]
    assert_nothing_overlaps(draw_trees(picture, trees, HOSTILE[:classes], [0.99999, 0.5, 0.00001, 0.0][:classes]))


def test_classes_of_one_path_share_it_without_overlap() -> None:
    for depth in (1, 3, 4):
        assert_nothing_overlaps(draw_trees(PHOTO, [grow(depth)] * 4))


@pytest.mark.parametrize("size", [(120, 360), (360, 120)])
def test_an_image_that_is_not_square_keeps_its_shape(size: tuple[int, int]) -> None:
    figure = draw_trees(np.zeros((*size, 3), np.uint8), [grow(2, size=size)])
    assert_nothing_overlaps(figure)
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(size[1] / size[0])


def test_small_images_stay_crisp_squares_and_photos_are_smooth() -> None:
    for picture, size, expected in ((DIGIT, (32, 32), "nearest"), (PHOTO, (224, 224), "catrom")):
        assert draw_trees(picture, [grow(2, size=size)]).axes[0].images[0].get_interpolation() == expected


@pytest.mark.parametrize("name", [*HOSTILE, "", " ", "\n", "$", "$$", "\\"])
def test_no_name_breaks_a_picture(name: str, tmp_path: Path) -> None:
    save_figure(draw_trees(DIGIT, [grow(3, size=(32, 32))], [name], [0.5], dpi=60), tmp_path / "tree.png")
    save_figure(draw_cam(DIGIT, np.eye(4), name, 0.5, dpi=60), tmp_path / "cam.png")
    assert (tmp_path / "tree.png").stat().st_size > 10_000
    assert (tmp_path / "cam.png").stat().st_size > 5_000


def test_dollar_signs_are_shown_and_not_read_as_mathematics() -> None:
    figure = draw_trees(PHOTO, [grow(2)], ["$x^2$"])
    name = next(text for text in texts(figure) if "x^2" in text.get_text())
    plain, is_math = name._preprocess_math(name.get_text())
    assert (plain, is_math) == ("$x^2$", False)


def test_an_impossible_request_is_refused_with_a_sentence(tmp_path: Path) -> None:
    tree = grow(2)
    with pytest.raises(UserError, match="shows 1 to 4 classes, got 0"):
        draw_trees(PHOTO, [])
    with pytest.raises(UserError, match="shows 1 to 4 classes, got 5"):
        draw_trees(PHOTO, [tree] * 5)
    with pytest.raises(UserError, match="class names"):
        draw_trees(PHOTO, [tree], ["dog", "cat"])
    with pytest.raises(UserError, match="probabilities"):
        draw_trees(PHOTO, [tree], ["dog"], [])
    with pytest.raises(UserError, match="same image"):
        draw_trees(PHOTO, [tree, grow(3)])
    with pytest.raises(UserError, match="400 x 224 but the model saw 224 x 224"):
        draw_trees(np.zeros((224, 400)), [tree])
    with pytest.raises(UserError, match="before normalisation"):
        draw_trees(np.full((224, 224), -1.5), [tree])
    with pytest.raises(UserError, match=r"shape \(3, 224, 224\)"):
        draw_trees(np.zeros((3, 224, 224)), [tree])
    with pytest.raises(UserError, match=r"'\.doc'; use one of .*png"):
        save_figure(Figure(), tmp_path / "tree.doc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clear", [0, 1, 2, 3])
def test_of_64_blocks_those_below_a_clear_path_are_drawn(clear: int) -> None:
    tree = grow_removed(5, clear, depth=3)
    blocks = place_blocks([tree], 1.0, 0.5)
    assert [sum(len(block) == step for block in blocks) for step in range(4)] == [1, 4, 16, 4 * (clear > 1)]
    assert_nothing_overlaps(draw_trees(PHOTO, [tree], ["animal"], [0.5], all_names=["kind"] * 10))
    shown = ExplainedImage("a.png", np.zeros((64, 64)), [ExplainedClass("animal", 0.5, tree, {})], ["kind"] * 10)
    assert render_page([shown]).count('role="treeitem"') == len(blocks)


@pytest.mark.parametrize("clear", [0, 1, 2])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_path_of_block_shapley_is_drawn_as_far_as_its_blocks_stand_out(clear: int, classes: int) -> None:
    trees = [grow_removed(seed, clear) for seed in range(classes)]
    names = [f"animal {number}" for number in range(classes)]
    figure = draw_trees(PHOTO, trees, names, [0.5] * classes, all_names=[f"kind {number}" for number in range(10)])
    assert_nothing_overlaps(figure)
    written = [text.get_text() for text in texts(figure)]
    assert "Block Shapley" in written
    assert "Before seeing the image: kind 7 (88.0 %)." in written
    says = {
        0: "No block stands out.",
        1: "Without the framed block the model would say kind 3 (40.0 %).",
        2: "Without the framed block the model would still say animal 0 (50.0 %).",
    }
    assert written.count(says[clear]) == (1 if clear == 2 else classes)
    bold = [text for text in texts(figure) if text.get_weight() == "bold" and "." in text.get_text()]
    assert len(bold) == classes * (1 + clear)
