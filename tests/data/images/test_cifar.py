"""CIFAR is read as published, and only if it is what was published."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from hvit.data.images.cifar import CifarData, CifarSet
from hvit.data.open import open_data
from hvit.errors import UserError

FILES = "cifar-10-batches-py"


@pytest.fixture(scope="module")
def cifar(shared_data: Path) -> Path:
    return shared_data / "cifar10"


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.trace,)


def test_the_images_equal_those_of_torchvision(cifar: Path) -> None:
    held_out = open_data(CifarData(root=str(cifar), num_per_class=1), 0).held_out
    published = CIFAR10(cifar, train=False, download=False)
    assert isinstance(held_out, CifarSet)
    np.testing.assert_array_equal(held_out.pixels.transpose(0, 2, 3, 1), published.data)
    assert held_out.labels.tolist() == published.targets
    image, label = held_out.read(7, draw=0)
    assert (image.tobytes(), label) == (published[7][0].tobytes(), published[7][1])


def test_the_training_images_have_the_published_statistics_and_stay_small_in_memory(cifar: Path) -> None:
    splits = open_data(CifarData(root=str(cifar)), 0)
    assert isinstance(splits.train, CifarSet)
    assert (splits.train.pixels.shape, splits.train.pixels.dtype) == ((50_000, 3, 32, 32), np.uint8)
    assert np.bincount(splits.train.labels).tolist() == [5000] * 10
    some = splits.train.pixels[::20] / 255
    np.testing.assert_allclose(some.mean((0, 2, 3)), splits.mean, atol=0.01)
    np.testing.assert_allclose(some.std((0, 2, 3)), splits.std, atol=0.01)
    assert splits.classes[:3] == ("airplane", "automobile", "bird")


def test_the_folder_itself_may_be_named_and_its_subsets_are_nested(cifar: Path) -> None:
    ten, twenty = (open_data(CifarData(root=str(cifar / FILES), num_per_class=count), 0, 1) for count in (10, 20))
    assert isinstance(ten.train, CifarSet)
    assert isinstance(twenty.train, CifarSet)
    assert np.bincount(ten.train.labels).tolist() == [10] * 10
    assert {image.tobytes() for image in ten.train.pixels} < {image.tobytes() for image in twenty.train.pixels}
    assert ten.train.read(0, draw=0)[0].mode == "L"
    assert len(ten.held_out) == 10_000


def test_a_missing_folder_or_file_is_named_with_where_to_get_it(cifar: Path, tmp_path: Path) -> None:
    for root, reason in {
        "": "--data.root DIR",
        str(tmp_path / "none"): "does not exist",
        str(tmp_path): "holds",
    }.items():
        with pytest.raises(UserError, match=reason) as caught:
            open_data(CifarData(root=root), 0)
        assert "get cifar-10-python.tar.gz from https://" in str(caught.value)
    shutil.copy(cifar / FILES / "batches.meta", tmp_path)
    with pytest.raises(UserError, match=r"data_batch_1: No such file or directory; unpack"):
        open_data(CifarData(root=str(tmp_path)), 0)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_file_is_refused_by_name(cifar: Path, tmp_path: Path, damage: str) -> None:
    for file in (cifar / FILES).iterdir():
        (tmp_path / file.name).symlink_to(file)
    content = bytearray((cifar / FILES / "data_batch_2").read_bytes())
    if damage == "truncated":
        content = content[:-1000]
    else:
        content[1_000_000] ^= 1
    (tmp_path / "data_batch_2").unlink()
    (tmp_path / "data_batch_2").write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_2 is not the original CIFAR file"):
        open_data(CifarData(root=str(tmp_path)), 0)


@pytest.mark.parametrize(("kind", "name"), [("cifar10", "batches.meta"), ("cifar100", "meta")])
def test_a_hostile_pickle_is_never_executed(tmp_path: Path, kind: str, name: str) -> None:
    trace = tmp_path / "executed"
    content = pickle.dumps(Hostile(trace))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="so it was not opened"):
        open_data(CifarData(kind=kind, root=str(tmp_path)), 0)
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists(), "the file would not have been hostile"


def test_cifar_100_is_read_by_its_hundred_fine_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With made-up files in the layout of CIFAR-100, declared as the published ones."""
    names = [f"kind {number}" for number in range(100)]
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    batch = {"data": pixels, "fine_labels": [number % 100 for number in range(200)], "coarse_labels": [0] * 200}
    contents = {"meta": {"fine_label_names": names, "coarse_label_names": ["all"]}, "train": batch, "test": batch}
    sums = {}
    folder = tmp_path / CIFAR100.base_folder
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    splits = open_data(CifarData(kind="cifar100", root=str(tmp_path), fraction=0.5), 0)
    assert splits.classes == tuple(names)
    assert (splits.train.labels.tolist().count(42), splits.held_out.labels[142]) == (1, 42)
    image, label = splits.held_out.read(142, draw=0)
    assert label == 42
    np.testing.assert_array_equal(np.asarray(image).transpose(2, 0, 1).ravel(), pixels[142])


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="kind must be one of cifar10, cifar100; got 'cifar11'"):
        CifarData(kind="cifar11")
