"""Seconds and memory until two processes have the same list of millions of images, which one of them has opened.

    python benchmarks/shared_index.py [5000000]

The list is as an index of images gives it: paths of 30 bytes, and a class each. It is sent in one piece, pickled, as
torch sends objects, and as `Processes.share` sends it: arrays as they lie in memory. Both times two processes meet by
gloo. Prints for each the seconds, the processor's seconds, and the MB before, after and at most.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def main(images: int) -> None:
    for way in ("pickled", "shared"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        both = [get_context("spawn").Process(target=measure, args=(rank, port, way, images)) for rank in (0, 1)]
        for one in both:
            one.start()
        for one in both:
            one.join()


def measure(rank: int, port: str, way: str, images: int) -> None:
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    import numpy as np
    import torch

    from hvit.data.images.paths import PathList
    from hvit.training.distribute import processes

    torch.set_num_threads(1)
    with processes("cpu") as ranks:
        held: dict[str, Any] = {}
        if ranks.is_first:
            lengths, starts = np.full(images, 30, np.uint32), np.arange(images, dtype=np.int64) * 30
            text = np.zeros(30 * images, np.uint8)
            held = {"files": PathList(Path("/data"), text, starts, lengths), "labels": np.zeros(images, np.int64) + 1}
        before, began, spent = resident(), time.monotonic(), time.process_time()
        if way == "pickled":
            pieces = [held]
            torch.distributed.broadcast_object_list(pieces)
            held = pieces[0]
        else:
            held = ranks.share(held)
        took, worked, most = (
            time.monotonic() - began,
            time.process_time() - spent,
            resource.getrusage(0).ru_maxrss / 1024,
        )
        print(
            f"{way}, process {rank}, {len(held['files']):,} images: {took:.2f} s, {worked:.2f} s of the processor, MB "
            f"{before:.0f} before, {resident():.0f} after, {most:.0f} at most",
            flush=True,
        )


def resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
