"""One process or many: the same code, started by `python -m hvit` or by `torchrun -m hvit`."""

from __future__ import annotations

import os
import pickle
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from hvit.errors import Unfinished, UserError
from hvit.machine import missing_compiler
from hvit.training.heartbeat import Heartbeat, end_process

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

T = TypeVar("T")
_LONGEST_PAUSE = 0.2
_WAITS = count()
"""Numbers the waits for the first process, which all processes come to in the same order."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and which of them this one is."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over all processes."""
        return DistributedDataParallel(network) if self.world_size > 1 else network

    def without_averaging(self, network: nn.Module) -> AbstractContextManager[object]:
        """Inside this block gradients only add up in this process: for all but the last part of a step."""
        inner = getattr(network, "_orig_mod", network)
        return inner.no_sync() if isinstance(inner, DistributedDataParallel) else nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, in every one of them."""
        if self.world_size == 1:
            return value
        value = value.detach().clone()
        torch.distributed.all_reduce(value)
        return value / self.world_size

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Does the work in every process, and fails in all if it fails in one.

        Returns what it gave in each, in the order of their ranks, in the first process; nothing in the others.
        """
        if self.world_size == 1:
            return [work()]
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # sent to the other processes, then raised again below
            failure = error
        messages: list[str | None] = [None] * self.world_size
        torch.distributed.all_gather_object(messages, None if failure is None else str(failure))
        if failure is not None:
            raise failure
        if failed := [message for message in messages if message is not None]:
            raise UserError(failed[0])
        results: list[Any] = [None] * self.world_size if self.is_first else []
        torch.distributed.gather_object(result, results if self.is_first else None)
        return results

    def share(self, values: T) -> T:
        """What the first process holds, in every process; large arrays go as they lie in memory."""
        if self.world_size == 1:
            return values
        arrays: list[pickle.PickleBuffer] = []
        header = pickle.dumps(values, protocol=5, buffer_callback=arrays.append) if self.is_first else b""
        sizes = [len(header), *(one.raw().nbytes for one in arrays)]
        number = torch.tensor([len(sizes)])
        torch.distributed.broadcast(number, 0)
        lengths = torch.tensor(sizes) if self.is_first else torch.zeros(int(number), dtype=torch.long)
        torch.distributed.broadcast(lengths, 0)
        parts = [header, *arrays] if self.is_first else [bytearray(length) for length in lengths.tolist()]
        for part, length in zip(parts, lengths.tolist(), strict=True):
            if length:
                torch.distributed.broadcast(_bytes_of(part), 0)
        return values if self.is_first else pickle.loads(parts[0], buffers=parts[1:])

    def of_first(self, work: Callable[[], T]) -> T:
        """What the work gives in the first process, in every process; it is done as by `first_only`."""
        results: list[T] = []
        self.first_only(lambda: results.append(work()))
        return self.share(results)[0]

    def first_only(self, work: Callable[[], object]) -> None:
        """Does the work in the first process while the others wait, and fails in all if it fails there."""
        failure: Exception | None = None
        if self.is_first:
            try:
                work()
            except Exception as error:  # sent to the other processes, then raised again below
                failure = error
        if self.world_size > 1:
            self._wait_for_first()
            message: list[str | None] = [None if failure is None else str(failure)]
            torch.distributed.broadcast_object_list(message, device=self.device)
            if failure is None and message[0] is not None:
                raise UserError(message[0])
        if failure is not None:
            raise failure

    def _wait_for_first(self) -> None:
        """Waits until the first process is here, too, for as long as it takes, where messages would give up.

        Whether it is still alive, the heartbeat says.
        """
        store, done = _get_default_store(), f"first/{next(_WAITS)}"
        if self.is_first:
            store.set(done, "")
            return
        pause = 0.001
        while not store.check([done]):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _bytes_of(part: bytes | bytearray | pickle.PickleBuffer) -> Tensor:
    """The same memory as a tensor (bytes,); of the first process, which only sends it, it may be read-only."""
    view = part.raw() if isinstance(part, pickle.PickleBuffer) else memoryview(part)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given (buffer|NumPy array) is not writable")
        return torch.frombuffer(view, dtype=torch.uint8)


def alone(device: str) -> Processes:
    """One process that works without others."""
    return Processes(0, 1, torch.device(device))


_PATIENCE_AT_THE_START = timedelta(minutes=5)
_PATIENCE = timedelta(hours=2)  # between processes that compute the same; for the first alone others wait as it takes
_WITHOUT_ANOTHER = "{}, and none goes on without it: `hvit resume RUN` continues from the last checkpoint"
NO_COMPILING = "omit --loop.compile, which changes the speed only"


def is_shard(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether this process has a part of a tensor. Where nothing has imported DTensor yet, there are none."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def check_compiler(device: torch.device) -> None:
    """Raises UserError if torch.compile lacks the C++ compiler that it uses for a CPU."""
    missing = missing_compiler() if device.type == "cpu" else None
    if missing:
        raise UserError(
            f"loop.compile needs a C++ compiler, and there is no {missing} here: install one (the environment variable "
            f"CXX may name it), or {NO_COMPILING}"
        )


def is_compile_failure(error: Exception) -> bool:
    """Whether it is torch.compile that failed, and not what was compiled."""
    return any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__)


def choose_device(wanted: str, local_rank: int = 0) -> torch.device:
    """The device to run on. wanted: "auto" (CUDA, then Apple's MPS, then the CPU) or a device's name.

    Raises UserError for a device that is not here.
    """
    if wanted in ("auto", "cuda") and 0 < torch.cuda.device_count() <= local_rank:
        raise UserError(f"there are {torch.cuda.device_count()} GPUs here, but at least {local_rank + 1} processes")
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if wanted == "cuda":
        if not torch.cuda.is_available():
            raise UserError("device cuda was asked for, but torch sees no CUDA device here; use cpu or auto")
        return torch.device("cuda", local_rank)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps was asked for, but torch sees no Apple GPU here; use cpu or auto")
    return torch.device(wanted)


@contextmanager
def processes(wanted_device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun started (one where it did not), and leaves them at the end."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(wanted_device, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world_size == 1:
        yield Processes(0, 1, device)
        return
    # Shards may wait on the host, and checkpoints are written from there.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with lost_as_sentence():
        found, rank, world_size = next(rendezvous("env://", timeout=_PATIENCE_AT_THE_START))
        store = meet(found, rank, world_size)
    # From here on, so that one that is lost while they connect is noticed, too.
    heartbeat = Heartbeat(store.clone(), rank, world_size, _end_without_another)
    heartbeat.start()
    try:
        with lost_as_sentence():
            # Processes wait while another one computes its part of an evaluation, which may take longer than the usual
            # ten minutes. One that is lost is noticed by its heartbeat.
            torch.distributed.init_process_group(
                backend, store=store, rank=rank, world_size=world_size, timeout=_PATIENCE
            )
            yield Processes(rank, world_size, device)
            # All leave together: a process whose partner is gone in the middle of a message may abort.
            torch.distributed.barrier()
    finally:
        heartbeat.stop()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def meet(store: Store, rank: int, world_size: int) -> Store:
    """A part of the store that only the processes of this start use.

    torchrun keeps its store from one restart to the next, with addresses and signs of life of processes that are gone.
    So each process shows a number that nobody had before, and the first one answers it with the name of the part.
    Raises RuntimeError where a process does not come.
    """
    mine = secrets.token_hex(8)
    if rank:
        store.set(f"hello/{rank}", mine)
        part = store.get(f"welcome/{mine}").decode()
        store.set(f"{part}/here/{rank}", "1")
        return PrefixStore(part, store)
    answered: dict[int, bytes] = {}
    missing, deadline = set(range(1, world_size)), time.monotonic() + _PATIENCE_AT_THE_START.total_seconds()
    while missing:
        for other in sorted(missing):
            if store.check([f"{mine}/here/{other}"]):
                missing.discard(other)
            elif store.check([f"hello/{other}"]):
                said = store.get(f"hello/{other}")  # of an earlier start, perhaps, until the process has come
                if said != answered.get(other):
                    store.set(f"welcome/{said.decode()}", mine)
                    answered[other] = said
        if time.monotonic() > deadline:
            raise RuntimeError(f"gloo: process {min(missing)} has not come")
        time.sleep(0.02)
    return PrefixStore(mine, store)


@contextmanager
def lost_as_sentence() -> Iterator[None]:
    """Inside this block an error of the connection between processes becomes one sentence (Unfinished)."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not (isinstance(error, torch.distributed.DistError) or "gloo" in text.lower()):
            raise
        reason = text.strip().splitlines()[0][:200]
        raise Unfinished(f"{_WITHOUT_ANOTHER.format('another process of this run is lost')} ({reason})") from error


def _end_without_another(sentence: str) -> None:
    end_process(_WITHOUT_ANOTHER.format(sentence))
