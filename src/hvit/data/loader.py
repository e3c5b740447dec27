"""Makes batches in worker processes; a lost or hanging worker becomes one sentence."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NotRequired, TypedDict, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hvit.errors import UserError
from hvit.interrupts import held_back, leave_to_the_main_process

LONGEST_WAIT = 600
"""Seconds without a batch after which data workers are taken to hang."""
_SECONDS_BETWEEN_QUESTIONS = 2


class Batch(TypedDict):
    """Some images, or clips, and what they show.

    images: (batch, channels, height, width) or (batch, channels, frames, height, width) float32, normalised; uint8 as
    they were, and neither varied nor mixed, where that is done on the device. targets:
    (batch, num_classes) float32 shares of every class in training, (batch,) int64 class numbers in testing. clips: in
    testing on clips, which clip of the set each row is a view of, (batch,) int64. weights: in training, where not all
    samples weigh the same in the loss, (batch,) float32. Of several classes a sample, and of numbers, targets are
    (batch, outputs) float32 in training and in testing.
    """

    images: Tensor
    targets: Tensor
    clips: NotRequired[Tensor]
    weights: NotRequired[Tensor]


class _Handover(Dataset[Batch | UserError]):
    """The batches of a source; a UserError is handed over as a value: from a worker it would come as a long text."""

    def __init__(self, source: Dataset[Batch]) -> None:
        self.source = source

    def __getitem__(self, index: int) -> Batch | UserError:
        try:
            return self.source[index]
        except UserError as error:
            return error


class _Loader(DataLoader[Batch | UserError]):
    """torch's loader without its advice on the number of workers and on forking, which are the user's choice.

    It asks every two seconds whether all workers live, where torch would raise for a dead one in the middle of
    whatever the main process does just then. stops: whether the batches are still wanted; asked as often.
    """

    stops: Callable[[], bool]

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with warnings.catch_warnings(), held_back(), _own_child_handler():
            warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
            warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
            made = super().__iter__()
        return _batches_or_error(made, self.stops, has_workers=self.num_workers > 0)


@contextmanager
def _own_child_handler() -> Iterator[None]:
    """What is called when a child process ends is the same after the block as before it."""
    number = getattr(signal, "SIGCHLD", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if signal.getsignal(number) is not before:
            signal.signal(number, before or signal.SIG_DFL)


def _batches_or_error(
    made: Iterator[Batch | UserError], stops: Callable[[], bool], has_workers: bool
) -> Iterator[Batch]:
    while True:
        deadline = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                batch = next(made, None)
                break
            except RuntimeError as error:
                if not str(error).startswith("DataLoader"):
                    raise
                if "timed out" not in str(error):
                    raise _lost_workers(error) from error
                if stops():
                    raise UserError("stopped while it waited for data") from error
                if time.monotonic() > deadline:
                    raise _lost_workers(f"timed out after {LONGEST_WAIT} seconds") from error
            except (OSError, EOFError) as error:
                if not has_workers:
                    raise
                # What a worker has made is fetched from it, which fails if it has just died.
                raise _lost_workers(error) from error
        if batch is None:
            return
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _lost_workers(reason: object) -> UserError:
    return UserError(
        "the data workers hang, or one was killed, for want of memory or by a file that breaks the decoder: try "
        f"fewer --loop.workers, or 0 to see more ({' '.join(str(reason).split())})"
    )


def _prepare_worker(worker: int) -> None:
    """Keeps a worker alive through a Ctrl-C, which a terminal sends to all processes, so that the run can be saved."""
    leave_to_the_main_process()


def load_in_order(
    source: Dataset[Batch], numbers: range, workers: int, pin_memory: bool, stops: Callable[[], bool]
) -> DataLoader[Batch]:
    if workers < 0:
        raise UserError(f"workers must be 0 or more, not {workers}.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        # A source makes whole batches. The generator keeps the loader from drawing from torch's own.
        loader = _Loader(
            _Handover(source),
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            timeout=_SECONDS_BETWEEN_QUESTIONS if workers else 0,
            pin_memory=pin_memory,
            worker_init_fn=_prepare_worker,
            generator=torch.Generator(),
        )
        loader.stops = stops
        return cast(DataLoader[Batch], loader)  # iterating raises errors instead of giving them
