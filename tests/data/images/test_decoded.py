"""Decoded images are kept once, are those of the file as it is now, and never what is torn or damaged."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.augment import Augment
from hvit.data.augment_settings import AugmentConfig
from hvit.data.images import decoded
from hvit.data.images.decoded import DecodedImages, Kept
from hvit.data.images.reading import read_image
from hvit.data.preprocess import Preprocess
from hvit.data.reduced import Reduced
from hvit.errors import UserError
from tests.data.images.made import make_pictures, open_folder


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "SEGMENT", 1 << 16)


def photo(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


class Counted:
    """Decodes, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: object) -> Image.Image:
        self.count += 1
        return read_image(path)  # type: ignore


def kept_in(folder: Path, side: int = 32, gigabytes: float = 1.0, how: str = "rgb") -> DecodedImages:
    return DecodedImages(folder, Kept(side, how), 10, gigabytes)


def pixels_of(found: Image.Image | Reduced) -> bytes:
    return (found.image if isinstance(found, Reduced) else found).tobytes()


def test_an_image_is_decoded_once_and_shrunk_if_it_is_larger(tmp_path: Path) -> None:
    small, large = photo(tmp_path / "small.png", (40, 30)), photo(tmp_path / "large.png", (100, 64))
    decode = Counted()
    first, again = kept_in(tmp_path / "kept"), kept_in(tmp_path / "kept")
    for images in (first, first, again):
        exact = images.image(small, "RGB", decode)
        assert isinstance(exact, Image.Image)
        assert exact.size == (40, 30)
        assert exact.tobytes() == read_image(small).tobytes()
        shrunk = images.image(large, "RGB", decode)
        assert isinstance(shrunk, Reduced)
        assert (shrunk.size, shrunk.image.size) == ((100, 64), (50, 32))
        expected = read_image(large).resize((50, 32), Image.Resampling.BICUBIC)
        assert shrunk.image.tobytes() == expected.tobytes()
    assert decode.count == 2


def test_a_changed_file_is_decoded_anew_and_a_copy_is_not(tmp_path: Path) -> None:
    file, decode, images = photo(tmp_path / "a.png", (40, 30)), Counted(), kept_in(tmp_path / "kept")
    images.image(file, "RGB", decode)
    (tmp_path / "copy.png").write_bytes(file.read_bytes())
    images.image(tmp_path / "copy.png", "RGB", decode)
    os.utime(file, ns=(1, 1))
    images.image(file, "RGB", decode)
    assert decode.count == 1
    photo(file, (40, 30), seed=1)
    os.utime(file, ns=(2, 2))
    assert pixels_of(images.image(file, "RGB", decode)) == read_image(file).tobytes()
    assert decode.count == 2


def test_other_settings_keep_other_images(tmp_path: Path) -> None:
    file, decode = photo(tmp_path / "a.png", (100, 64)), Counted()
    for side, how in ((32, "rgb"), (48, "rgb"), (32, "percentile")):
        kept_in(tmp_path / "kept", side, how=how).image(file, "RGB", decode)
    assert decode.count == 3


def damage_pixels(folder: Path) -> None:
    for segment in folder.glob("*/*.pixels"):
        segment.write_bytes(bytes(len(segment.read_bytes())))


def cut_segments(folder: Path) -> None:
    for segment in folder.glob("*/*.pixels"):
        os.truncate(segment, 100)


def remove_segments(folder: Path) -> None:
    for segment in folder.glob("*/*.pixels"):
        segment.unlink()


def tear_slots(folder: Path) -> None:
    for table in folder.glob("*/*.slots"):
        slots = np.memmap(table, decoded._SLOT, "r+")
        slots["offset"] += 1


def hostile_slots(folder: Path) -> None:
    for table in folder.glob("*/*.slots"):
        slots = np.memmap(table, decoded._SLOT, "r+")
        for place in np.flatnonzero(slots["check"]):
            slot = slots[place].copy()
            slot["width"] = slot["height"] = 2**31
            slot["check"] = decoded._check(slot)
            slots[place] = slot


@pytest.mark.parametrize("harm", [damage_pixels, cut_segments, remove_segments, tear_slots, hostile_slots])
def test_what_is_damaged_is_decoded_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    file, decode = photo(tmp_path / "a.png", (40, 30)), Counted()
    kept_in(tmp_path / "kept").image(file, "RGB", decode)
    harm(tmp_path / "kept")
    for expected in (2, 2):
        images = kept_in(tmp_path / "kept")
        assert pixels_of(images.image(file, "RGB", decode)) == read_image(file).tobytes()
        assert decode.count == expected


def test_two_writers_write_segments_of_their_own(tmp_path: Path) -> None:
    files = [photo(tmp_path / f"{number}.png", (40, 30), number) for number in range(8)]
    decode = Counted()
    one, other = kept_in(tmp_path / "kept"), pickle.loads(pickle.dumps(kept_in(tmp_path / "kept")))
    for number, file in enumerate(files):
        (one, other)[number % 2].image(file, "RGB", decode)
    for images in (one, other):
        for file in files:
            assert pixels_of(images.image(file, "RGB", decode)) == read_image(file).tobytes()
    assert decode.count == len(files)
    assert len(list((tmp_path / "kept").glob("*/*.pixels"))) == 2


def test_a_forked_worker_does_not_write_into_the_segment_of_its_parent(tmp_path: Path) -> None:
    files = [photo(tmp_path / f"{number}.png", (40, 30), number) for number in range(3)]
    images = kept_in(tmp_path / "kept")
    images.image(files[0], "RGB", read_image)
    child = os.fork()
    if child == 0:
        images.image(files[1], "RGB", read_image)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    images.image(files[2], "RGB", read_image)
    decode = Counted()
    for file in files:
        assert pixels_of(images.image(file, "RGB", decode)) == read_image(file).tobytes()
    assert decode.count == 0


def test_the_folder_never_becomes_larger_than_it_may(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [photo(tmp_path / f"{number}.png", (150, 140), number) for number in range(4)]
    images = kept_in(tmp_path / "kept", side=200, gigabytes=2.5 * decoded.SEGMENT / 1e9)
    decode = Counted()
    for _ in range(2):
        for file in files:
            assert pixels_of(images.image(file, "RGB", decode)) == read_image(file).tobytes()
    assert decode.count == 4 + 2  # two segments hold an image each
    assert sum(one.stat().st_size for one in (tmp_path / "kept").glob("*/*.pixels")) == 2 * decoded.SEGMENT
    assert capfd.readouterr().err.count("no more decoded images are kept") == 1


@pytest.mark.parametrize("fails", ["posix_fallocate", "write"])
def test_a_full_disk_leaves_decoding_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fails: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file, images = photo(tmp_path / "a.png", (40, 30)), kept_in(tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        found = [pixels_of(images.image(file, "RGB", read_image)) for _ in range(2)]
    assert found == [read_image(file).tobytes()] * 2
    assert "No space left" in capfd.readouterr().err


def test_a_larger_data_set_gets_a_larger_table_that_knows_what_was_kept(tmp_path: Path) -> None:
    file, decode = photo(tmp_path / "a.png", (40, 30)), Counted()
    kept_in(tmp_path / "kept").image(file, "RGB", decode)
    larger = DecodedImages(tmp_path / "kept", Kept(32, "rgb"), 5_000, 1.0)
    larger.image(file, "RGB", decode)
    assert decode.count == 1
    assert len(list((tmp_path / "kept").glob("*/*.slots"))) == 2


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="is no folder of decoded images"):
        kept_in(tmp_path / "photos")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be kept in"):
        kept_in(tmp_path / "file")


def test_an_unreadable_image_is_refused_as_without(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot read"):
        kept_in(tmp_path / "kept").image(tmp_path / "a.png", "RGB", read_image)


def test_training_images_come_from_the_cache_with_the_same_crops(two_classes: Path, tmp_path_factory) -> None:  # type: ignore
    kept = tmp_path_factory.mktemp("kept")
    for number in range(4):
        photo(two_classes / "cat" / f"photo{number}.png", (90, 60), number)
    plain, cached = open_folder(two_classes), open_folder(two_classes, cache=str(kept), cache_side=60)
    small = open_folder(two_classes, cache=str(kept), cache_side=16)
    assert any("decoded once" in note for note in cached.notes)
    preprocess = Preprocess((16, 16), plain.mean, plain.std, 1.0)
    augment = Augment(AugmentConfig(crop="resized", flip=0.5), preprocess)

    def inputs(splits, draw: int):  # type: ignore
        samples = [splits.train.read_enough(index, draw, augment.needed(0, [draw]))[0] for index in range(3)]
        return augment(samples, 0, [draw, draw, draw]).numpy()

    for draw in range(3):
        assert np.array_equal(inputs(plain, draw), inputs(cached, draw))
        assert np.array_equal(inputs(small, draw), inputs(small, draw))
        assert inputs(small, draw).shape == inputs(plain, draw).shape


def test_options_of_the_cache_are_checked(two_classes: Path, tmp_path: Path) -> None:
    for fields, words in (({"cache_side": 8}, "16 or more"), ({"cache_gigabytes": 0.0}, "above 0")):
        with pytest.raises(UserError, match=words):
            open_folder(two_classes, cache=str(tmp_path / "kept"), **fields)


def test_a_plan_makes_no_cache(tmp_path: Path) -> None:
    from hvit.data.open import FolderData, open_data

    make_pictures(tmp_path / "photos" / "cat", 3)
    make_pictures(tmp_path / "photos" / "dog", 3)
    open_data(FolderData(root=str(tmp_path / "photos"), cache=str(tmp_path / "kept")), 0, remember=False)
    assert not (tmp_path / "kept").exists()
