"""Files are written whole or not at all, whatever fails while they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.export import formats
from hvit.export.formats import FORMATS, format_of, written
from hvit.export.graph import Graph
from tests.export.small import small_graph


@pytest.fixture
def graph() -> Graph:
    return small_graph()


def test_every_format_has_a_suffix_of_its_own() -> None:
    assert len({one.suffix for one in FORMATS.values()}) == len(FORMATS)
    for name in ("onnx", "torch"):
        assert format_of(name, Path("model" + FORMATS[name].suffix.upper()), "float32") is FORMATS[name]


def test_an_exporter_that_fails_is_one_sentence(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("\nUnsupported: aten::magic\nmore")

    monkeypatch.setitem(formats.FORMATS, "torch", replace(FORMATS["torch"], write=fails))
    with (
        pytest.raises(UserError, match=r"cannot be exported as torch: Unsupported: aten::magic$"),
        written("torch", graph, tmp_path / "model.pt2"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_raises_leaves_the_older_file(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"older")
    with pytest.raises(KeyError), written("torch", graph, tmp_path / "model.pt2"):
        raise KeyError
    assert (tmp_path / "model.pt2").read_bytes() == b"older"
