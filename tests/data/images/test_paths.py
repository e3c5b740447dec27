"""Paths of many files are kept in arrays: they are the paths they were made of, in little memory that workers share."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hvit.data.images.paths import PathList

NAMES = ["cat/a.png", "cat/ü.png", "dog/b.png", "c.png"]


def test_a_list_gives_the_paths_it_was_made_of() -> None:
    files = PathList.of_names(Path("photos"), NAMES)
    assert list(files) == [Path("photos") / name for name in NAMES]
    assert list(files[1:3]) == [Path("photos/cat/ü.png"), Path("photos/dog/b.png")]
    assert list(files.take(np.array([3, 0]))) == [Path("photos/c.png"), Path("photos/cat/a.png")]
    assert files[1:3].text is files.text
    assert list(PathList.of(map(Path, ["/a/b", "c"]))) == [Path("/a/b"), Path("c")]
    assert list(PathList.of_names(Path(), ())) == []
    assert list(pickle.loads(pickle.dumps(files))) == list(files)


def test_names_that_are_no_text_stay_as_they_are() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    files = PathList.of_names(Path("photos"), [name])
    assert (files[0], files.name(0)) == (Path("photos") / name, b"caf\xe9.png")


def test_lists_are_joined_whatever_folders_they_start_from() -> None:
    files = PathList.of_names(Path("photos"), NAMES)
    joined = PathList.joined([files[2:], files[:1]])
    assert list(joined) == [*files[2:], *files[:1]]
    assert joined.text is files.text
    others = [PathList.of_names(Path("photos"), ["d.png"]), PathList.of_names(Path("more"), ["e.png"])]
    assert list(PathList.joined([files, *others])) == [*files, *others[0], *others[1]]
    assert list(PathList.joined([])) == []


def test_names_are_seen_from_any_folder() -> None:
    files = PathList.of_names(Path("photos"), ["train/cat/a.png", "/b.png"])
    expected = [os.path.relpath(file, "photos/train").encode() for file in files]
    assert list(files.names_from(Path("photos/train"))) == expected
    assert expected[0] == b"cat/a.png"
    inside = PathList.of_names(Path("photos/train"), ["cat/a.png"])
    assert inside.digest(Path("photos/train")) == files[:1].digest(Path("photos/train"))
    assert list(PathList.of(inside).names_from(Path("photos"))) == [b"train/cat/a.png"]


def test_some_files_are_found_and_taken_out() -> None:
    for files in (PathList.of_names(Path("photos"), NAMES), PathList.of([Path("photos") / name for name in NAMES])):
        assert files.are_not([Path("photos/dog/b.png")]).tolist() == [True, True, False, True]
        assert files.are_not([]).all()


def test_two_hundred_thousand_paths_take_their_bytes_and_twelve_more_each() -> None:
    names = [f"class_{number % 100:02}/image_{number:07}.jpg" for number in range(200_000)]
    tracemalloc.start()
    try:
        files = PathList.of_names(Path("/data/photos"), iter(names))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert files.nbytes() == sum(len(name) + 12 for name in names)
    assert kept < 1.3 * files.nbytes()  # buffers grow by an eighth at a time
    assert len(pickle.dumps(files)) < files.nbytes() + 1_000


_CHILD = """
import os, sys
from pathlib import Path
from hvit.data.images.paths import PathList

def private():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty")) / 1024

names = [f"class_{number % 100:02}/image_{number:07}.jpg" for number in range(200_000)]
held = PathList.of_names(Path("/data"), names) if sys.argv[1] == "arrays" else [Path("/data", name) for name in names]
del names
read, write = os.pipe()
if os.fork() == 0:
    before = private()
    for index in range(len(held)):
        held[index]
    os.write(write, str(private() - before).encode())
    os._exit(0)
os.wait()
print(os.read(read, 100).decode())
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux says what memory a process shares")
def test_a_worker_process_that_looks_at_all_paths_shares_their_memory() -> None:
    grown = {
        kind: float(
            subprocess.run([sys.executable, "-c", _CHILD, kind], capture_output=True, check=True, timeout=120).stdout
        )
        for kind in ("arrays", "list")
    }
    assert grown["arrays"] < 6  # MB, of Python itself
    assert grown["list"] > 12  # what a list of paths costs each worker: the test measures what it should
