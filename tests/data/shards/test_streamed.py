"""Data sets of Hugging Face are streamed file by file, in the same exact order as tar shards."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.sets import ImageSet, Splits
from hvit.errors import UserError
from tests.data.shards.made import number_of, picture

datasets = pytest.importorskip("datasets")


def write_parquet(folder: Path, counts: list[int]) -> None:
    """Parquet files with the images inside, as the hub has them."""
    folder.mkdir(parents=True, exist_ok=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    number = 0
    for file, count in enumerate(counts):
        numbers = range(number, number + count)
        values = {"image": [{"bytes": picture(one), "path": None} for one in numbers],
                  "label": [one % 2 for one in numbers]}  # fmt: skip
        datasets.Dataset.from_dict(values, features=features).to_parquet(str(folder / f"{file}.parquet"))
        number += count


def opened(tmp_path: Path, **options: object) -> Splits:
    return open_data(FolderData(shard_cache=str(tmp_path / "copies"), **options), 0)  # pyright: ignore


def numbers(images: ImageSet) -> list[int]:
    return [number_of(images.read(index, 0)[0]) for index in range(len(images))]  # pyright: ignore


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def test_parquet_files_are_streamed_as_shards(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data", [6, 4])
    splits = opened(tmp_path, shards=f"{tmp_path}/data/{{0..1}}.parquet", shuffle_shards=1)
    assert splits.classes == ("cat", "dog")
    assert sorted(numbers(splits.train) + numbers(splits.held_out)) == list(range(10))
    for images in (splits.train, splits.held_out):
        assert [images.target(index) for index in range(len(images))] == [one % 2 for one in numbers(images)]
    assert len(list((tmp_path / "copies").glob("*.copy"))) == 2
    again = pickle.loads(pickle.dumps(splits.train))
    assert numbers(again) == numbers(splits.train)
    assert again.order is not None
    seen = np.concatenate([again.order.batch(4, 0, step) for step in range(2)])
    assert len(set(seen.tolist())) == 8


def test_files_may_be_held_out(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data", [6, 4])
    splits = opened(
        tmp_path, shards=f"{tmp_path}/data/0.parquet", held_out_shards=f"{tmp_path}/data/1.parquet", labels="none"
    )
    assert (numbers(splits.train), numbers(splits.held_out)) == (list(range(6)), list(range(6, 10)))
    assert not splits.has_labels


def test_what_cannot_be_streamed_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    for name in ("bad.parquet", "nowhere.parquet"):
        with pytest.raises(UserError, match=r"cannot be opened"):
            opened(tmp_path, shards=str(tmp_path / name))
