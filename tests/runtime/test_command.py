"""`hvit predict` runs exported models where torch is not installed, and says what it says with the weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hvit.cli.main import main as whole
from hvit.errors import UserError
from hvit.runtime.command import main, takes
from tests.models.test_export import TALKATIVE

pytestmark = TALKATIVE
# What may be installed besides Python's own: the extra `runtime`, and what onnxruntime needs.
ALLOWED = ("hvit", "numpy", "PIL", "onnxruntime", "flatbuffers", "packaging", "google", "sympy", "mpmath")
FORBIDDING = """
import sys, importlib.abc
class Forbid(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        first = name.partition(".")[0]
        if first not in sys.stdlib_module_names and first not in {allowed!r}:
            raise ModuleNotFoundError(f"No module named {{first!r}}", name=first)
sys.meta_path.insert(0, Forbid())
sys.argv = ["hvit", *{arguments!r}]
from hvit.__main__ import main
main()
"""


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a process that can import nothing but the runtime's packages."""
    code = FORBIDDING.format(allowed=ALLOWED, arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)


def answers(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["model", "inside"])
def test_an_exported_model_predicts_without_torch_what_its_weights_predict(
    name: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = str(exported / "photos")
    done = without_torch("predict", str(exported / f"{name}.onnx"), photos, "--top-k", "2", "--json")
    assert done.returncode == 0, done.stderr
    whole(["predict", str(exported / "model.safetensors"), photos, "--top-k", "2", "--json"])
    for found, wanted in zip(answers(done.stdout), answers(capsys.readouterr().out), strict=True):
        for mine, theirs in zip(found["classes"], wanted["classes"], strict=True):  # type: ignore[call-overload]
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=5e-6)
            assert {**mine, "probability": 0} == {**theirs, "probability": 0}
        assert {**found, "classes": 0} == {**wanted, "classes": 0}


def test_the_whole_command_line_gives_the_same_lines(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(exported / "model.onnx"), str(exported / "photos")]
    main(words)
    alone = capsys.readouterr().out
    whole(words)
    assert capsys.readouterr().out == alone
    assert "\x1b" not in alone
    whole(["predict", str(exported / "model.safetensors"), str(exported / "photos")])
    assert capsys.readouterr().out == alone


@pytest.mark.parametrize("name", ["model", "inside"])
def test_tiles_and_tables_are_those_of_the_weights(
    name: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, more = str(exported / "photos"), ["--tiles", "20", "--overlap", "4", "--batch-size", "3", "--json"]
    alone = tmp_path / "alone.csv"
    done = without_torch("predict", str(exported / f"{name}.onnx"), photos, *more, "--csv", str(alone))
    assert done.returncode == 0, done.stderr
    mine = [without_numbers(one) for one in answers(done.stdout)]
    whole(["predict", str(exported / "model.safetensors"), photos, *more, "--csv", str(tmp_path / "whole.csv")])
    theirs = answers(capsys.readouterr().out)
    assert mine == [without_numbers(one) for one in theirs]
    for found, wanted in zip(answers(done.stdout), theirs, strict=True):
        for one, two in zip(found["tiles"], wanted["tiles"], strict=True):  # type: ignore[call-overload]
            probabilities = [[entry["probability"] for entry in side["classes"]] for side in (one, two)]
            assert probabilities[0] == pytest.approx(probabilities[1], abs=5e-6)
    first, second = (path.read_text().splitlines() for path in (alone, tmp_path / "whole.csv"))
    assert first[0] == second[0]
    assert len(first) == len(second) == 4


def without_numbers(value: object) -> object:
    """Nested values without their probabilities, which differ in the last digits."""
    if isinstance(value, dict):
        return {key: without_numbers(one) for key, one in value.items() if key != "probability"}
    return [without_numbers(one) for one in value] if isinstance(value, list) else value


def test_other_verbs_say_what_they_need_where_torch_is_missing() -> None:
    done = without_torch("train", "nest_micro_digits")
    assert done.returncode == 2
    assert done.stderr.startswith("hvit: this needs the whole of hvit, and ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--top_kk", "3"], "unrecognized arguments: --top_kk"),
        (["--topk", "3"], "did you mean '--top-k'?"),
        (["--top-k", "0"], "--top-k, --batch-size and --views must be 1 or more; got 0, 16 and 5"),
        (["--device", "cuda"], "exported models run on the CPU"),
        (["--fast"], "--fast is for weights, and this model is exported: omit it"),
        (["--overlap", "3"], "--overlap is of tiles: give --tiles SIZE, too"),
        (["--tiles", "4", "--overlap", "4"], "--tiles must be 1 or more, and --overlap from 0 to less than that"),
        (["nothing.jpg"], "there is no such file"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    words: list[str], sentence: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["predict", str(exported / "model.onnx"), str(exported / "photos"), *words])
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hvit: ")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_answered(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(exported / "model.onnx"), str(tmp_path), str(exported / "photos" / "deep.png")])
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert len(captured.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["predict", "a.onnx", "b.jpg"], True),
        (["predict", "--top-k", "3", "--json", "a.XML", "b.jpg"], True),
        (["predict", "runs/a", "b.onnx"], False),
        (["evaluate", "a.onnx"], False),
        (["predict"], False),
    ],
)
def test_the_first_file_decides_who_answers(words: list[str], taken: bool) -> None:
    assert takes(words) is taken


def test_evaluate_says_what_an_exported_file_is_for(exported: Path) -> None:
    from hvit.models.weights.open import open_any

    with pytest.raises(UserError, match="is an exported model: `hvit predict"):
        open_any(exported / "model.onnx")
