"""The report of a run: one self-contained HTML page made from nothing but the run folder."""

from __future__ import annotations

import os
from pathlib import Path

from hvit.errors import UserError
from hvit.report.page import render_page
from hvit.report.reading import read_run

__all__ = ["PAGE", "write_report"]

PAGE = "report.html"


def write_report(run_folder: Path | str) -> Path:
    """Writes `report.html` of a run folder and returns its path; an older report is replaced in one go.

    Raises UserError when the folder is no run, or one of its files is damaged or cannot be read or written.
    """
    folder = Path(run_folder)
    page = render_page(read_run(folder))
    path, unfinished = folder / PAGE, folder / f".{PAGE}.{os.getpid()}"
    try:
        # A file name may hold bytes that are no text; they become question marks.
        unfinished.write_bytes(page.encode("utf-8", "replace"))
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}; make room or change its permissions") from error
    return path
