"""Workers make the same batches, end with the run, and are missed when they are killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from hvit.data import batches, loader
from hvit.data.augment_settings import nest_cifar_augment
from hvit.data.loader import Batch
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from tests.data.numbered import PLAIN, Asked, Numbered, Spoiled, are_equal, seen_in_testing, train

PROGRAM = """
import os
import signal

import numpy as np
from PIL import Image

from hvit.data.preprocess import Preprocess
from hvit.data.batches import evaluation_batches
from hvit.data.sets import ImageSet


class Many(ImageSet):
    labels = np.zeros(1_000_000, dtype=np.int64)

    def read(self, index, draw):
        return Image.new("L", (8, 8)), os.getpid()


if __name__ == "__main__":
    preprocess = Preprocess((8, 8), (0.0,), (1.0,))
    batches = iter(evaluation_batches(Many(), preprocess=preprocess, batch_size=2, workers=2))
    print(os.getpid(), *{next(batches)["targets"][0].item() for _ in range(4)}, flush=True)
    if ENDLESS:
        signal.pause()
"""


def test_a_worker_that_starts_from_nothing_makes_the_same_batches(digits: ImageSet) -> None:
    """Where processes are not forked, all that makes a batch is sent to them as a pickle."""
    loader = train(digits, replace(nest_cifar_augment(), color_jitter=0.3, crop="resized"))
    assert isinstance(loader, DataLoader)
    sent = pickle.loads(pickle.dumps(loader.dataset))
    assert are_equal([loader.dataset[3]], [sent[3]])


def test_more_workers_than_processors_are_no_reason_to_warn() -> None:
    assert len(list(train(Numbered(24), workers=3))) == 6
    assert len(seen_in_testing(Numbered(24), batch_size=5, workers=3)) == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_user_should_know_arrives_as_its_one_sentence(workers: int) -> None:
    def complaint(made: Iterable[Batch]) -> tuple[int, str]:
        count = 0
        # Not by pytest.raises: what it keeps of the error keeps the workers alive.
        try:
            for _ in made:
                count += 1
        except UserError as error:
            return count, str(error)
        return count, ""

    sentence = "cannot read 7.png:\nthe file is empty."
    assert complaint(train(Spoiled(12), workers=workers)) == (0, sentence)
    testing = batches.evaluation_batches(Spoiled(12), preprocess=PLAIN, batch_size=4, workers=workers)
    assert complaint(testing) == (1, sentence)


@pytest.mark.long
def test_workers_live_on_when_all_processes_are_interrupted() -> None:
    seen = iter(batches.evaluation_batches(Asked(40, os.getpid), preprocess=PLAIN, batch_size=4, workers=1))
    worker = int(next(seen)["targets"][0])
    assert worker != os.getpid()
    os.kill(worker, signal.SIGINT)
    assert [batch["targets"].tolist() for batch in seen] == [[worker] * 4] * 9


def test_a_worker_computes_with_one_thread() -> None:
    (batch,) = seen_in_testing(Asked(2, torch.get_num_threads), batch_size=2, workers=1)
    assert batch["targets"].tolist() == [1, 1]


@pytest.mark.parametrize("end", ["killed", "finished"])
@pytest.mark.long
def test_no_worker_outlives_a_program_that_is_killed_or_finishes_in_the_middle(tmp_path: Path, end: str) -> None:
    """The workers inherit the program's output, which therefore ends when all of them have ended."""
    (tmp_path / "program.py").write_text(PROGRAM.replace("ENDLESS", str(end == "killed")))
    command = [sys.executable, "-W", "error", str(tmp_path / "program.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        processes = [int(number) for number in program.stdout.readline().split()]
        try:
            assert len(set(processes)) == 3
            if end == "killed":
                program.kill()
            _, errors = program.communicate(timeout=600)
        except BaseException:
            for process in processes:
                os.kill(process, signal.SIGKILL)
            raise
    assert (program.returncode, errors) == (-signal.SIGKILL if end == "killed" else 0, "")


@pytest.mark.parametrize("phase", ["training", "testing"])
def test_a_worker_that_is_killed_ends_the_run_with_a_sentence(phase: str) -> None:
    def kill_this_process() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    images = Asked(24, kill_this_process)
    if phase == "training":
        made = train(images, workers=1)
    else:
        made = batches.evaluation_batches(images, preprocess=PLAIN, batch_size=4, workers=1)
    assert "the data workers hang, or one was killed" in complaint_about(made)


@pytest.mark.long
def test_a_worker_that_hangs_does_not_hang_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "LONGEST_WAIT", 1)
    images = Asked(4, threading.Event().wait)
    made = batches.evaluation_batches(images, preprocess=PLAIN, batch_size=4, workers=1)
    assert "timed out after 1 seconds" in complaint_about(made)


def complaint_about(made: Iterable[Batch]) -> str:
    # Not by pytest.raises: what it keeps of the error keeps the workers alive.
    try:
        for _ in made:
            pass
    except UserError as error:
        return str(error)
    return ""
