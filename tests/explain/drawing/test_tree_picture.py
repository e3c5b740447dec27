"""Claims about the pictures: they are written whole, nothing in them overlaps, and no name breaks them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from PIL import Image

from hvit.errors import UserError
from hvit.explain import Tree, draw_cam, draw_trees, save_figure
from hvit.explain.drawing.canvas import PALETTE, overlay
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.drawing.layout import curve, place_blocks
from hvit.explain.methods.gradcat import greedy_path
from hvit.explain.words import TIMES, number_writer

HOSTILE = [
    "a very, very long class name that no legend of any picture on earth would have room for " * 20,
    "costs $5 to $6 \\frac{1}{2} _^{}%&# $\\undefined$",
    "two\nlines\tand a bell\a, a null\0, right-to-left \u202e, half a pair \udcff",
    "naïve café 犬 🐕 \u0301 ﷽",
]
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))
DIGIT = np.random.default_rng(0).random((32, 32))


def grow(depth: int, seed: int = 0, size: tuple[int, int] = (224, 224), scale: float = 1.0, sign: int = 1) -> Tree:
    """A tree of random values."""
    numbers = np.random.default_rng(seed)
    values = tuple(numbers.normal(scale=scale, size=(2**step, 2**step)) for step in range(1, depth + 1))
    return Tree(seed, scale * 7.654, greedy_path(values), values, size, sign)


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.axes[0].texts if text.get_text()]


def assert_nothing_overlaps(figure: Figure) -> None:
    """All texts are inside the figure, and no two of them touch."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer).padded(-0.5)) for text in texts(figure)]
    for text, box in boxes:
        assert box.x0 > 0, text
        assert box.y0 > 0, text
        assert box.x1 < figure.bbox.width, text
        assert box.y1 < figure.bbox.height, text
    touching = [(one[0], two[0]) for one, two in combinations(boxes, 2) if one[1].overlaps(two[1])]
    assert touching == []


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


def test_every_shown_block_carries_its_value() -> None:
    tree = grow(2)
    written = {text.get_text() for text in texts(draw_trees(PHOTO, [tree]))}
    values = [float(tree.values[0].sum()), *(node.value for node in tree.nodes())]
    assert len(values) == 21
    assert {f"{value:z.2f}".replace("-", "\N{MINUS SIGN}") for value in values} <= written


def test_every_depth_is_written_with_its_own_factor() -> None:
    values = np.full((2, 2), 3.0), np.full((4, 4), 4e-5), np.full((8, 8), 5e-7)
    figure = draw_trees(PHOTO, [Tree(0, 12.0, (0, 0, 0), values, (224, 224))])
    assert_nothing_overlaps(figure)
    written = [text.get_text() for text in texts(figure)]
    assert {f"sixteenths {TIMES} 10⁻⁵", f"64ths {TIMES} 10⁻⁷"} <= set(written)
    assert [written.count(one) for one in ("12.0", "3.0", "4.00", "5.00")] == [1, 4, 16, 4]


def test_deeper_than_sixteenths_the_children_of_the_path_are_shown() -> None:
    pictures = [len(draw_trees(DIGIT, [grow(depth, size=(32, 32))]).axes[0].images) for depth in (1, 2, 3, 4)]
    image_and_root = 2
    assert pictures == [image_and_root + 4, image_and_root + 20, image_and_root + 24, image_and_root + 28]


def test_lines_of_a_path_are_as_thick_as_the_values_are_large() -> None:
    def thickness(value: float) -> float:
        values = np.array([[value, 4.0], [0.0, 0.0]]), np.zeros((4, 4))
        axes = draw_trees(DIGIT, [Tree(0, 1.0, (0, 0), values, (32, 32))]).axes[0]
        lines = [one for one in axes.patches if isinstance(one, PathPatch) and one.get_zorder() == 3]
        assert [to_hex(one.get_edgecolor()).upper() for one in lines] == [PALETTE[0].upper()] * 2
        return lines[0].get_linewidth()

    thin, middle, thick = (thickness(value) for value in (-1.0, 2.0, 4.0))
    assert thin > 0.8, "a line can always be seen"
    assert thick - middle == pytest.approx(middle - thin)
    assert thick > 4 * thin


def test_lines_of_classes_that_share_a_path_run_side_by_side() -> None:
    place = np.linspace(0, 1, 200)[:, None]

    def points(aside: float, end: tuple[float, float]) -> np.ndarray:
        a, b, c, d = map(np.array, curve((0.0, 0.0), end, aside))
        return (1 - place) ** 3 * a + 3 * place * (1 - place) ** 2 * b + 3 * place**2 * (1 - place) * c + place**3 * d

    for end in ((-260.0, 58.0), (-64.0, 58.0), (0.0, 58.0), (30.0, 58.0), (260.0, 58.0)):
        left, right = points(-3, end), points(3, end)
        distances = np.linalg.norm(left[:, None] - right[None], axis=-1).min(axis=1)[20:-20]
        assert distances.min() > 4
        assert distances.max() < 8.5


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_blocks_stand_below_their_parents_and_beside_each_other(depth: int) -> None:
    for seed in range(20):
        trees = [grow(depth, 4 * seed + number) for number in range(4)]
        places = place_blocks(trees, 1.0, 0.5)
        for step in range(1, depth + 1):
            row = sorted(x for block, x in places.items() if len(block) == step)
            assert min(np.diff(row)) >= 1 - 1e-9
            assert max(np.abs(row)) <= 1.5 * 4.5 + 1.5 + 1e-9
        if depth > 1:
            middles = [np.mean([places[first, second] for second in range(4)]) for first in range(4)]
            assert middles == pytest.approx([places[first,] for first in range(4)])


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


def test_a_picture_has_the_size_it_says(tmp_path: Path) -> None:
    figure = draw_trees(PHOTO, [grow(2)], ["dog"], [0.9], dpi=100)
    save_figure(figure, tmp_path / "tree.png")
    with Image.open(tmp_path / "tree.png") as written:
        width, height = written.size
    assert 900 < width < 1300
    assert 300 < height < 600
    assert 50_000 < (tmp_path / "tree.png").stat().st_size < 2_000_000


def test_the_users_matplotlib_settings_do_not_change_the_picture(tmp_path: Path) -> None:
    def drawn() -> bytes:
        save_figure(draw_trees(DIGIT, [grow(2, size=(32, 32))], ["$dog$"]), tmp_path / "tree.png")
        return (tmp_path / "tree.png").read_bytes()

    expected = drawn()
    strange = {"text.usetex": True, "savefig.dpi": 30, "savefig.bbox": "tight", "text.color": "red", "font.size": 30}
    with matplotlib.rc_context(strange):
        assert drawn() == expected


def test_values_are_written_in_few_characters_whatever_their_size() -> None:
    for size in (3e-7, 0.004, 0.5, 8.0, 45.0, 700.0, 123456.0):
        write, factor = number_writer([size, -size])
        exponent = factor.removeprefix("\N{MULTIPLICATION SIGN} 10").translate(
            str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        )
        assert len(write(-size)) <= 6
        back = float(write(-size).replace("\N{MINUS SIGN}", "-")) * 10.0 ** int(exponent or 0)
        assert back == pytest.approx(-size, rel=0.02)
    write, factor = number_writer([0.0, 0.0])
    assert (write(-0.0), factor) == ("0.00", "")


def test_the_control_with_the_flipped_sign_says_so() -> None:
    plain, flipped = (" ".join(t.get_text() for t in texts(draw_trees(PHOTO, [grow(2, sign=s)]))) for s in (1, -1))
    assert "flipped" in flipped
    assert "flipped" not in plain


def test_a_map_is_drawn_with_its_range(tmp_path: Path) -> None:
    for picture, activation_map in ((PHOTO, np.linspace(-1.5, 4.25, 49).reshape(7, 7)), (DIGIT, np.zeros((4, 4)))):
        figure = draw_cam(picture, activation_map, HOSTILE[0], 0.99999)
        assert_nothing_overlaps(figure)
        save_figure(figure, tmp_path / "cam.png")
        assert (tmp_path / "cam.png").stat().st_size > 20_000
    written = [text.get_text() for text in texts(draw_cam(PHOTO, np.array([[-1.5, 0.0], [0.0, 4.25]])))]
    assert written == ["4.25", "\N{MINUS SIGN}1.50"]


def test_a_map_of_one_value_shows_no_differences() -> None:
    for value in (3.0, 0.1, -7.7):
        flat = overlay(np.ones((40, 60, 3)), np.full((2, 3), value))
        assert np.ptp(flat, axis=(0, 1)).max() < 1e-6


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("methods", [("cam",), ("cam", "gradcam", "gradcam++", "rollout", HOSTILE[0])])
def test_a_comparison_has_a_row_a_class_and_a_column_a_method(classes: int, methods: tuple[str, ...]) -> None:
    maps = {method: list(np.random.default_rng(0).normal(size=(classes, 7, 7)) * 1e-4) for method in methods}
    trees = [grow(3, seed) for seed in range(classes)]
    shares = [0.99999, 0.5, 0.00001, 0.0][:classes]
    figure = draw_comparison(PHOTO, maps, HOSTILE[:classes], shares, trees=trees)
    assert_nothing_overlaps(figure)
    shown = figure.axes[0].images
    scale = 1
    assert len(shown) == classes * (1 + len(methods)) + scale
    pixels = np.asarray(PHOTO) / 255
    for row in range(classes):
        for column, method in enumerate(methods, start=1):
            drawn = shown[row * (1 + len(methods)) + column].get_array()
            assert drawn is not None
            assert np.allclose(drawn, overlay(pixels, maps[method][row]))
    written = [text.get_text() for text in texts(figure)]
    assert len([text for text in written if " to " in text and TIMES in text]) == classes * len(methods)
    assert {"GradCAT", "CAM"} <= set(written)
    alone = draw_comparison(np.zeros((120, 360)), {"cam": maps["cam"]}, ["a", "b", "c", "d"][:classes])
    assert_nothing_overlaps(alone)
    assert "Image" in [text.get_text() for text in texts(alone)]


def test_an_impossible_comparison_is_refused_with_a_sentence() -> None:
    one = [np.zeros((2, 2))]
    with pytest.raises(UserError, match="1 to 4 classes, got 0"):
        draw_comparison(PHOTO, {}, [])
    with pytest.raises(UserError, match="maps cam per class: got 1 for 2 classes"):
        draw_comparison(PHOTO, {"cam": one}, ["a", "b"])
    with pytest.raises(UserError, match="probabilities per class: got 2 for 1 classes"):
        draw_comparison(PHOTO, {"cam": one}, ["a"], [0.5, 0.5])
    with pytest.raises(UserError, match="one tree per class: got 2 for 1"):
        draw_comparison(PHOTO, {"cam": one}, ["a"], trees=[grow(2)] * 2)
    with pytest.raises(UserError, match="the model saw 32 x 32"):
        draw_comparison(np.zeros((10, 20)), {"cam": one}, ["a"], trees=[grow(2, size=(32, 32))])


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new folder" / "tree.png"
    figure = Figure(figsize=(1, 1))
    FigureCanvasAgg(figure)
    save_figure(figure, path)
    old = path.read_bytes()

    def fail(file, **options: object) -> None:
        file.write(b"half a pic")
        raise OSError(28, "disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(UserError, match=r"tree.png cannot be written: disk full"):
        save_figure(figure, path)
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir()] == [("tree.png", old)]


@pytest.mark.parametrize("ending", ["png", "PNG", "svg", "pdf"])
def test_the_ending_decides_the_format(ending: str, tmp_path: Path) -> None:
    save_figure(draw_trees(DIGIT, [grow(2, size=(32, 32))], HOSTILE[1:2]), tmp_path / f"tree.{ending}")
    head = (tmp_path / f"tree.{ending}").read_bytes()[:5]
    assert head == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[ending.lower()]


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
