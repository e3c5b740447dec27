"""Whatever a file claims, reading it takes less than a gigabyte, and nobody waits for it."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import evaluation_batches, train_batches
from hvit.data.clips import videos
from hvit.data.clips.decoding import probe, read_frames
from hvit.data.clips.videos import ClipFacts
from hvit.data.images import reading
from hvit.data.images.reading import read_image
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.verbs import classifier
from hvit.verbs.classifier import read_or_refuse

PROGRAM = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import hostile_files
from hvit.data.clips.decoding import probe
from hvit.data.images.reading import look_at, read_image
from hvit.errors import UserError
folder = Path(sys.argv[2])
Path(folder, "clips").mkdir()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file, read in [
    *((file, read_image) for file in hostile_files.write_all(folder)),
    *((file, lambda file: probe(file, whole=True)) for file in hostile_files.write_clips(folder / "clips")),
]:
    try:
        read(file)
        print("read", file.name)
    except UserError as error:
        assert "\\n" not in str(error)
        print("refused", file.name)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin) * 1024)
"""


@pytest.mark.slow
def test_no_hostile_file_takes_a_gigabyte_or_ends_the_program(tmp_path: Path) -> None:
    """One after the other; the memory is the most that any of them took."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, memory = done.stdout.splitlines()
    assert len(lines) > 35
    assert "refused pipe.png" in lines
    assert int(memory) < 10**9


def test_transparent_images_are_laid_on_white_in_parts_that_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (33, 21, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = np.asarray(read_image(tmp_path / "a.png"))
    monkeypatch.setattr(reading, "_ROWS_OF_PIXELS", 50)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), whole)


def test_arrays_of_gigantic_frames_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (20, 10_000, 10_000))
    del array
    with pytest.raises(UserError, match="its frames claim to have more than 40,000,000 pixels"):
        probe(path)
    facts = ClipFacts(20, 30.0, 0.0, 600, 50_000)
    with pytest.raises(UserError, match=r"16 of its frames of 600 x 50,000 pixels take 1\.4 GB"):
        read_frames(path, np.arange(16), facts)


def test_videos_of_impossible_length_or_gigantic_frames_are_refused(
    tmp_path: Path, make_video: object, numbered: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", numbered(4))  # pyright: ignore
    monkeypatch.setattr(videos, "_LONGEST", 0.01)
    with pytest.raises(UserError, match=r"it claims to last 0\.16 seconds with 25 frames a second"):
        probe(path)
    monkeypatch.undo()
    monkeypatch.setattr(videos, "MAXIMUM_FRAME_BYTES", 32 * 48 * 3 - 1)
    with pytest.raises(UserError, match="save them with 8 bits"):
        probe(path)


class OneAtATime(ImageSet):
    """Images that must be let go of before the next one is asked for."""

    def __init__(self) -> None:
        self.labels = np.zeros(6, np.int64)
        self.last: Callable[[], Image.Image | None] = lambda: None

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        assert self.last() is None
        image = Image.new("RGB", (40, 30))
        self.last = weakref.ref(image)
        return image, 0


@pytest.mark.parametrize(
    "augment", [AugmentConfig(), AugmentConfig(crop="resized", flip=0.5), AugmentConfig(on_device=True)]
)
def test_no_two_images_of_a_batch_are_in_memory_at_once(augment: AugmentConfig) -> None:
    images, preprocess = OneAtATime(), Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3)
    settings = {"num_classes": 2, "augment": augment, "seed": 0, "batch_size": 6, "total_steps": 2}
    assert len(list(train_batches(images, preprocess=preprocess, **settings))) == 2  # pyright: ignore
    assert len(list(evaluation_batches(images, preprocess=preprocess, batch_size=4))) == 2


def test_no_two_images_of_a_prediction_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = OneAtATime()
    monkeypatch.setattr(classifier, "read_image", lambda *_: images.read(0, 0)[0])
    answers = read_or_refuse([tmp_path] * 5, Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3), pytest.fail, np.mean)
    assert len(list(answers)) == 5
