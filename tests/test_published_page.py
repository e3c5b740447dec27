"""The page of the papers' tables: our counts are the catalogue's, printed numbers stand in the sources, names exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from hvit import recipes
from hvit.experiments import EXPERIMENTS
from hvit.models import catalogue, counts
from hvit.models.gan.config import GanConfig
from hvit.models.masked.config import MaskedConfig
from tests import published_page
from tests.published_page import AGAIN, DIFFERENCE, MODEL, PAGE, computed

TEXT = PAGE.read_text(encoding="utf-8")
ROWS = list(published_page.rows(TEXT))
OURS = [row for row in ROWS if row.model is None or row.model in counts.stored()]
RIVALS = [row for row in ROWS if row not in OURS]
EXPERIMENT = re.compile(r"\[(\w+)\]\(experiments\.md#([\w-]+)\)")
STALE = "`python -m tests.published_page --write` writes the counts anew"


def sources(kind: str) -> list[Path]:
    """The documents whose tables the page shows, or skips where the optional folder is not here."""
    found = sorted(published_page.SOURCES.glob(kind))
    if not found:
        pytest.skip("the optional folder ../shared is not here")
    return found


def test_the_counts_of_the_page_are_those_of_the_catalogue() -> None:
    assert len(OURS) > 100
    assert not [row.cells for row in OURS if row.cells | computed(row) != row.cells], STALE


@pytest.mark.slow
def test_the_counts_of_rivals_are_those_of_timm() -> None:
    assert len(RIVALS) > 5
    assert not [row.cells for row in RIVALS if row.cells | computed(row) != row.cells], STALE


def test_a_stale_count_would_be_noticed() -> None:
    line = next(line for line in TEXT.splitlines() if "`nest_base_224`" in line and "67,723,368" in line)
    stale = line.replace("67,723,368", "67,723,369")
    assert stale != line
    header = next(table for table in re.findall(r"^\|.*our model.*\n\|[-| :]+\n", TEXT, re.MULTILINE))
    assert published_page.renewed(f"{header}{stale}\n").splitlines()[-1] == line


def test_a_difference_is_shown_where_a_count_does_not_round_to_the_printed_one() -> None:
    printed = {"FLOPs (G) x views": "70.5 x 1 x 5", "parameters (M)": "36.6"}
    row = published_page.Row("", 0, {"method": "", **printed, MODEL: "`mvit_base_16x224`", DIFFERENCE: ""})
    assert computed(row)[DIFFERENCE] == "multiply-adds +0.1 %"
    row.cells["FLOPs (G) x views"] = "70.6 x 1 x 5"
    assert computed(row)[DIFFERENCE] == "none"
    row.cells |= {"FLOPs (G) x views": "-", "parameters (M)": "-"}
    assert computed(row)[DIFFERENCE] == "-"


def test_the_recipes_of_a_row_train_its_model() -> None:
    named = {(row.model, name) for row in ROWS for name in row.recipes}
    assert len(named) > 30
    for model, name in named:
        network = recipes.get_recipe(name).model
        if isinstance(network, GanConfig):
            network = network.generator
        trained = {catalogue.name_of(network)}
        if isinstance(network, MaskedConfig):
            trained.add(catalogue.name_of(network.encoder))
        assert model is None or model in trained, name


def test_what_is_measured_again_is_an_experiment() -> None:
    for text in {row.cells[AGAIN] for row in ROWS} - {"no"}:
        for part in text.split(", "):
            found = EXPERIMENT.fullmatch(part)
            assert found, part
            assert found[1] in EXPERIMENTS, part
            title = EXPERIMENTS[found[1]]("small").header.title
            assert found[2] == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_every_printed_number_stands_in_a_line_of_a_source() -> None:
    files = [*sources("seeds/*.txt"), *sources("reference/nest.md"), *sources("reference/hiera_mvit.md")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    found = [Counter(published_page.numbers(line)) for line in lines]
    missing = [row.cells for row in ROWS if not any(Counter(row.printed) <= line for line in found)]
    assert not missing


def test_every_number_of_the_documents_tables_is_on_the_page() -> None:
    lines = [
        line.rpartition("\t")[0] and line.split("\t", 1)[1]
        for file in sources("seeds/*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    wanted = {number for line in lines for number in published_page.numbers(line) if "." in number}
    assert len(wanted) > 100
    assert wanted <= {number for row in ROWS for number in row.printed}
