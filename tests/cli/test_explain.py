"""Explaining on the command line: pictures, paths and a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_of_unreadable_files_alone_no_older_page_is_refusals(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    Path("broken.jpg").write_bytes(b"")
    status, out, _ = hvit("explain", colour_run, photo_folder / "red" / "0.png")
    assert status == 0
    assert "The page: " in out
    status, out, err = hvit("explain", colour_run, "broken.jpg")
    assert status == 2
    assert "broken.jpg: the file is empty" in err
    assert "The page: " not in out
