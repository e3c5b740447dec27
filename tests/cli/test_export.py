"""`hvit export` prints what it compared, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit.cli.main import main
from tests.models.test_export import TALKATIVE
from tests.verbs.test_export import classifier, photos

pytestmark = TALKATIVE
__all__ = ["classifier", "photos"]


def test_the_comparison_is_a_table_or_json(
    classifier: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "model.onnx"
    words = ["export", str(classifier), "--format", "onnx", "--out", str(out), "--images", str(photos)]
    main(words)
    printed = capsys.readouterr().out
    assert "same first step of block Shapley, 6 inputs" in printed
    assert f"{out}: images [3, 16, 16] in, logits out" in printed
    main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["same_answers"] == 1.0


def test_what_cannot_be_used_is_one_sentence(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(classifier), "--format", "onx", "--out", "model.onnx"])
    assert "onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(classifier), "--format", "onnx", "--out", "model.bin"])
    assert "end in .onnx" in capsys.readouterr().err
