"""Cells of a column of paths: names as they are, URIs of files, and URLs of other machines."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from hvit.data.images.listing import is_image_or_array_name
from hvit.data.images.paths import PathList
from hvit.data.tables.files import as_file, is_url, listed_before
from hvit.data.tables.path_lists import listed_files
from hvit.data.tables.read import read_table
from hvit.data.tables.samples import list_samples
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from tests.data.images.made import files, make_pictures
from tests.data.tables.made import json_lines, make_table, open_table, refusal, rows


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a b.jpg", "a b.jpg"),
        ("a%20b.jpg", "a%20b.jpg"),
        ("cats\\a.jpg", "cats/a.jpg"),
        ("file:///data/a%20b.jpg", "/data/a b.jpg"),
        ("FILE://localhost/data/%C3%BC.jpg", "/data/ü.jpg"),
        ("file:/data/a.jpg", "/data/a.jpg"),
        ("C:/data/a.jpg", "C:/data/a.jpg"),
        ("notes:/a.jpg", "notes:/a.jpg"),
        ("../a.jpg", "../a.jpg"),
    ],
)
def test_a_cell_names_a_file(text: str, path: str) -> None:
    assert not is_url(text)
    assert as_file(text) == Path(path)


def test_the_home_folder_is_where_a_tilde_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert as_file("~/a.jpg") == Path("/home/somebody/a.jpg")
    assert as_file("~nobody-of-that-name/a.jpg") == Path("~nobody-of-that-name/a.jpg")
    assert as_file("a/~/b.jpg") == Path("a/~/b.jpg")


def test_uris_and_names_with_percent_signs_are_read(tmp_path: Path) -> None:
    table = make_table(tmp_path, rows("cat", "dog"))
    (tmp_path / "000.png").rename(tmp_path / "zero 0.png")
    (tmp_path / "001.png").rename(tmp_path / "one%201.png")
    uri = (tmp_path / "zero 0.png").as_uri()
    assert "%20" in uri
    table.write_text(table.read_text().replace("000.png", uri).replace("001.png", "one%201.png"))
    splits = open_table(table)
    names = [*files(splits.train), *files(splits.held_out)]
    assert len(names) == 10
    assert {"zero 0.png", "one%201.png"} < set(names)


@pytest.mark.parametrize("scheme", ["https", "s3", "gs", "file://server"])
def test_urls_are_counted_and_refused(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://example.org/a.png" if ":" not in scheme else f"{scheme}/a.png"
    table = make_table(tmp_path, rows("cat", "dog") + f"{url},dog\n{url}?size=2,cat\n")
    sentence = refusal(table)
    assert f"2 rows of {table} name a URL of another machine, such as {url} (line 12): download the files" in sentence


def test_a_column_of_urls_is_the_paths_only_where_no_other_is(tmp_path: Path) -> None:
    lines = [f"https://example.org/{number}.png,{number:03}.png,{'ab'[number % 2]}" for number in range(10)]
    table = make_table(tmp_path, "\n".join(["coco_url,picture,label", *lines]))
    assert len(files(open_table(table).train)) == 8
    table.write_text("\n".join(["link,label", *(f"https://example.org/{n}?key={n},{'ab'[n % 2]}" for n in range(10))]))
    assert "10 rows of" in refusal(table)


def test_a_mark_of_order_and_names_that_no_file_can_have(tmp_path: Path) -> None:
    text = json_lines({"label": "cat"}, {"label": "dog"})
    text += '\n{"path": "a\\u0000.png", "label": "cat"}\n{"path": "\\ud800.png", "label": "cat"}\n'
    text += '{"path": "000.png  ", "label": "cat"}\n'
    splits = open_table(make_table(tmp_path, b"\xef\xbb\xbf" + text.encode(), "labels.jsonl"))
    notes = " ".join(splits.notes)
    assert "2 of the table's files do not exist" in notes
    assert "1 row of the table lists a file that is listed before" in notes


def test_lists_for_predictions_take_the_same_cells(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2)
    uri = (tmp_path / "001.png").as_uri()
    table = tmp_path / "list.csv"
    table.write_text(f"path\n000.png\n{uri}\n")
    assert list(listed_files([table])) == [tmp_path / "000.png", tmp_path / "001.png"]
    table.write_text("path\n000.png\nhttps://example.org/a.png\n")
    with pytest.raises(UserError, match=r"line 3: https://example.org/a.png is a URL of another machine: download it"):
        listed_files([table])


def test_rows_of_one_file_are_found_however_it_is_written(tmp_path: Path) -> None:
    named = PathList.of_names(tmp_path, ["a", "b", str(tmp_path / "a"), "c", "b", "a"])
    assert sorted(listed_before(named)) == [(2, 0), (4, 1), (5, 0)]


def test_a_row_takes_little_more_memory_than_its_text(tmp_path: Path) -> None:
    """Under 150 bytes at the peak, where lists of text and of paths took 600."""
    count, file = 30_000, "images/photograph_{:06}.jpg"
    (tmp_path / "images").mkdir()
    for number in range(0, count, 1_000):
        (tmp_path / file.format(number)).touch()
    table_file = tmp_path / "table.csv"
    table_file.write_text("".join(["path,label\n", *(f"{file.format(n)},class_{n % 50}\n" for n in range(count))]))
    table = read_table(table_file, is_image_or_array_name)
    tracemalloc.start()
    try:
        samples = list_samples(table, LabelOptions(), "", is_image_or_array_name, True, "folders", "images")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(samples.files) == count // 1_000
    assert isinstance(samples.files, PathList)
    assert peak < 150 * count + 2_000_000
