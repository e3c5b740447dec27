"""`hvit convert` prints what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit.cli.main import main
from tests.models.weights.small import SMALL
from tests.verbs.test_convert import saved


def test_the_result_is_a_line_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(saved(SMALL, tmp_path)), str(tmp_path / "timm.safetensors"), "--to", "timm"]
    main(words)
    assert "run in timm: outputs within" in capsys.readouterr().out
    main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["to"] == "timm"
