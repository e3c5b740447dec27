"""A job that is started again goes on with its run, on as many processes as are left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvit.errors import UserError
from hvit.runs.elastic import divided_again, was_restarted
from hvit.training.distribute import Processes
from hvit.training.journal import read_journal
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule
from hvit.verbs import train
from tests.processes import Command, places
from tests.verbs.tiny import ON_THE_COMMAND_LINE, RECIPE


def plan(loop: LoopConfig, world_size: int) -> dict[str, object]:
    ranks = Processes(0, world_size, torch.device("cpu"))
    return {"schedule": asdict(Schedule.of(loop, OptimizeConfig(), 10, ranks))}


def test_fewer_processes_take_the_same_batch_in_more_parts() -> None:
    loop = LoopConfig(batch_size=64, accumulate=2)
    began = plan(loop, 4)
    assert divided_again(loop, began, 4) == (loop, "")
    two, said = divided_again(loop, began, 2)
    assert two.accumulate == 4
    assert said == (
        "begun by 4 processes and now continued by 2 processes: a step has the same 64 samples in the same order, "
        "4 x 8 in each process"
    )
    one, said = divided_again(loop, began, 1)
    assert one.accumulate == 8
    assert "by 1 process:" in said
    more, said = divided_again(loop, began, 16)
    assert more == loop, "parts get smaller where there are more processes than whole parts"
    assert "2 x 2 in each process" in said


@pytest.mark.parametrize("began", [{}, {"schedule": 3}, {"schedule": {"images_per_device": 0}}])
def test_a_plan_of_another_version_changes_nothing(began: dict[str, object]) -> None:
    loop = LoopConfig(batch_size=64)
    assert divided_again(loop, began, 2) == (loop, "")


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_launchers_say_whether_they_start_a_command_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not was_restarted()
    monkeypatch.setenv(name, "0")
    assert not was_restarted()
    monkeypatch.setenv(name, "2")
    assert was_restarted()


@pytest.mark.usefixtures("no_pictures")
def test_train_goes_on_when_it_is_started_again_and_refuses_another_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = replace(RECIPE, loop=replace(RECIPE.loop, max_steps=2)), tmp_path / "run"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train.train(recipe, folder)  # killed before it had begun
    kinds = [row["kind"] for row in read_journal(folder / "journal.jsonl")]
    assert "start" in kinds
    scores = train.train(recipe, folder)
    assert [row["kind"] for row in read_journal(folder / "journal.jsonl")].count("resume") == 1
    assert scores["count"]
    with pytest.raises(UserError, match=r"is of another recipe: seed was 42 and is 7"):
        train.train(replace(recipe, seed=7), folder)
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    with pytest.raises(UserError, match="already holds a run"):
        train.train(recipe, folder)
    train.train(recipe, folder, resumes=True)


def test_resuming_needs_a_folder_to_resume(hvit: Callable[..., tuple[int, str, str]]) -> None:
    status, _, errors = hvit("train", "nest_micro_digits", "--resume")
    assert status == 2
    assert "name the run folder with --out, which --resume continues" in errors


@pytest.mark.long
def test_a_run_of_two_processes_goes_on_with_one_and_shards(
    tmp_path: Path, start: Callable[..., Command], train_in_two_processes: Callable[..., str]
) -> None:
    fields = [*ON_THE_COMMAND_LINE, "--loop.max-steps", "4", "--loop.checkpoint-steps", "1"]
    train_in_two_processes(tmp_path / "whole", "nest_micro_digits", *fields)
    both = [
        start("train", "nest_micro_digits", *fields, "--out", tmp_path / "run", "--loop.parallel", "fsdp", **place)
        for place in places(2)
    ]
    assert [one.wait() for one in both] == [0, 0], both[0].errors.read_text()[-2000:]
    for name in ("step_000000004.sharded", "step_000000004.checkpoint"):
        for path in (tmp_path / "run" / "checkpoints").glob(name):
            path.rename(tmp_path / name)  # as if it had been killed before
    again = start("train", "nest_micro_digits", *fields, "--out", tmp_path / "run", "--resume")
    assert again.wait() == 0, again.errors.read_text()[-2000:]
    resumed = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if row["kind"] == "resume"][-1]
    assert resumed["step"] == 3
    assert "begun by 2 processes and now continued by 1 process" in resumed["divided"]
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "run"))
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=0, atol=2e-5, msg=name)


@pytest.mark.slow
def test_torchrun_restarts_after_a_lost_rank_and_ends_as_if_undisturbed(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "kills_ranks.py"
    done = subprocess.run(
        [sys.executable, str(script), "2"], capture_output=True, text=True, timeout=1800,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    last = json.loads(done.stdout.strip().splitlines()[-1])
    assert (last["kills"], last["different"]) == (2, 0)
