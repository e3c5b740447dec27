"""Tables are read as they are: delimiters, encodings, Parquet, data frames, and what is no table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.data.images.listing import is_image_name
from hvit.data.tables import read
from hvit.data.tables.read import FrameTable, plain_cell, read_table
from hvit.errors import UserError
from tests.data.tables.made import make_table, open_table, refusal, rows


def test_cells_of_every_reader_are_text_numbers_or_lists() -> None:
    cells = [" a ", None, float("nan"), np.int64(3), np.float32(0.5), np.array([1, 2]), (" x", None), True]
    assert [plain_cell(cell) for cell in cells] == ["a", "", "", 3, 0.5, [1, 2], ["x", ""], True]


def test_parquet_is_read_column_by_column(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    make_table(tmp_path, "")
    columns = {"path": [f"{number:03}.png" for number in range(10)], "label": [["a"], ["a", "b"]] * 5, "more": [1] * 10}
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    splits = open_table(tmp_path / "a.parquet")
    assert (splits.labels.kind, splits.classes) == ("multi", ("a", "b"))


def test_parquet_without_pyarrow_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"pip install 'hvit\[tables\]'"):
        read_table(tmp_path / "a.parquet", is_image_name)


def test_a_quoted_cell_may_have_several_lines_and_line_numbers_stay_right(tmp_path: Path) -> None:
    table = make_table(tmp_path, 'path,label,text\n000.png,cat,"two\nlines"\n001.png,dog\n')
    assert "line 4 has 2 cells" in refusal(table)


def test_a_line_without_end_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "_LONGEST_LINE", 1000)
    table = make_table(tmp_path, "path,label\n" + "x" * 5000)
    assert "line 2 has more than 1,000 characters" in refusal(table)


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MOST_ROWS", 5)
    assert "has more than 5 rows; divide it" in refusal(make_table(tmp_path, rows("cat", "dog")))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "gone.csv")
    assert "is a folder, and the table is a file" in refusal(tmp_path)
    assert "the file is empty" in refusal(make_table(tmp_path, ""))


def test_a_data_frame_is_a_table(tmp_path: Path) -> None:
    table = FrameTable({"path": ["a.png", "b.png"], "age": np.array([1.5, np.nan])}, tmp_path)
    columns, numbers = table.read(["age"])
    assert (list(columns["age"]), numbers.tolist()) == ([1.5, ""], [1, 2])
    assert table.place(2) == "the data frame, row 2"
    with pytest.raises(UserError, match="columns of different lengths"):
        FrameTable({"path": ["a.png"], "age": []}, tmp_path)
