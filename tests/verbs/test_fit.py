"""Images and labels that a program holds become a run like any other, which continues exactly."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

import hvit
from hvit.cli.main import main
from hvit.data.batches import evaluation_batches
from hvit.data.clips.settings import ClipData
from hvit.data.identity import identity_of
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from hvit.data.tables.in_python import given
from hvit.data.tables.open import IN_PYTHON
from hvit.errors import Stopped, UserError
from hvit.models.weights.open import open_weights
from hvit.recipe import Recipe, read_recipe
from hvit.recipes import get_recipe
from hvit.verbs import train as training
from tests.verbs.tiny import RECIPE

TINY = replace(
    RECIPE,
    optimize=replace(RECIPE.optimize, average_decay=0.0, learning_rate_per_256=5e-2),
    loop=replace(RECIPE.loop, epochs=2, batch_size=8, checkpoint_steps=2),
)


def arrays(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Grey canvases, bright at the top or at the bottom, and which."""
    images = np.random.default_rng(0).integers(0, 40, (count, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 150
    return images, labels


class Pairs(Dataset[Any]):
    """A data set as torchvision's are."""

    classes = ("top", "bottom")

    def __init__(self, how: str = "pillow", count: int = 24) -> None:
        images, labels = arrays(count)
        self.images, self.targets, self.how = images[..., 0], labels.tolist(), how

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> Any:
        image = self.images[row]
        made: dict[str, Any] = {
            "pillow": lambda: Image.fromarray(image),
            "tensor": lambda: torch.from_numpy(image)[None] / 255,
            "normalised": lambda: torch.from_numpy(image)[None] / 255 - 0.5,
            "random": lambda: Image.fromarray(np.random.default_rng().integers(0, 255, (8, 8)).astype(np.uint8)),
        }
        return made[self.how](), self.targets[row]


def written(folder: Path, count: int = 24) -> list[tuple[Path, str]]:
    """The canvases as files, with names of classes."""
    folder.mkdir(exist_ok=True)
    images, labels = arrays(count)
    found = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image[..., 0]).save(folder / f"{number:02}.png")
        found.append((folder / f"{number:02}.png", ("top", "bottom")[label]))
    return found


def opened(data: Any, *parts: Any, classes: tuple[str, ...] = ()) -> Splits:
    """The data as a run opens it."""
    held_out, test = (*parts, None, None)[:2]
    found = given(data, held_out, test, classes, "auto")
    return open_data(FolderData(table=IN_PYTHON, **found.options), 0, 1, table=found.table)


def content(splits: Splits) -> list[Any]:
    parts = (splits.train, splits.held_out)
    return [(np.asarray(image).tolist(), target) for part in parts
            for image, target in (part.read(index, 0) for index in range(len(part)))]  # fmt: skip


def test_arrays_become_a_run_with_test_scores(tmp_path: Path) -> None:
    images, labels = arrays()
    recipe = replace(TINY, data=FolderData(balance="weights"))
    parts = [(images[part], labels[part]) for part in (slice(24), slice(6), slice(6, 14))]
    scores = hvit.fit(recipe, *parts, out=tmp_path / "run", classes=("zebra", "ant"))
    assert scores["evaluated_on"] == "test"
    assert len(scores["labels"]) == 8
    assert open_weights(tmp_path / "run").classes == ("zebra", "ant")
    data: Any = read_recipe(tmp_path / "run").data
    assert (data.balance, data.class_order) == ("weights", ("zebra", "ant"))
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_same_images_are_the_same_samples_however_they_are_held(tmp_path: Path) -> None:
    images, labels = arrays()
    named = [("top", "bottom")[label] for label in labels]
    ways: dict[str, Any] = {
        "arrays": (images, labels),
        "pillow": Pairs(),
        "tensor": Pairs("tensor"),
        "pairs": list(zip(images, labels.tolist(), strict=True)),
        "names": [(Image.fromarray(image[..., 0]), name) for image, name in zip(images, named, strict=True)],
        "subset": Subset(Pairs(count=30), list(range(24))),
        "tensors": (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)),
        "bytes": [(path.read_bytes(), label) for path, label in written(tmp_path)],
    }
    first = content(opened(ways["arrays"], classes=("top", "bottom")))
    assert len(first) == 24
    for name, data in ways.items():
        assert content(opened(data, classes=("top", "bottom"))) == first, name


def clips(how: str = "array", count: int = 12) -> list[tuple[Any, str]]:
    """Clips of six frames, dark or light, as a program may hold them."""
    ways: dict[str, Any] = {
        "array": lambda clip: clip,
        "floats": lambda clip: clip.astype(np.float64) / 255,
        "tensor": lambda clip: torch.from_numpy(clip),
        "channels second": lambda clip: torch.from_numpy(clip).permute(0, 3, 1, 2),
    }
    found = []
    for number in range(count):
        clip = np.random.default_rng(number).integers(0, 100, (6, 8, 8, 3)).astype(np.uint8) + 150 * (number % 2)
        found.append((ways[how](clip.astype(np.uint8)), ("dark", "light")[number % 2]))
    return found


class SomeClips(Dataset[Any]):
    """A data set that gives clips as it is asked for them."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> Any:
        return clips()[row]


def opened_clips(data: Any) -> Splits:
    found = given(data, None, None, (), "auto", clips=True)
    return open_data(ClipData(table=IN_PYTHON, **found.options), 0, 3, 2, table=found.table)


def test_clips_in_memory_are_the_same_samples_however_they_are_held() -> None:
    arrays = np.stack([clip for clip, _ in clips()]), np.arange(12) % 2
    first = content(opened_clips(clips()))
    assert len(first) == 12
    assert np.shape(first[0][0]) == (2, 8, 8, 3)
    for data in (clips("floats"), clips("tensor"), clips("channels second"), arrays, SomeClips()):
        assert content(opened_clips(data)) == first


def test_what_is_no_clip_is_named_and_skipped_or_refused() -> None:
    data = clips()
    data[3] = (np.zeros((8, 8)), "light")
    data[5] = (np.zeros((6, 8, 8, 5), np.uint8), "light")
    data[7] = (np.full((6, 8, 8, 3), 2.0), "light")
    data[9] = (np.zeros((6, 8, 8, 3), np.int32), "light")
    splits = opened_clips(data)
    notes = " ".join(splits.notes)
    assert len(splits.train) + len(splits.held_out) == 8
    for sentence in (
        "4 of 12 clips cannot be read and will be skipped",
        "train/0000003: a clip must be an array or a tensor (frames, height, width, channels)",
        "not the shape (6, 8, 8, 5)",
        "from 0 to 1, not from 2 to 2: give clips that are not normalised",
        "uint8, or real numbers from 0 to 1, not int32",
    ):
        assert sentence in notes
    with pytest.raises(UserError, match="none of the clips can be read: train/0000000: a clip must be an array"):
        opened_clips([(np.zeros((8, 8)), label) for _, label in data])


def test_the_same_clip_in_both_parts_is_named() -> None:
    found = given(clips(), [clips()[0], (clips()[1][0] + 1, "light")], None, (), "auto", clips=True)
    splits = open_data(ClipData(table=IN_PYTHON, **found.options), 0, 3, 2, table=found.table)
    assert "1 held-out clip has the same content as training clips" in " ".join(splits.notes)


@pytest.mark.long
def test_clips_in_memory_become_a_run(tmp_path: Path) -> None:
    recipe = get_recipe("hiera_micro_actions")
    model = replace(recipe.model, input_size=(4, 32, 32), dims=(8, 16, 32), depths=(1, 1, 1), heads=(1, 1, 1))
    loop = replace(recipe.loop, batch_size=4, max_steps=1, epochs=1, workers=0, device="cpu")
    recipe = replace(recipe, model=model, loop=loop, data=ClipData(stride=1))
    scores = hvit.fit(recipe, clips(), clips(count=4), out=tmp_path / "run")
    assert scores["count"] == 4
    assert open_weights(tmp_path / "run").classes == ("dark", "light")
    with pytest.raises(UserError, match="by a Python program, and no file holds them"):
        training.resume(tmp_path / "run")


@pytest.mark.long
def test_a_run_that_was_stopped_continues_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluation_batches(*arguments, **options)

    data = Pairs()
    whole = hvit.fit(TINY, data, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluation_batches", interrupted)
        with pytest.raises(Stopped):
            hvit.fit(TINY, data, out=tmp_path / "parts")
    with pytest.raises(UserError, match="the data is not what the run in"):
        hvit.fit(TINY, Pairs(count=22), out=tmp_path / "parts")
    assert hvit.fit(TINY, data, out=tmp_path / "parts")["loss"] == whole["loss"]
    with pytest.raises(UserError, match="by a Python program, and no file holds them"):
        training.resume(tmp_path / "parts")
    longer = replace(TINY, loop=replace(TINY.loop, epochs=3))
    with pytest.raises(UserError, match=r"loop\.epochs was 2 and is 3"):
        hvit.fit(longer, data, out=tmp_path / "parts")


@pytest.mark.long
def test_paths_are_kept_so_that_the_command_line_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = [(path.relative_to(tmp_path), name) for path, name in written(tmp_path / "images")]
    run = tmp_path / "run"
    hvit.fit(TINY, pairs[6:], pairs[:6], out="run")
    assert json.loads((run / "samples.jsonl").read_text().splitlines()[0]) == {
        "label": "top", "split": "train", "path": "images/06.png",
    }  # fmt: skip
    monkeypatch.chdir("/")
    training.resume(run)
    main(["evaluate", str(run)])
    with pytest.raises(UserError, match="the data is not what the run in"):
        hvit.fit(TINY, pairs[7:], pairs[:6], out=run)


def test_data_frames_name_files_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names = [f"images/{path.name}" for path, _ in written(tmp_path / "images")]
    frame = pandas.DataFrame({"file": names, "age": [20.5 + number for number in range(24)]})
    found = given(frame.iloc[4:], frame.iloc[:4], None, (), "auto")
    assert found.files
    splits = open_data(FolderData(table=IN_PYTHON, root=str(tmp_path), **found.options), 0, 1, table=found.table)
    assert splits.labels.kind == "regression"
    assert (len(splits.train), splits.held_out.name(3)) == (20, "images/03.png")
    with pytest.raises(UserError, match="held_out has other columns than train"):
        given(frame, frame.rename(columns={"age": "years"}), None, (), "auto")


@pytest.mark.parametrize(
    ("label", "kind", "names"),
    [
        (lambda row: [row % 2, 1], "multi", ("0", "1")),
        (lambda row: np.array([row % 2, 1.0]), "multi", ("0", "1")),
        (lambda row: ["a", "b"][: row % 3], "multi", ("a", "b")),
        (lambda row: [0, 2][: row % 3], "multi", ("0", "2")),
        (lambda row: row % 3 * 0.5, "regression", ("label",)),
        (lambda row: [row * 0.5, row % 3 + 0.5], "regression", ("0", "1")),
        (lambda row: torch.tensor(row), "single", tuple(map(str, range(12)))),
    ],
)
def test_labels_of_all_kinds(label: Any, kind: str, names: tuple[str, ...]) -> None:
    images, _ = arrays()
    pairs = [(image, label(row % 12)) for row, image in enumerate(images)]
    spec = opened(pairs, pairs[:12]).labels
    assert (spec.kind, spec.names) == (kind, names)


def test_names_of_classes_hold_for_several_classes_an_image() -> None:
    images, _ = arrays()
    pairs = [(image, [row % 2, 1]) for row, image in enumerate(images)]
    assert opened(pairs, classes=("sky", "sea")).classes == ("sky", "sea")
    with pytest.raises(UserError, match="classes has 3 names, and labels have 2 outputs"):
        opened(pairs, classes=("sky", "sea", "sun"))


def test_a_data_set_of_hugging_face_is_taken() -> None:
    datasets = pytest.importorskip("datasets")
    images, labels = arrays()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["top", "bottom"])})
    pictures = [Image.fromarray(image[..., 0]) for image in images]
    data = datasets.Dataset.from_dict({"image": pictures, "label": labels.tolist()}, features=features)
    splits = opened(data, data.select(range(6)))
    assert splits.classes == ("bottom", "top")
    assert len(splits.held_out) == 6


def fitted(data: Any, out: Path, recipe: Recipe = TINY, **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        hvit.fit(recipe, data, out=out, **arguments)
    assert not out.exists()
    return str(caught.value)


def test_what_is_no_data_is_refused_in_one_sentence(tmp_path: Path) -> None:
    images, labels = arrays()
    out = tmp_path / "run"
    assert "train must be pairs of image and label" in fitted(3, out)
    assert "24 images and 3 labels" in fitted((images, labels[:3]), out)
    assert "item 0 of train must be a pair" in fitted([1, 2], out)
    assert "train is empty" in fitted([], out)
    assert "test is given without held_out" in fitted(Pairs(), out, test=Pairs())
    assert "label 2 is not a number from 0 to 1" in fitted([(image, 2) for image in images], out, classes=("a", "b"))
    assert "labels must be text, numbers or lists, not int, str" in fitted([(images[0], 1), (images[1], "a")], out)
    assert "must be from 0 to 1, not from -0.5" in fitted(Pairs("normalised"), out)
    assert "classes has a name twice" in fitted(Pairs(), out, classes=("a", "a"))
    named = replace(TINY, data=FolderData(table="labels.csv"))
    assert "name only one" in fitted(Pairs(), out, named)


def test_images_that_differ_each_time_are_noted_and_not_compared() -> None:
    splits = opened(Pairs("random"))
    assert "other pixels each time" in " ".join(splits.notes)
    assert identity_of(splits) == identity_of(opened(Pairs("random")))
