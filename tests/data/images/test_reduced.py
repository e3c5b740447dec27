"""Pictures that are decoded smaller show what is wanted of them as pictures decoded in full do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.images import folder_sets
from hvit.data.images.folders import FolderData
from hvit.data.images.reading import EXIF_ORIENTATION, read_image, read_reduced
from hvit.data.loader import Batch
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import Reduced, Splits

SIDE = 32
CUTS = {
    "part": AugmentConfig(crop="resized", area=(0.25, 1.0), flip=0.5),
    "window": AugmentConfig(crop="window", side=(0.5, 0.875), flip=0.5),
    "centre": AugmentConfig(),
    "shifted": AugmentConfig(crop="pad", flip=0.5),
}


def write_photo(path: Path, seed: int, width: int = 602, height: int = 401, orientation: int = 1) -> None:
    """A coloured picture with detail of every size, as photos have."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), dtype=float) * 2 / cells**0.5
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((pixels * 255 / pixels.max()).astype(np.uint8)).save(path, quality=92, exif=exif)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of five photos; two of them lie on their side, and one is a small PNG."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(8):
        orientation = {2: 6, 5: 3, 7: 8}.get(number, 1)
        write_photo(root / "ab"[number % 2] / f"{number}.jpg", number, orientation=orientation)
    for name in "ab":
        Image.new("RGB", (20, 30), "red").save(root / name / "small.png")
    return root


def opened(root: Path, decode: str) -> Splits:
    return open_data(FolderData(root=str(root), decode=decode), 0)  # pyright: ignore[reportArgumentType]


def made(root: Path, decode: str, augment: AugmentConfig, **fields: int) -> Iterable[Batch]:
    splits = opened(root, decode)
    preprocess = Preprocess((SIDE, SIDE), (0.0,) * 3, (1.0,) * 3, 0.875, "bilinear")
    settings = {"seed": 3, "batch_size": 6, "total_steps": 4} | fields
    return train_batches(splits.train, num_classes=2, preprocess=preprocess, augment=augment, **settings)


def pictures(batches: Iterable[Batch]) -> Tensor:
    """In grey levels from 0 to 255."""
    return torch.cat([batch["images"] for batch in batches]) * 255


@pytest.mark.parametrize("cut", CUTS)
def test_training_sees_nearly_the_same_of_pictures_decoded_smaller(
    photos: Path, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []

    def watched(*arguments: object) -> object:
        picture = read_reduced(*arguments)  # pyright: ignore[reportArgumentType]
        if isinstance(picture, Reduced):
            read.append(picture.image.size)
        return picture

    full = pictures(made(photos, "full", CUTS[cut]))
    assert not read
    monkeypatch.setattr(folder_sets, "read_reduced", watched)
    reduced = pictures(made(photos, "reduced", CUTS[cut]))
    assert len(read) >= 8
    assert not torch.equal(full, reduced)
    difference = (full - reduced).abs()
    assert difference.mean() < 1.5
    assert difference.flatten(1).mean(1).max() < 3
    # For comparison: the neighbouring pixel, that is a shift by one, differs by far more.
    assert (full[..., 1:] - full[..., :-1]).abs().mean() > 4 * difference.mean()


def test_what_is_cut_out_keeps_twice_the_pixels_of_the_input(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[int, int], tuple[int, int]]] = []
    resize = Image.Image.resize

    def watched(self: Image.Image, size: tuple[int, int], *rest: object, **named: object) -> Image.Image:
        box = rest[1] if len(rest) > 1 else named.get("box")
        if box is not None:
            left, top, right, bottom = box  # pyright: ignore[reportGeneralTypeIssues]
            asked.append(((right - left, bottom - top), size))
        return resize(self, size, *rest, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Image.Image, "resize", watched)
    pictures(made(photos, "reduced", CUTS["part"], repeats=3))
    assert len(asked) >= 8
    # Rounding a part to a third of a pixel of the reduced picture is all that may be missing.
    assert all(part[axis] > 2 * size[axis] - 0.5 for part, size in asked for axis in (0, 1))


def test_pictures_that_are_not_large_enough_are_decoded_in_full(photos: Path) -> None:
    file = photos / "a" / "0.jpg"
    full = read_image(file)
    for needed in ((602, 401), (302, 100), (100, 201)):
        picture = read_reduced(file, 3, lambda *size, needed=needed: needed)
        assert isinstance(picture, Image.Image)
        assert np.array_equal(picture, full)


@pytest.mark.parametrize(("needed", "size"), [((301, 200), (301, 201)), ((150, 100), (151, 101)), ((9, 9), (76, 51))])
def test_the_smallest_of_the_decoders_sizes_that_is_enough_is_taken(
    photos: Path, needed: tuple[int, int], size: tuple[int, int]
) -> None:
    picture = read_reduced(photos / "a" / "0.jpg", 3, lambda *size: needed)
    assert isinstance(picture, Reduced)
    assert (picture.image.size, picture.size) == (size, (602, 401))


def test_a_picture_that_lies_on_its_side_is_upright_and_asked_for_so(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    picture = read_reduced(photos / "a" / "2.jpg", 1, lambda *size: seen.append(size) or (100, 300))
    assert isinstance(picture, Reduced)
    assert seen == [(401, 602)]
    assert (picture.image.size, picture.size, picture.image.mode) == ((201, 301), (401, 602), "L")
    full = read_image(photos / "a" / "2.jpg", 1).resize((201, 301), Image.Resampling.BOX)
    assert np.abs(np.asarray(picture.image, float) - np.asarray(full, float)).mean() < 3


@pytest.mark.parametrize("cut", ["part", "centre"])
def test_batches_are_the_same_for_any_worker_and_from_any_step(photos: Path, cut: str) -> None:
    alone = pictures(made(photos, "reduced", CUTS[cut]))
    assert torch.equal(alone, pictures(made(photos, "reduced", CUTS[cut], workers=2)))
    assert torch.equal(alone[12:], pictures(made(photos, "reduced", CUTS[cut], start_step=2)))


def test_testing_decodes_in_full(photos: Path) -> None:
    held_out, usual = opened(photos, "reduced").held_out, opened(photos, "full").held_out
    for index in range(len(held_out)):
        image, _ = held_out.read_enough(index, 0, lambda *size: (8, 8))
        assert np.array_equal(image, usual.read(index, 0)[0])


def test_a_photo_gone_bad_is_replaced(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        for number in range(3):
            write_photo(tmp_path / name / f"{number}.jpg", number, 200, 160)
    train = opened(tmp_path, "reduced").train
    assert isinstance(train, folder_sets.FolderSet)
    train.file(0).write_bytes(b"no picture")
    picture, _ = train.read_enough(0, 0, lambda *size: (10, 10))
    assert isinstance(picture, Reduced)
    assert "The next readable image takes its place" in capsys.readouterr().err
