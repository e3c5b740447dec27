"""A run folder that is damaged in any way gives one sentence or goes on; nothing hangs, and nothing is a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.errors import UserError
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.report import write_report
from hvit.report.reading import read_run
from hvit.runs import prepare, scoring
from hvit.tasks.classify import Classify
from hvit.training.loop import Trainer
from hvit.training.schedule import LoopConfig
from hvit.verbs import evaluate, train
from hvit.verbs.classifier import open_classifier

TINY = NestConfig(
    input_size=(8, 8), in_channels=1, num_classes=10, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1)
)  # fmt: skip
RECIPE = Recipe(
    name="tiny",
    summary="A test",
    model=TINY,
    data=DigitsData(canvas=8),
    loop=LoopConfig(epochs=1, batch_size=128, max_steps=2, checkpoint_steps=1, workers=0, device="cpu"),
)

Harm = Callable[[Path], object]


def swapped(value: object) -> Harm:
    """Puts a value of another type in the place of every second value of an object, or of every line's."""

    def harm(path: Path) -> None:
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        rows = [json.loads(line) for line in lines]
        for row in rows:
            for name in list(row)[::2]:
                row[name] = value
        path.write_text("\n".join(map(json.dumps, rows)))

    return harm


def deep(path: Path) -> None:
    path.write_text('{"data": ' * 60_000 + "1" + "}" * 60_000)


def one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def instead(make: Callable[[Path], object]) -> Harm:
    """Something else in the place of the file."""

    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


ANY_FILE: dict[str, Harm] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "all but the end": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one byte": one_byte,
    "folder": instead(Path.mkdir),
    "pipe": instead(os.mkfifo),
    "link to nothing": instead(lambda path: path.symlink_to(path.with_name("nowhere"))),
    "link to itself": instead(lambda path: path.symlink_to(path)),
    "device": instead(lambda path: path.symlink_to("/dev/zero")),
}
JSON_FILE: dict[str, Harm] = {
    "list": lambda path: path.write_text("[1, 2]\n"),
    "text": lambda path: path.write_text('"text"\n'),
    "deep": deep,
    "no text": lambda path: path.write_bytes(b'{"name": "\xff\xfe"}\n'),
    "long number": lambda path: path.write_text('{"step": ' + "9" * 5000 + "}\n"),
    "numbers": swapped(7),
    "texts": swapped("x"),
    "lists": swapped([[]]),
    "nothing": swapped(None),
    "no number": swapped(float("nan")),
    "objects": swapped({"a": {}}),
}
READERS = {
    "recipe.json": ("resume", "evaluate", "report"),
    "plan.json": ("resume",),
    "environment.json": ("report",),
    "journal.jsonl": ("resume", "report"),
    "scores.json": ("report",),
    "weights.safetensors": ("evaluate", "predict"),
    "checkpoints/step_000000002.checkpoint": ("resume",),
}
CASES = [
    (file, name, harm) for file in READERS for name, harm in (ANY_FILE | (JSON_FILE if ".json" in file else {})).items()
]
assert len(CASES) >= 110


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train.train(RECIPE, folder)
    return folder


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[Path], Any]]:
    """The verbs that read a run, without what takes long and reads nothing."""
    splits = open_data(RECIPE.data, RECIPE.seed, 1)
    for module in (prepare, scoring):
        monkeypatch.setattr(module, "open_data", lambda *_, **__: splits)

    def restored(trainer: Trainer, **_: Any) -> dict[str, Any]:
        damaged = trainer.state.restore()
        return {"step": trainer.state.step, "passed_over": damaged}

    monkeypatch.setattr(Trainer, "run", restored)
    monkeypatch.setattr(train, "_finish", lambda *_: None)
    scores = {"labels": [0], "predictions": [0], "loss": 0.0, "top1": 1.0}
    monkeypatch.setattr(Classify, "evaluate", lambda *_: dict(scores))
    monkeypatch.setattr("hvit.report.render_page", lambda of_run: of_run.folder)
    return {
        "resume": train.resume,
        "evaluate": evaluate.evaluate,
        "predict": open_classifier,
        "report": write_report,
    }


@pytest.mark.parametrize(("file", "name", "harm"), CASES, ids=[f"{file}: {name}" for file, name, _ in CASES])
def test_a_damaged_file_gives_one_sentence_or_is_passed_over(
    tmp_path: Path, finished: Path, verbs: dict[str, Callable[[Path], Any]], file: str, name: str, harm: Harm
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    harm(folder / file)
    for verb in READERS[file]:
        found: Any = None
        sentence = ""
        try:
            found = verbs[verb](folder)
        except UserError as error:
            sentence = str(error)
        assert "\n" not in sentence
        assert len(sentence) < 2500
        if file.startswith("checkpoints"):
            assert not sentence
            assert found["step"] == 1, "the older checkpoint is used"
            assert found["passed_over"] == ([] if name == "missing" else [Path(file).name])


def test_what_is_whole_is_read_by_all(finished: Path, verbs: dict[str, Callable[[Path], Any]]) -> None:
    for verb in verbs.values():
        verb(finished)
    assert train.resume(finished)["step"] == 2


def test_damaged_lines_of_a_journal_are_no_lines(tmp_path: Path, finished: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    whole = read_run(folder).rows
    with (folder / "journal.jsonl").open("ab") as file:
        for line in (
            b"[" * 50_000, b"\xff\xfe", b'{"kind": 1, "step": 2}', b'{"kind": "train", "step": -1}',
            b'{"kind": "train", "step": NaN}', b'{"kind": "train", "step": 1e400}', b'{"kind": "train", "step": true}',
            b'{"kind": "train", "step": 3, "loss": "low"}', b'{"kind": "evaluate", "step": 3, "top1": [1]}', b'{"ki',
        ):  # fmt: skip
            file.write(line + b"\n")
    assert read_run(folder).rows == whole


def test_with_a_damaged_plan_a_run_goes_on_if_that_is_asked_for(
    tmp_path: Path, finished: Path, verbs: dict[str, Callable[[Path], Any]]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "plan.json").unlink()
    with pytest.raises(UserError, match=r"plan\.json cannot be read, .* --accept-changed-data"):
        train.resume(folder)
    assert train.resume(folder, accept_changed_data=True)["step"] == 2
    assert train.resume(folder)["step"] == 2, "the plan was written anew"
