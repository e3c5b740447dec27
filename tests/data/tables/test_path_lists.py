"""Lists of files come from folders, files, tables of any kind and indexes of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.data.tables.path_lists import listed_files
from hvit.errors import UserError
from tests.data.images.made import make_pictures, open_folder


def test_folders_and_files_stand_for_their_images(tmp_path: Path) -> None:
    make_pictures(tmp_path / "photos" / "cat", 2)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    odd = tmp_path / "odd"
    odd.write_bytes(b"")
    expected = [tmp_path / "photos" / "cat" / f"{number:03}.png" for number in range(2)]
    assert list(listed_files([tmp_path / "photos", odd])) == [*expected, odd]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_paths_of_a_table_start_from_its_folder(tmp_path: Path, ending: str) -> None:
    table = tmp_path / f"list.{ending}"
    rows = ["a.png", "sub/b.png", "/abs/c.png", "a.png"]
    if ending == "csv":
        table.write_text("number,file\n" + "".join(f"{number},{row}\n" for number, row in enumerate(rows)))
    else:
        table.write_text("".join(f'{{"path": "{row}"}}\n' for row in rows))
    assert list(listed_files([table])) == [tmp_path / row for row in rows]


def test_parquet_and_an_index_of_images(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"id": [1, 2], "path": ["a.png", "/abs/b.png"]}), tmp_path / "list.parquet")
    assert list(listed_files([tmp_path / "list.parquet"])) == [tmp_path / "a.png", Path("/abs/b.png")]
    for name in ("cat", "dog"):
        make_pictures(tmp_path / "photos" / name, 2)
    index = tmp_path / "photos.parquet"
    open_folder(tmp_path / "photos", index=str(index))
    assert list(listed_files([index])) == list(listed_files([tmp_path / "photos"]))


def test_lists_without_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.png,cat\n,dog\n")
    with pytest.raises(UserError, match="line 3: there is no path in the column path"):
        listed_files([tmp_path / "list.csv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        listed_files([tmp_path / "empty"])
    with pytest.raises(UserError, match="there is no such file"):
        listed_files([tmp_path / "nowhere"])
