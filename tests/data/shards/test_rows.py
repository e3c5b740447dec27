"""Samples of remote shards are read from copies, which are fetched when they are needed, or before."""

import time
from pathlib import Path

import numpy as np
import pytest

from hvit.data.shards.copies import Copies
from hvit.data.shards.opened import open_shards
from tests.data.shards.made import picture, write_shards

pytest.importorskip("fsspec")
pytest.importorskip("webdataset")


@pytest.fixture
def remote(tmp_path: Path):
    """Three shards of four samples at a URL."""
    import fsspec

    write_shards(tmp_path / "made", [4, 4, 4])
    memory = fsspec.filesystem("memory")
    for path in (tmp_path / "made").iterdir():
        memory.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def copied(folder: Path) -> int:
    return len(list(folder.glob("*.copy")))


def test_a_remote_folder_is_listed_and_read(remote: str, tmp_path: Path) -> None:
    rows = open_shards(remote, Copies(str(tmp_path / "copies")))
    assert rows.is_remote
    assert [rows[number].content for number in (0, 5, 11)] == [picture(number) for number in (0, 5, 11)]
    assert rows[5].shard == "000001.tar"


def test_a_copy_that_was_removed_is_fetched_again(remote: str, tmp_path: Path) -> None:
    rows = open_shards(remote, Copies(str(tmp_path / "copies")))
    for path in (tmp_path / "copies").glob("*.copy"):
        path.unlink()
    assert rows.value(7) == picture(7)
    assert copied(tmp_path / "copies") == 1


def test_shards_that_are_needed_soon_are_fetched_in_the_background(remote: str, tmp_path: Path) -> None:
    rows = open_shards(remote, Copies(str(tmp_path / "copies")))
    for path in (tmp_path / "copies").glob("*.copy"):
        path.unlink()
    rows.expect(np.array([0, 1, 9]))
    for _ in range(1000):
        if copied(tmp_path / "copies") == 2:
            break
        time.sleep(0.01)
    assert copied(tmp_path / "copies") == 2


def test_the_identity_of_a_sample_is_known_without_reading_it(remote: str, tmp_path: Path) -> None:
    rows = open_shards(remote, Copies(str(tmp_path / "copies")))
    assert len({rows.identity(number) for number in range(12)}) == 12
    again = open_shards(str(tmp_path / "made"), Copies(str(tmp_path / "copies")))
    assert again.identity(3) == rows.identity(3)
