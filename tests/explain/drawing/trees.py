"""Trees and images for the tests of pictures, and the claim that nothing in a picture overlaps."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from hvit.explain import Prediction, Removal, Tree
from hvit.explain.tree import greedy_path

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


def grow_removed(seed: int = 0, clear: int = 1, depth: int = 2) -> Tree:
    """A tree of random values as block Shapley makes them, whose first `clear` steps stand out."""
    tree = grow(depth, seed)
    values = [values - values.min() + 0.5 for values in tree.values]
    before = Prediction(7, 0.88, 0.01, -2.0)
    without = (Prediction(3, 0.4, 0.2, 1.0), *(Prediction(seed, 0.5, 0.5, 2.0) for _ in range(depth - 1)))
    leads, spreads = (1.0,) * clear + (0.0,) * (depth - clear), (0.5,) * depth
    removal = Removal("exact for all blocks", "the image's mean colour", before, without, leads, spreads, 464.0, 0.0)
    return Tree(seed, 7.654, greedy_path(values), tuple(values), tree.image_size, removal=removal)
