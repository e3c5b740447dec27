"""What a run has trained is saved and restored whole, and never saved when it has gone bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvit.errors import UserError
from hvit.training.checkpoint import newest_checkpoint
from hvit.training.journal import read_journal
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from tests.training.line import trainer, weights


def test_a_checkpoint_of_another_recipe_or_other_data_is_refused_unless_that_is_accepted(tmp_path: Path) -> None:
    def of(recipe: str, data: str, accepts: bool = False) -> Trainer:
        one = trainer(tmp_path)
        prints = {"recipe": recipe, "data": data}
        return Trainer(one.task, one.batches, replace(one.settings, belongs_to=prints, accepts_changes=accepts))

    of("a", "b").run()
    with pytest.raises(UserError, match=r"written with another data than plan\.json has.*--accept-changed-data"):
        of("a", "c").run()
    of("a", "c", accepts=True).run(accepted=["images: one is new"])
    last = [row for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "resume"][-1]
    assert last["accepted"] == ["images: one is new"]


def test_a_damaged_checkpoint_is_named_in_the_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path).run()
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(b"damaged")
    trainer(tmp_path).run()
    assert f"{newest} is damaged; an older checkpoint is used" in capsys.readouterr().err
    resumed = [row for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "resume"]
    assert resumed[0]["damaged"] == [newest.name]
    assert newest_checkpoint(tmp_path)[1] == [], "the damaged one is gone"


def test_a_loss_that_is_no_number_stops_the_run_and_no_later_checkpoint_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training loss became nan.*learning-rate"):
        trainer(tmp_path, poison_at=7).run()
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] <= 7
    assert not damaged
    assert all(tensor.isfinite().all() for tensor in state["networks"]["model"].values())


def test_weights_gone_bad_are_never_saved_even_when_the_loss_was_finite(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    usual = one.optimizer_step

    def spoil(name: str) -> None:
        usual(name)
        if one.state.step == 6:
            with torch.no_grad():
                one.state.networks["model"][0].weight[0, 0] = float("inf")

    one.optimizer_step = spoil
    with pytest.raises(UserError, match=r"(largest weight|training loss) became (inf|nan)"):
        one.run()
    state, _ = newest_checkpoint(tmp_path)
    assert state is not None
    assert all(tensor.isfinite().all() for tensor in state["networks"]["model"].values())


def test_the_running_average_of_a_short_run_has_forgotten_the_first_weights(tmp_path: Path) -> None:
    config = OptimizeConfig(learning_rate_per_256=3.0, warmup_epochs=0, weight_decay=0.0, average_decay=0.9999)
    one = trainer(tmp_path, LoopConfig(epochs=20, batch_size=8), config)
    first = weights(one).clone()
    one.run()
    average = torch.cat([value.flatten() for value in one.state.averages["model"].module.parameters()])
    assert (average - weights(one)).norm() < 0.5 * (first - weights(one)).norm()


def test_channels_last_is_refused_without_convolutions_of_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="convolutions of images, and this has none"):
        trainer(tmp_path, LoopConfig(batch_size=8, channels_last=True))
