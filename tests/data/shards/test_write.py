"""Shards are written whole, the same each time, with the images as they are, and a stopped job goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from hvit.data.shards import write as module
from hvit.data.shards.copies import hash_of
from hvit.data.shards.index import INDEX, read_index
from hvit.data.shards.opened import open_shards
from hvit.data.shards.source import Source, open_source
from hvit.data.shards.write import JOB, Job, write_shards
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from tests.data.shards.made import picture

pytest.importorskip("webdataset")
pytest.importorskip("pyarrow")

JOB_SIZE = Job(20480)  # five samples a shard


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty-two photos of two classes."""
    for number in range(22):
        path = tmp_path / "photos" / ("cat" if number % 3 else "dög") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return tmp_path / "photos"


def source_of(place: Path) -> Source:
    return open_source(str(place), "", LabelOptions(table="-"), "auto")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_image_is_there_untouched_with_its_class_and_name(photos: Path, tmp_path: Path) -> None:
    (summary,) = write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    rows = open_shards(str(tmp_path / "out"))
    assert summary["samples"] == len(rows) == 22
    assert summary["shards"] == len(rows.index.shards) > 3
    assert rows.index.spec is not None
    assert rows.index.spec.names == ("cat", "dög")
    for number in range(22):
        sample = rows[number]
        file = photos / sample.name
        assert sample.content == file.read_bytes()
        assert rows.index.spec.names[int(sample.label)] == file.parent.name  # pyright: ignore
    assert {rows.name(number) for number in range(22)} == {
        f"{one.parent.name}/{one.name}" for one in photos.rglob("*.png")
    }
    assert all(shard.size <= 20480 for shard in rows.index.shards)
    assert all(hash_of(Path(shard.place)) == shard.digest for shard in rows.index.shards)
    assert sorted(files_of(tmp_path / "out")) == [*(f"{number:06}.tar" for number in range(summary["shards"])), INDEX]


def test_the_same_source_is_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        write_shards(source_of(photos), tmp_path / out, JOB_SIZE)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_samples_are_shuffled_unless_asked_otherwise(photos: Path, tmp_path: Path) -> None:
    write_shards(source_of(photos), tmp_path / "a", JOB_SIZE)
    write_shards(source_of(photos), tmp_path / "b", Job(20480, "listed"))
    shuffled, listed = open_shards(str(tmp_path / "a")), open_shards(str(tmp_path / "b"))
    assert [listed.name(number) for number in range(22)] == sorted(listed.name(number) for number in range(22))
    assert len(set(shuffled.index.labels[:6].tolist())) == 2  # pyright: ignore
    assert len(set(listed.index.labels[:6].tolist())) == 1  # pyright: ignore


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its reader leaves files open
def test_webdataset_reads_what_was_written(photos: Path, tmp_path: Path) -> None:
    import gc
    import json

    import webdataset

    write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    names = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    read = list(webdataset.WebDataset(names, shardshuffle=False))
    gc.collect()
    rows = open_shards(str(tmp_path / "out"))
    assert [one["__key__"] for one in read] == [f"{number:09}" for number in range(22)]
    assert [one["png"] for one in read] == [rows[number].content for number in range(22)]
    assert [int(one["cls"]) for one in read] == [rows[number].label for number in range(22)]
    said = json.loads(read[0]["json"])
    assert said["name"] == rows.name(0)
    assert said["class"] == rows.index.spec.names[said["label"]]  # pyright: ignore


def test_without_their_index_shards_keep_names_and_classes(photos: Path, tmp_path: Path) -> None:
    write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    with_index = open_shards(str(tmp_path / "out"))
    (tmp_path / "out" / INDEX).unlink()
    without = open_shards(str(tmp_path / "out"))
    assert without.index.spec == with_index.index.spec
    assert without.index.labels.tolist() == with_index.index.labels.tolist()  # pyright: ignore
    assert without.index.offsets.tolist() == with_index.index.offsets.tolist()
    assert [without.name(number) for number in range(22)] == [with_index.name(number) for number in range(22)]


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("path,tags\n{0},x|y\n{1},x\n{2},y|x\n{3},\n", "multi"),
        ("path,age\n{0},1.5\n{1},2.25\n{2},3\n{3},7.5\n", "regression"),
        ("path,a,b\n{0},1.5,2\n{1},2.25,3\n{2},3,1\n{3},7.5,8.5\n", "regression"),
    ],
)
def test_labels_of_every_kind_come_back(photos: Path, tmp_path: Path, table: str, kind: str) -> None:
    names = sorted(str(path) for path in photos.rglob("*.png"))
    (tmp_path / "t.csv").write_text(table.format(*names))
    options = LabelOptions(table="-", label_columns=tuple(table.split("\n")[0].split(",")[1:]))
    source = open_source(str(tmp_path / "t.csv"), "", options, "auto")
    write_shards(source, tmp_path / "out", Job(10**6, "listed"))
    for has_index in (True, False):
        index = open_shards(str(tmp_path / "out")).index
        assert index.spec is not None
        assert index.spec.kind == kind
        assert index.labels.tolist() == source.parts[0].labels.tolist()  # pyright: ignore
        if has_index:
            (tmp_path / "out" / INDEX).unlink()


def test_parts_are_folders(tmp_path: Path) -> None:
    for number, place in enumerate(("train/a", "train/b", "val/a", "val/b")):
        (tmp_path / "photos" / place).mkdir(parents=True)
        (tmp_path / "photos" / place / "x.png").write_bytes(picture(number))
    written = write_shards(source_of(tmp_path / "photos"), tmp_path / "out", JOB_SIZE)
    assert [one["part"] for one in written] == ["train", "val"]
    assert sorted(files_of(tmp_path / "out")) == [
        "train/000000.tar", "train/index.parquet", "val/000000.tar", "val/index.parquet"]  # fmt: skip


@pytest.mark.parametrize("after", [0, 3, 11, 21])
def test_a_stopped_job_goes_on_to_the_same_bytes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    write_shards(source_of(photos), tmp_path / "whole", JOB_SIZE)
    read, count = module._Writer._label_members, 0

    def stops(self: module._Writer, *rest: object) -> dict[str, bytes]:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return read(self, *rest)  # pyright: ignore

    monkeypatch.setattr(module._Writer, "_label_members", stops)
    with pytest.raises(KeyboardInterrupt):
        write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    monkeypatch.undo()
    assert set(files_of(tmp_path / "out")) <= {*(f"{number:06}.tar" for number in range(5)), JOB}
    whole = len(list((tmp_path / "out").glob("*.tar")))
    assert whole > 0 or after < 10
    (summary,) = write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    assert summary["found"] == whole
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_finished_job_is_not_done_again(photos: Path, tmp_path: Path) -> None:
    write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (summary,) = write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    assert summary["found"] == summary["shards"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_with_anything_else_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty, and holds no shards of the same source"):
        write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    assert list(files_of(tmp_path / "out")) == ["mine.txt"]
    write_shards(source_of(photos), tmp_path / "done", JOB_SIZE)
    with pytest.raises(UserError, match="is not empty"):
        write_shards(source_of(photos), tmp_path / "done", Job(30720))
    with pytest.raises(UserError, match="is a file"):
        write_shards(source_of(photos), photos / "cat" / "01.png", JOB_SIZE)


def test_a_shard_that_somebody_changed_is_refused(photos: Path, tmp_path: Path) -> None:
    write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    job = read_index(tmp_path / "out" / INDEX, "")[1]["job"]
    (tmp_path / "out" / INDEX).unlink()
    (tmp_path / "out" / JOB).write_text(f'{{"job": "{job}"}}')
    path = tmp_path / "out" / "000001.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"000001.tar is not what this job wrote"):
        write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)


def test_two_processes_do_not_write_one_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(UserError, match="another process writes shards"):
        write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)


def test_images_that_cannot_be_stored_are_named_and_skipped(photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "01.png").write_bytes(b"no image")
    os.truncate(photos / "cat" / "02.png", 0)
    refused: list[str] = []
    (summary,) = write_shards(source_of(photos), tmp_path / "out", JOB_SIZE, refused.append)
    assert (summary["samples"], summary["skipped"]) == (20, 2)
    assert sorted(sentence.partition(":")[0] for sentence in refused) == [
        "cat/01.png is skipped",
        "cat/02.png is skipped",
    ]
    assert len(open_shards(str(tmp_path / "out"))) == 20


def test_a_source_without_any_image_that_can_be_stored_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 2 images can be stored"):
        write_shards(source_of(tmp_path / "photos"), tmp_path / "out", JOB_SIZE)


def test_a_full_disk_leaves_no_half_shard(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = module._Hashed.write, 0

    def full(self: module._Hashed, content: bytes) -> int:
        nonlocal written
        written += len(content)
        if written > 45_000:
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(module._Hashed, "write", full)
    with pytest.raises(UserError, match=r"000002.tar cannot be written: No space left on device"):
        write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)
    assert set(files_of(tmp_path / "out")) == {"000000.tar", "000001.tar", JOB}
    monkeypatch.undo()
    assert write_shards(source_of(photos), tmp_path / "out", JOB_SIZE)[0]["found"] == 2
