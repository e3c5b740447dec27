"""What `hvit models` prints was counted on the very models of the catalogue, and printing it takes no time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hvit.models import catalogue, counts
from hvit.models.build import count

HOW = "`python benchmarks/seed_tables.py --write-counts` stores them anew"
# Besides all our own small models: the smallest published one of every kind.
SAMPLE = (
    "nest_tiny_224",
    "nest_tiny_32",
    "nest_tiny_32_block8",
    "mvit_base_224",
    "mvit_base_16x224",
    "mvitv2_tiny_224",
    "mvitv2_small_16x224",
    "mvitv2_base_cls_224",
    "mvitv2_base_224_step_a",
    "mvitv2_base_224_step_f",
    "mvitv2_base_16x224_step_b",
    "hiera_tiny_224",
    "hiera_base_16x224",
    "hiera_small_abswin_256",
    "hiera_tiny_sam2_224",
    "mae_hiera_tiny_224",
    "resnet50_224",
    "nest_generator_64",
    "transgan_like_64",
    "conv_generator_64",
)


def test_the_stored_counts_are_those_of_the_models_of_the_catalogue_in_its_order() -> None:
    assert list(counts.stored()) == catalogue.list_models(), HOW


def test_the_stored_rows_tell_input_and_published_score_as_the_catalogue_does() -> None:
    for name, row in counts.stored().items():
        entry = catalogue.entry(name)
        assert row["input"] == "x".join(map(str, (entry.config.in_channels, *entry.config.input_size))), HOW
        assert row["published"] == (entry.published.score if entry.published else None), HOW
        assert row["source"] == (entry.published.source if entry.published else "ours"), HOW


@pytest.mark.parametrize("name", SAMPLE)
def test_counting_a_published_model_again_gives_what_is_stored(name: str) -> None:
    assert count(name) == counts.stored()[name], HOW


@pytest.mark.parametrize("name", catalogue.list_models("*_micro_*"))
def test_counting_a_small_model_again_gives_what_is_stored(name: str) -> None:
    assert count(name) == counts.stored()[name], HOW


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in catalogue.list_models() if name not in SAMPLE])
def test_counting_any_model_again_gives_what_is_stored(name: str) -> None:
    assert count(name) == counts.stored()[name], HOW


def test_listing_models_does_not_wait_for_torch() -> None:
    code = "import sys; from hvit import cli; cli.main(['models', '--json']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(catalogue.list_models())
