"""Which weights are delivered is a function of the evaluations alone, wherever a run was stopped or killed before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hvit.errors import UserError
from hvit.tasks.task import Batch
from hvit.training.journal import read_journal
from hvit.training.keep import Keep, Kept
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from tests.training.line import make_batch, trainer

# So high a rate that the line comes and goes, and the best evaluation is not the last.
ROUGH = OptimizeConfig(learning_rate_per_256=8.0, warmup_epochs=1)


def loop(keep: Keep, patience: int = 0) -> LoopConfig:
    return LoopConfig(epochs=8, batch_size=8, max_steps=30, keep=keep, patience=patience)


def run(folder: Path, keep: Keep, patience: int = 0, **more: Any) -> Trainer:
    one = trainer(folder, loop(keep, patience), ROUGH, **more)
    one.run()
    return one


def evaluations(folder: Path) -> list[dict[str, Any]]:
    return [row for row in read_journal(folder / "journal.jsonl") if row["kind"] == "evaluate"]


def delivered(folder: Path) -> torch.Tensor:
    return torch.load(folder / "weights.pt", weights_only=True)


def state_at(tmp_path: Path, step: int) -> torch.Tensor:
    """The weights of the same run at a step, which a run cut short there delivers."""
    cut = trainer(tmp_path / f"cut_{step}", replace(loop("last"), max_steps=step), ROUGH)
    cut.run()
    return delivered(tmp_path / f"cut_{step}")


def test_the_best_weights_are_delivered_and_the_last_ones_by_default(tmp_path: Path) -> None:
    run(tmp_path / "best", "best")
    run(tmp_path / "last", "last")
    rows = evaluations(tmp_path / "best")
    best = max(rows, key=lambda row: row["closeness"])
    assert best["step"] not in (rows[0]["step"], rows[-1]["step"]), "a run that tests something"
    assert rows == [row | {"seconds": mine["seconds"]} for row, mine in
                    zip(evaluations(tmp_path / "last"), rows, strict=True)]  # fmt: skip
    assert torch.equal(delivered(tmp_path / "best"), state_at(tmp_path, best["step"]))
    assert torch.equal(delivered(tmp_path / "last"), state_at(tmp_path, 30))
    (delivery,) = [row for row in read_journal(tmp_path / "best" / "journal.jsonl") if row["kind"] == "deliver"]
    assert delivery == {
        "kind": "deliver", "step": 30, "best_step": best["step"], "keep": "best", "score": "closeness", "last_step": 30,
        "last_validation": rows[-1]["closeness"], "validation": best["closeness"],
    }  # fmt: skip


@pytest.mark.parametrize("keep", ["best", "average"])
def test_a_run_that_was_stopped_or_killed_anywhere_delivers_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Keep
) -> None:
    class Killed(BaseException):
        pass

    whole = run(tmp_path / "whole", keep)
    for number, dies_in in enumerate(("saved", "checkpointed", "delivered")):
        folder = tmp_path / str(number)
        broken = trainer(folder, loop(keep), ROUGH)

        def dies(*args: object, **more: object) -> None:
            raise Killed

        if dies_in == "saved":  # weights of an evaluation are written, its checkpoint is not
            broken.write = lambda kind, one=broken, **more: (
                dies() if kind == "evaluate" and one.state.step == 25 else None
            )
        elif dies_in == "checkpointed":
            usual = broken.state.save
            broken.state.save = lambda one=broken, usual=usual: dies() if one.state.step == 25 else usual()
        else:
            monkeypatch.setattr(
                broken.task, "save_weights", lambda *args, one=broken: dies() if one.state.step == 30 else None
            )
        with pytest.raises(Killed):
            broken.run()
        if dies_in != "delivered":
            with pytest.raises(UserError, match="continues exactly"):
                trainer(folder, loop(keep), ROUGH, stop_at=28).run()
        resumed = trainer(folder, loop(keep), ROUGH)
        assert resumed.run() == whole.scores
        assert torch.equal(delivered(folder), delivered(tmp_path / "whole"))
    again = trainer(tmp_path / "whole", loop(keep), ROUGH)
    (tmp_path / "whole" / "weights.pt").unlink()
    assert again.run() == whole.scores, "a finished run delivers what it did"
    assert torch.equal(delivered(tmp_path / "whole"), delivered(tmp_path / "0"))


def test_the_mean_is_that_of_the_evaluations_of_the_last_quarter(tmp_path: Path) -> None:
    run(tmp_path / "average", "average")
    parts = [state_at(tmp_path, step) for step in (25, 30)]
    assert torch.allclose(delivered(tmp_path / "average"), torch.stack(parts).mean(0), atol=1e-6)


def test_a_run_stops_after_so_many_evaluations_without_a_better_score(tmp_path: Path) -> None:
    run(tmp_path / "patient", "best", patience=2)
    rows = evaluations(tmp_path / "patient")
    scores = [row["closeness"] for row in rows]
    ends = next(
        number for number in range(2, len(scores)) if max(scores[: number - 1]) >= max(scores[number - 1 : number + 1])
    )
    assert len(rows) == ends + 1 < 6
    with pytest.raises(UserError, match="continues exactly"):
        trainer(tmp_path / "broken", loop("best", 2), ROUGH, stop_at=rows[-1]["step"] - 1).run()
    trainer(tmp_path / "broken", loop("best", 2), ROUGH).run()
    assert [row["step"] for row in evaluations(tmp_path / "broken")] == [row["step"] for row in rows]
    assert torch.equal(delivered(tmp_path / "broken"), delivered(tmp_path / "patient"))
    trainer(tmp_path / "broken", loop("best", 2), ROUGH).run()
    assert evaluations(tmp_path / "broken")[-1]["step"] == rows[-1]["step"], "a resumed one does not go on"


def test_a_test_set_scores_the_delivered_weights_and_chooses_nothing(tmp_path: Path) -> None:
    def with_test(name: str, keep: Keep) -> dict[str, Any]:
        one = trainer(tmp_path / name, loop(keep), ROUGH)

        def test() -> Iterable[Batch]:
            return [{name: value * 2 for name, value in make_batch(2000).items()}]

        one.batches = replace(one.batches, test=test)
        return one.run()

    plain = run(tmp_path / "plain", "best")
    scores = with_test("best", "best")
    assert torch.equal(delivered(tmp_path / "best"), delivered(tmp_path / "plain"))
    assert scores["evaluated_on"] == "test"
    assert scores["validation"]["closeness"] == plain.scores["closeness"] != scores["closeness"]
    assert scores["delivered"]["test"] == scores["closeness"] != scores["delivered"]["last_test"]
    last = with_test("last", "last")
    assert last["closeness"] == scores["delivered"]["last_test"]
    assert "delivered" not in last


def test_of_equal_scores_the_lower_loss_and_then_the_earlier_is_kept() -> None:
    network = {"model": nn.Linear(1, 1)}
    kept = Kept("best", lower_is_better=False, total_steps=10)
    assert [kept.take(step, score, loss, network) for step, (score, loss) in
            enumerate([(0.5, 1.0), (0.5, 2.0), (0.5, 0.9), (0.5, 0.9), (float("nan"), 0.1)], 1)] == [
        True, False, True, False, False]  # fmt: skip
    assert (kept.step, kept.stale) == (3, 2)
    errors = Kept("best", lower_is_better=True, total_steps=10)
    assert [errors.take(step, score, 1.0, network) for step, score in enumerate([3.0, 2.0, 2.5, 1.0])] == [
        True, True, False, True]  # fmt: skip


def test_what_was_kept_is_saved_with_the_checkpoint_and_checked(tmp_path: Path) -> None:
    kept = Kept("best", lower_is_better=False, total_steps=10)
    kept.take(3, 0.5, 1.0, {"model": nn.Linear(1, 1)})
    other = Kept("best", lower_is_better=False, total_steps=10)
    other.load_state_dict(kept.state_dict())
    assert other.state_dict() == kept.state_dict()
    for broken in ({}, kept.state_dict() | {"stale": "many"}):
        with pytest.raises((KeyError, TypeError)):
            other.load_state_dict(broken)
    assert json.dumps({name: value for name, value in kept.state_dict().items() if name != "weights"})


def test_a_full_disk_loses_neither_the_best_weights_nor_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", "best")
    broken = trainer(tmp_path / "broken", loop("best"), ROUGH)
    usual = broken.task.save_weights

    def full(folder: Path, networks: dict[str, nn.Module]) -> None:
        if broken.state.step == 20:
            raise UserError("no space left on the disk")
        usual(folder, networks)

    monkeypatch.setattr(broken.task, "save_weights", full)
    with pytest.raises(UserError, match="no space left"):
        broken.run()
    before = delivered(tmp_path / "broken")
    assert torch.equal(before, state_at(tmp_path, 5)), "those of the best evaluation before"
    resumed = trainer(tmp_path / "broken", loop("best"), ROUGH)
    assert resumed.run() == whole.scores
    assert torch.equal(delivered(tmp_path / "broken"), delivered(tmp_path / "whole"))
