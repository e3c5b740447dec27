"""The report of a run: one self-contained HTML page made from nothing but the run folder."""

from __future__ import annotations

from pathlib import Path

from hvit.files import write_text
from hvit.report.page import render_page
from hvit.report.reading import read_run
from hvit.run_names import REPORT

__all__ = ["write_report"]


def write_report(run_folder: Path | str) -> Path:
    """Writes `report.html` of a run folder and returns its path; an older report is replaced in one go.

    Raises UserError when the folder is no run, or one of its files is damaged or cannot be read or written.
    """
    folder = Path(run_folder)
    path = folder / REPORT
    write_text(path, render_page(read_run(folder)))
    return path
