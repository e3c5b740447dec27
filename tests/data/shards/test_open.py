"""Shards as the data of a run: parts, labels, what is skipped, and the same batches wherever and by whomever."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.identity import identity_of
from hvit.data.images.folders import FolderData
from hvit.data.open import moved, open_data, with_full_paths
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet, Splits
from hvit.data.shards.index import INDEX
from hvit.data.shards.source import open_source
from hvit.data.shards.write import Job, write_shards
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from tests.data.shards.made import number_of, picture, write_tar
from tests.data.shards.made import write_shards as write_foreign

pytest.importorskip("webdataset")
pytest.importorskip("pyarrow")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty photos of two classes, whose pixels say their number."""
    for number in range(40):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return tmp_path / "photos"


def pack(folder: Path, out: Path, size: int = 20480) -> Path:
    write_shards(open_source(str(folder), "", LabelOptions(table="-"), "auto"), out, Job(size))
    return out


def opened(tmp_path: Path, **options: object) -> Splits:
    return open_data(FolderData(shard_cache=str(tmp_path / "copies"), **options), 0)  # pyright: ignore


def numbers(images: ImageSet) -> list[int]:
    return [number_of(images.read(index, 0)[0]) for index in range(len(images))]  # pyright: ignore


def batches(images: ImageSet, **options: object) -> list[dict[str, torch.Tensor]]:
    config = {"num_classes": 2, "augment": AugmentConfig(crop="resized", flip=0.5, mixup=0.2), "seed": 3,
              "batch_size": 8, "total_steps": 9, "preprocess": Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3)}  # fmt: skip
    return list(train_batches(images, **config | options))  # pyright: ignore


def same(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


def test_shards_hold_out_the_same_images_as_their_folder(photos: Path, tmp_path: Path) -> None:
    folder = open_data(FolderData(root=str(photos)), 0)
    splits = opened(tmp_path, shards=str(pack(photos, tmp_path / "out")))
    assert splits.classes == folder.classes
    assert sorted(numbers(splits.train)) == sorted(numbers(folder.train))
    assert sorted(numbers(splits.held_out)) == sorted(numbers(folder.held_out))
    for images in (splits.train, splits.held_out):
        assert [images.read(index, 0)[1] for index in range(len(images))] == [one % 2 for one in numbers(images)]
    assert splits.held_out.name(0) in {folder.held_out.name(index) for index in range(len(folder.held_out))}


def test_parts_are_those_of_the_folder(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "photos" / ("train", "val", "test")[number % 3] / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    splits = opened(tmp_path, shards=str(pack(tmp_path / "photos", tmp_path / "out")))
    assert splits.test is not None
    for images, rest in ((splits.train, 0), (splits.held_out, 1), (splits.test, 2)):
        assert sorted(numbers(images)) == [number for number in range(12) if number % 3 == rest]
    assert any("Held out are the shards in the folder val" in note for note in splits.notes)


def test_shards_may_be_held_out_by_name(photos: Path, tmp_path: Path) -> None:
    out = pack(photos, tmp_path / "out")
    names = sorted(path.name for path in out.glob("*.tar"))
    assert len(names) > 3
    pattern = f"{out}/00000{{0..{len(names) - 2}}}.tar"
    splits = opened(tmp_path, shards=pattern, held_out_shards=str(out / names[-1]))
    assert len(splits.train) + len(splits.held_out) == 40
    assert not set(numbers(splits.train)) & set(numbers(splits.held_out))
    with pytest.raises(UserError, match="is to train on and held out"):
        opened(tmp_path, shards=pattern, held_out_shards=str(out / names[0]))


@pytest.mark.parametrize("window", [1, 2, 100])
def test_batches_are_the_same_for_any_number_of_processes_workers_and_stops(
    photos: Path, tmp_path: Path, window: int
) -> None:
    out = str(pack(photos, tmp_path / "out"))
    images = opened(tmp_path, shards=out, shuffle_shards=window).train
    whole = batches(images)
    assert same(whole, batches(images, workers=2))
    assert same(whole[5:], batches(images, start_step=5))
    again = pickle.loads(pickle.dumps(opened(tmp_path, shards=out, shuffle_shards=window).train))
    assert same(whole, batches(again))
    for processes in (2, 4):
        shares = [batches(images, rank=rank, world_size=processes) for rank in range(processes)]
        for step, batch in enumerate(whole):
            found = torch.cat([share[step]["images"] for share in shares])
            order = [(found == image).flatten(1).all(1).nonzero()[0].item() for image in batch["images"]]
            assert sorted(order) == list(range(8))


def test_an_epoch_sees_every_image_once(photos: Path, tmp_path: Path) -> None:
    images = opened(tmp_path, shards=str(pack(photos, tmp_path / "out")), shuffle_shards=2, fraction=1.0).train
    assert len(images) == 32
    assert images.order is not None
    seen = np.concatenate([images.order.batch(8, 0, step) for step in range(4)])
    assert sorted(seen.tolist()) == list(range(32))


def test_shards_of_others_open_without_an_index(tmp_path: Path) -> None:
    write_foreign(tmp_path / "s", [10, 10])
    splits = opened(tmp_path, shards=str(tmp_path / "s"))
    assert re.fullmatch(r"The data: 2 shards, 0\.\d+ MB\.", splits.notes[0])
    assert splits.classes == ("0", "1")
    assert sorted(numbers(splits.train) + numbers(splits.held_out)) == list(range(20))
    assert identity_of(splits)["train"]["count"] == 16


def test_an_unlabelled_set_is_enough_for_masked_pretraining(tmp_path: Path) -> None:
    write_tar(tmp_path / "s" / "a.tar", [(f"{number}.png", picture(number)) for number in range(10)])
    splits = opened(tmp_path, shards=str(tmp_path / "s"), labels="auto")
    assert not splits.has_labels
    assert len(splits.train) == 8


def damaged_images(tmp_path: Path) -> Path:
    """A shard of which two images are none."""
    members = []
    for number in range(20):
        content = b"no image" if number in (3, 4) else picture(number)
        members += [(f"{number:02}.cls", str(number % 2).encode()), (f"{number:02}.png", content)]
    write_tar(tmp_path / "s" / "a.tar", members)
    return tmp_path / "s"


def test_images_that_cannot_be_read_are_named_and_skipped_by_a_rule(tmp_path: Path) -> None:
    shards = str(damaged_images(tmp_path))
    splits = opened(tmp_path, shards=shards)
    assert sorted(numbers(splits.train) + numbers(splits.held_out)) == [n for n in range(20) if n not in (3, 4)]
    assert any("2 images of 20 cannot be read and will be skipped: a.tar/03" in note for note in splits.notes)
    with pytest.raises(UserError, match="2 images of the shards cannot be read, and at most 1 may be skipped"):
        opened(tmp_path, shards=shards, max_skipped=1)
    with pytest.raises(UserError, match=r"cannot be read: a.tar/03"):
        opened(tmp_path, shards=shards, unreadable="stop")


def test_images_that_were_not_checked_are_skipped_in_training_by_the_same_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = str(damaged_images(tmp_path))
    splits = opened(tmp_path, shards=shards, check="none", val_fraction=0.1, split_seed=1)
    bad = [index for index in range(18) if splits.train.name(index) in ("a.tar/03", "a.tar/04")]
    assert len(bad) == 2
    read = numbers(splits.train)
    assert not {3, 4} & set(read)
    assert len(read) == 18
    assert "a.tar/03" in capsys.readouterr().err
    images = opened(tmp_path, shards=shards, check="none", val_fraction=0.1, split_seed=1, max_skipped=1).train
    with pytest.raises(UserError, match="more than 1 images of the shards cannot be read"):
        numbers(images)


def test_a_shard_that_is_lost_while_training_stops_the_run(photos: Path, tmp_path: Path) -> None:
    out = pack(photos, tmp_path / "out")
    images = opened(tmp_path, shards=str(out)).train
    (out / "000000.tar").unlink()
    with pytest.raises(UserError, match=r"000000.tar: there is no such file"):
        numbers(images)


def test_a_shard_that_is_missing_or_cut_is_noticed_before_training(photos: Path, tmp_path: Path) -> None:
    out = pack(photos, tmp_path / "out")
    path = out / "000001.tar"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"000001.tar has .* bytes, and its index says"):
        opened(tmp_path, shards=str(out))
    path.unlink()
    with pytest.raises(UserError, match=r"000001.tar is missing, and its index lists it"):
        opened(tmp_path, shards=str(out))


def test_labels_that_the_classes_do_not_have_are_named(photos: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    out = pack(photos, tmp_path / "out")
    table = parquet.read_table(out / INDEX)
    labels = table.column("label").to_pylist()
    import pyarrow as pa

    table = table.set_column(table.column_names.index("label"), "label", pa.array([7, -1, *labels[2:]], pa.int32()))
    parquet.write_table(table, out / INDEX)
    splits = opened(tmp_path, shards=str(out))
    assert len(splits.train) + len(splits.held_out) == 38
    sentence = next(note for note in splits.notes if "cannot be used" in note)
    assert "000000.tar/000000000 has no label from 0 to 1" in sentence
    with pytest.raises(UserError, match="at most 1 may be skipped"):
        opened(tmp_path, shards=str(out), max_skipped=1)


def test_the_identity_is_that_of_the_shards_and_needs_no_image(photos: Path, tmp_path: Path) -> None:
    out = pack(photos, tmp_path / "out")
    one = identity_of(opened(tmp_path, shards=str(out)))
    out.rename(tmp_path / "elsewhere")
    splits = opened(tmp_path, shards=str(tmp_path / "elsewhere"))
    for path in (tmp_path / "elsewhere").glob("*.tar"):
        path.unlink()
    assert identity_of(splits) == one


def test_places_are_kept_whole_and_can_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = with_full_paths(FolderData(shards="s", held_out_shards="https://h/v", shard_cache="c"))
    assert isinstance(data, FolderData)
    assert (data.shards, data.held_out_shards, data.shard_cache) == (
        f"{tmp_path}/s", "https://h/v", f"{tmp_path}/c")  # fmt: skip
    assert moved(FolderData(shards="s"), "other") == FolderData(shards="other")
    with pytest.raises(UserError, match="--root other is one place, and this data has two"):
        moved(data, "other")


def test_classes_are_balanced_in_shards_too(photos: Path, tmp_path: Path) -> None:
    for path in list((photos / "dog").iterdir())[:15]:
        path.unlink()
    out = str(pack(photos, tmp_path / "out", 10240))
    images = opened(tmp_path, shards=out, shuffle_shards=2, balance="sampling").train
    assert images.order is not None
    steps = len(images) // 4
    seen = np.concatenate([images.order.batch(4, 0, step, images.chances) for step in range(steps)])
    shares = np.bincount(images.labels[seen], minlength=2) / len(seen)
    assert abs(shares[0] - 0.5) < 0.15
