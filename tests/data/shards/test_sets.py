"""A set of shards is read in an order that keeps to few shards, and fetches those that come next."""

from pathlib import Path

import numpy as np
import pytest

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.data.shards.sets import ShardSet
from tests.data.shards.made import write_shards

pytest.importorskip("webdataset")


def test_training_expects_the_samples_of_this_step_and_of_half_a_window_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "s", [20] * 8)
    data = FolderData(shards=str(tmp_path / "s"), shuffle_shards=2, shard_cache=str(tmp_path / "c"), val_fraction=0.1)
    images = open_data(data, 0).train
    assert isinstance(images, ShardSet)
    assert images.order is not None
    expected: list[np.ndarray] = []
    monkeypatch.setattr(ShardSet, "expect", lambda self, numbers: expected.append(numbers))
    made = train_batches(
        images, num_classes=2, preprocess=Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3), augment=AugmentConfig(), seed=0,
        batch_size=6, total_steps=4,
    )  # fmt: skip
    assert len(list(made)) == 4
    ahead = images.order.ahead(6)
    assert ahead > 1
    for step, numbers in enumerate(expected):
        order = images.order
        assert set(numbers.tolist()) == set(order.batch(6, 0, step).tolist()) | set(
            order.batch(6, 0, step + ahead).tolist()
        )


def test_a_held_out_set_has_no_order_of_its_own(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", [20])
    splits = open_data(FolderData(shards=str(tmp_path / "s"), shard_cache=str(tmp_path / "c")), 0)
    assert splits.held_out.order is None
