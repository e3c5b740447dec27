"""Samples of the same latents are kept at every evaluation, and drawn in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from PIL import Image

from hvit.models.gan.generator import Generator
from hvit.models.gan.sampling import generate_images, interpolate
from hvit.snapshots.samples import draw_neighbours, lay_grid
from tests.tasks.small_gan import (
    GAMES,
    make,
)


@pytest.mark.parametrize("name", ["plain", "sagan"])
def test_samples_of_the_same_latents_are_kept_and_drawn_at_every_evaluation(tmp_path: Path, name: str) -> None:
    task = make(GAMES[name])
    columns = 3 if name == "sagan" else 8
    sizes = []
    for step in (0, 10, 20):
        task.draw(tmp_path, task.networks, step)
        with Image.open(tmp_path / "pictures" / "samples_over_time.png") as picture:
            sizes.append(picture.height)
        if step == 0:
            first = (tmp_path / "samples" / "step_000000000.png").read_bytes()
            with torch.no_grad():
                next(iter(task.networks["generator"].parameters())).mul_(-1.0)
    assert sizes[0] < sizes[1] < sizes[2]
    grids = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in grids] == [f"step_{step:09d}.png" for step in (0, 10, 20)]
    assert grids[0].read_bytes() == first != grids[1].read_bytes() == grids[2].read_bytes()
    with Image.open(grids[0]) as grid:
        assert grid.size == (columns * 8, 8 * 8)
    with Image.open(tmp_path / "pictures" / "interpolation.png") as picture:
        assert picture.size == (8 * 66 - 2, 8 * 66 - 2), "two pixels between images"
    assert (tmp_path / "pictures" / "samples.png").exists()


def test_generating_in_parts_and_grids_keep_the_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    generator, latents = make().networks["generator"], torch.randn(5, 6)
    assert isinstance(generator, Generator)
    whole = generate_images(generator, latents)
    monkeypatch.setattr("hvit.models.gan.sampling._AT_ONCE", 2)
    torch.testing.assert_close(generate_images(generator, latents), whole)
    assert 0 <= whole.min() < whole.max() <= 1
    tiles = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(3, 2)
    grid = lay_grid(tiles, 3)
    assert grid.shape == (4, 9, 1)
    assert grid[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 0]]
    draw_neighbours(whole[:3], whole[2:], [0.1, 0.2, 0.3], 0.25, tmp_path / "neighbours.png")
    assert (tmp_path / "neighbours.png").stat().st_size > 1000


def test_an_interpolation_keeps_its_ends_and_its_length() -> None:
    torch.manual_seed(0)
    first, last = torch.randn(2, 6)
    last = last * first.norm() / last.norm()
    way = interpolate(first, last, 5)
    torch.testing.assert_close(way[0], first)
    torch.testing.assert_close(way[-1], last)
    torch.testing.assert_close(way.norm(dim=1), first.norm().expand(5))
