"""`--fast` gives the same answers, and says what it chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hvit
from hvit.cli.main import main
from hvit.models.weights.save import save_weights

pytestmark = pytest.mark.usefixtures("only_what_torch_has")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[list[dict], str]:
    main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_predict_fast_gives_the_same_probabilities(
    weights: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
):
    usual, _ = printed(capsys, "predict", weights, photo_folder, "--json")
    fast, reported = printed(capsys, "predict", weights, photo_folder, "--json", "--fast")
    assert len(usual) == 12
    for one, other in zip(usual, fast, strict=True):
        assert one["file"] == other["file"]
        assert [entry["class"] for entry in one["classes"]] == [entry["class"] for entry in other["classes"]]
        for entry, again in zip(one["classes"], other["classes"], strict=True):
            assert abs(entry["probability"] - again["probability"]) < 1e-5
    assert reported.startswith("fast  ")
    assert "images a second" in reported


def test_evaluate_fast_gives_the_same_scores(weights: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]):
    (usual,), _ = printed(capsys, "evaluate", weights, "--root", photo_folder, "--json")
    (fast,), reported = printed(capsys, "evaluate", weights, "--root", photo_folder, "--json", "--fast")
    assert "fast" not in usual
    assert fast["fast"] in reported
    assert fast["predictions"] == usual["predictions"]
    assert abs(fast["loss"] - usual["loss"]) < 1e-5


@pytest.mark.long
def test_explain_fast_chooses_the_same_classes_and_keeps_its_gradients(
    weights: Path,
    photo_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.chdir(tmp_path)
    picture = photo_folder / "red" / "0.png"
    (usual,), _ = printed(capsys, "explain", weights, picture, "--methods", "gradcat", "--json")
    (fast,), _ = printed(capsys, "explain", weights, picture, "--methods", "gradcat", "--json", "--fast")
    assert [tree["path"] for tree in fast["trees"]] == [tree["path"] for tree in usual["trees"]]
    assert fast["trees"][0]["values"] == usual["trees"][0]["values"]


def test_evaluate_fast_refuses_what_is_no_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "encoder.safetensors"
    save_weights(hvit.create_model("mae_hiera_micro_32"), file)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(file), "--data", "digits", "--fast"])
    assert stop.value.code == 2
    assert "--fast is for classifiers" in capsys.readouterr().err
