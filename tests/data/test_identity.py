"""A data set is known by the names, classes and content of its samples, wherever it lies."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.data import identity
from hvit.data.identity import describe_changes, identity_of
from hvit.data.images.cifar import CifarSet
from hvit.data.open import ClipData, DataConfig, DigitsData, FolderData, MovingDigitsData, open_data
from hvit.data.sets import Splits
from hvit.errors import UserError


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


@pytest.fixture
def clips(clip_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip_folder, tmp_path / "clips"))


def of_folder(root: Path) -> dict[str, Any]:
    return identity_of(open_data(FolderData(root=str(root)), 0))


def of_clips(root: Path, **fields: str) -> dict[str, Any]:
    return identity_of(open_data(ClipData(root=str(root), cache="none", **fields), 0, num_frames=4))  # pyright: ignore


def a_training_file(root: Path) -> Path:
    return root / next(iter(of_folder(root)["train"]["files"]))


def test_an_identity_is_plain_json_and_survives_it(photos: Path) -> None:
    found = of_folder(photos)
    assert json.loads(json.dumps(found)) == found
    assert describe_changes(found, json.loads(json.dumps(found))) == ()


def test_a_folder_that_moves_stays_the_same(photos: Path, tmp_path: Path) -> None:
    before = of_folder(photos)
    photos.rename(tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").rglob("*.png"):
        os.utime(file, (1, 1))
    assert of_folder(tmp_path / "elsewhere") == before


def rename(file: Path) -> None:
    file.rename(file.with_name("renamed.png"))


def replace(file: Path) -> None:
    Image.new("RGB", (48, 40), "green").save(file)


def change_one_pixel(file: Path) -> None:
    """In a format whose size says nothing."""
    pixels = np.asarray(Image.open(file)).copy()
    Image.fromarray(pixels).save(file, "BMP")
    size = file.stat().st_size
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    assert file.stat().st_size == size


@pytest.mark.parametrize("change", [rename, replace, change_one_pixel])
def test_a_renamed_or_replaced_image_is_another_data_set(photos: Path, change: Callable[[Path], None]) -> None:
    before, file = of_folder(photos), a_training_file(photos)
    change(file)
    changes = describe_changes(before, of_folder(photos))
    assert changes
    assert file.name in " ".join(changes)


def test_images_of_another_class_and_other_classes_are_named(photos: Path) -> None:
    for name in ("red", "blue"):
        (photos / "train" / name).mkdir(parents=True)
        (photos / "val" / name).mkdir(parents=True)
        for number, file in enumerate(sorted((photos / name).iterdir())):
            file.rename(photos / ("val" if number < 2 else "train") / name / file.name)
        (photos / name).rmdir()
    before = of_folder(photos)
    (photos / "val" / "red" / "0.png").rename(photos / "val" / "blue" / "9.png")
    assert describe_changes(before, of_folder(photos)) == (
        "held-out images: 1 missing (red/0.png), 1 new (blue/9.png)",
    )
    for split in ("train", "val"):
        (photos / split / "red").rename(photos / split / "pink")
    assert describe_changes(before, of_folder(photos))[0] == "classes: without red, with pink"


def test_large_sets_are_known_by_names_sizes_and_the_ends_of_some_files(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(identity, "LISTED_FILES", 3)
    monkeypatch.setattr(identity, "SAMPLED_FILES", 4)
    before = of_folder(photos)
    assert before["train"]["hashed"] == "sizes, and ends of 4 files"
    assert of_folder(photos) == before
    first = next(file for file in sorted(photos.glob("*/*.png")))
    file = photos / "red" / first.name
    content = file.read_bytes()
    file.write_bytes(content + b"\0")
    assert len(describe_changes(before, of_folder(photos))) == 1
    assert "other contents" in describe_changes(before, of_folder(photos))[0]
    file.write_bytes(content)
    file.rename(file.with_name("other.png"))
    assert "names" in " ".join(describe_changes(before, of_folder(photos)))


@pytest.mark.parametrize("kind", ["folders", "list"])
def test_clips_of_every_kind_have_an_identity(clips: Path, kind: str) -> None:
    frames = clips / "dark" / "frames"
    frames.mkdir()
    for number in range(6):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(frames / f"{number}.png")
    fields = {}
    if kind == "list":
        names = sorted(path for name in ("dark", "light") for path in (clips / name).iterdir())
        lines = [f"{path.relative_to(clips)} {int('light' in str(path))}" for path in names]
        (clips / "all.txt").write_text("\n".join(lines))
        fields = {"train_list": str(clips / "all.txt")}
    before = of_clips(clips, **fields)
    assert of_clips(clips, **fields) == before
    listed = {**before["train"]["files"], **before["held_out"]["files"]}
    assert {"dark/frames", "dark/0.npy", "light/3.npy"} <= set(listed)
    Image.new("RGB", (40, 30), "blue").save(frames / "3.png")
    assert "dark/frames" in " ".join(describe_changes(before, of_clips(clips, **fields), "clips"))
    assert "clips: 1 with other content" in " ".join(describe_changes(before, of_clips(clips, **fields), "clips"))


@pytest.mark.parametrize(
    ("config", "other", "frames"),
    [
        (DigitsData(canvas=8), DigitsData(canvas=8, held_out=0.5), None),
        (DigitsData(), DigitsData(held_out=0.5), None),
        (MovingDigitsData(num_train=20), MovingDigitsData(num_train=20, held_out=0.5), 8),
        (MovingDigitsData(num_train=20), MovingDigitsData(num_train=21), 8),
    ],
)
def test_embedded_data_has_an_identity(config: DataConfig, other: DataConfig, frames: int | None) -> None:
    found, again, different = (
        identity_of(open_data(each, 0, 1, num_frames=frames)) for each in (config, config, other)
    )
    assert found == again
    assert describe_changes(found, different)


def test_values_in_memory_count_to_the_last_byte() -> None:
    pixels = np.zeros((4, 3, 32, 32), np.uint8)
    labels = np.zeros(4, np.int64)

    def of(pixels: np.ndarray) -> dict[str, Any]:
        images = CifarSet(pixels, labels, "RGB")
        return identity_of(Splits(images, images, ("a", "b"), (0.5,) * 3, (0.5,) * 3))

    before = of(pixels)
    pixels[-1, -1, -1, -1] = 1
    assert len(describe_changes(before, of(pixels))) == 2


def test_a_file_that_cannot_be_read_is_named(photos: Path) -> None:
    splits = open_data(FolderData(root=str(photos)), 0)
    name = next(iter(identity_of(splits)["held_out"]["files"]))
    (photos / name).unlink()
    os.mkfifo(photos / name)
    with pytest.raises(UserError, match=f"{name}: it is not a regular file"):
        identity_of(splits)
    (photos / name).unlink()
    with pytest.raises(UserError, match="there is no such file"):
        identity_of(splits)


def test_a_third_part_belongs_to_the_identity(photo_folder: Path, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        shutil.copytree(photo_folder, tmp_path / part)
    before = of_folder(tmp_path)
    assert before["test"]["count"] == 12
    (tmp_path / "test" / "blue" / "0.png").unlink()
    assert describe_changes(before, of_folder(tmp_path)) == ("test images: 1 missing (blue/0.png)",)  # pyright: ignore
    shutil.rmtree(tmp_path / "test")
    assert describe_changes(before, of_folder(tmp_path))[0].startswith("test images: 12 missing")  # pyright: ignore
    old = {name: value for name, value in before.items() if name != "test"}
    assert describe_changes(old, before) == (), "earlier versions did not record it"  # pyright: ignore
