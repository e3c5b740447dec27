"""Claims about saved pictures: whole, of the size they say, whatever the settings of matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from hvit.errors import UserError
from hvit.explain import draw_trees, save_figure
from hvit.explain.drawing.canvas import heats, tinted
from tests.explain.drawing.trees import DIGIT, HOSTILE, PHOTO, grow


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


def test_maps_of_several_classes_share_a_scale_and_a_flat_map_stays_dark() -> None:
    strong, weak = heats([np.array([[0.0, 4.0]]), np.array([[1.0, 2.0]])])
    assert strong.tolist() == [[0.0, 1.0]]
    assert weak.tolist() == [[0.25, 0.5]]
    (flat,) = heats([np.array([[9.0, 10.0]])])
    assert flat.tolist() == [[0.0, 0.1]]
    (signed,) = heats([np.array([[-1.0, 1.0]])])
    assert signed.tolist() == [[0.0, 1.0]]


def test_blocks_are_blue_for_positive_evidence_and_red_for_negative() -> None:
    red, _, blue = np.moveaxis(tinted(np.full((64, 64, 3), 0.5), np.array([[2.0, -1.0], [0.0, np.nan]])), -1, 0)
    assert blue[0, 0] > red[0, 0]
    assert red[0, -1] > blue[0, -1]
    assert red[-1, 0] == blue[-1, 0] == red[-1, -1]
