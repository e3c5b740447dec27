"""Results as Markdown and JSON: a row for every cell, a verdict for every claim, and no number that is none."""

from __future__ import annotations

import json
from pathlib import Path

from hvit.experiments.results import Results
from hvit.experiments.table import as_json, markdown, tables
from tests.experiments.written import TOY, finished


def test_a_cell_without_runs_has_an_empty_row_and_its_claims_are_not_run_yet(tmp_path: Path) -> None:
    cells, claims = tables(Results(TOY, finished(tmp_path, flat=(0.5, 0.6))))
    assert cells.rows[0][:2] == ["1", "2"]
    assert cells.rows[0][2].startswith("55.0 ± 7.1")
    assert cells.rows[1][:3] == ["2", "0", ""]
    assert [row[-1] for row in claims.rows] == ["not run yet"] * 2
    assert "a loss of 1 point counts as none" in claims.rows[1][0]


def test_every_line_of_markdown_has_as_many_cells_as_its_table(tmp_path: Path) -> None:
    text = markdown(Results(TOY, finished(tmp_path, flat=(0.5, 0.6), deep=(0.7, 0.8))))
    assert "4 of 4 runs are finished" in text
    for block in text.split("\n\n"):
        rows = [line.count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_json_has_no_number_that_json_lacks(tmp_path: Path) -> None:
    whole = as_json(Results(TOY, finished(tmp_path, flat=(0.5,), deep=(0.7,))))
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    assert whole["spread"] is None
    assert whole["cells"][1]["values"]["top1"] == {"0": 0.7}
