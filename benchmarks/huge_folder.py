"""Seconds and memory to list, open, start and resume a folder of millions of images, with an index and without.

    python benchmarks/huge_folder.py DIR [--images 5000000] [--classes 1000] [--steps list open start resume]
        [--out FILE.json]

DIR gets so many tiny JPEG images in class folders, names of some hundred files (hard links), and an index next to them;
both are kept, so that a second call measures at once. Each number is of a process of its own: `open` until the splits
are there, `identity` of the data, `start` until the first batch of 2 data workers comes, `resume` until one in the
middle of the fourth epoch is. Memory is the resident size of the process before, after and at most, and what a worker
has for itself (private and dirty) after 50 batches. What FILE has is not measured again, so a stopped call goes
on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS = ("list", "open", "start", "resume")
LINKS = 20_000
"""Names that a file may have, on file systems that allow few."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=5_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--step", choices=STEPS, help="measure one, in this process")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="what is measured")
    parser.add_argument("--out", type=Path, help="a JSON file to write, or to go on with")
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(measure(arguments.folder, arguments.step)))
        return
    make(arguments.folder / "photos", arguments.images, arguments.classes)
    found: dict[str, Any] = {"images": arguments.images, "machine": platform.machine(), "cores": os.cpu_count()}
    if arguments.out and arguments.out.exists():
        found = json.loads(arguments.out.read_text())
    for step in arguments.steps:
        if step in found:
            continue
        command = [sys.executable, __file__, str(arguments.folder), "--step", step]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        found[step] = json.loads(ran.stdout.splitlines()[-1])
        print(step, found[step], flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def make(folder: Path, images: int, classes: int) -> None:
    """The images; nothing where they are there."""
    import numpy as np
    from PIL import Image

    done = folder.parent / "made"
    if done.exists() and done.read_text() == f"{images} {classes}":
        return
    sources = folder.parent / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(-(-images // LINKS)):
        Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(sources / f"{number}.jpg")
    for number in range(images):
        own = folder / f"class_{number % classes:04}"
        if number < classes:
            own.mkdir(parents=True, exist_ok=True)
        os.link(sources / f"{number // LINKS}.jpg", f"{own}/image_{number:08}.jpg")
    done.write_text(f"{images} {classes}")


def measure(folder: Path, step: str) -> dict[str, float]:
    from hvit.data.augment_settings import AugmentConfig
    from hvit.data.batches import train_batches
    from hvit.data.identity import identity_of
    from hvit.data.open import FolderData, open_data
    from hvit.data.preprocess import Preprocess

    index = folder / "photos.parquet"
    if step == "list":
        index.unlink(missing_ok=True)
    before, began, spent = resident(), time.perf_counter(), time.process_time()
    splits = open_data(FolderData(root=str(folder / "photos"), index=str(index), labels="folders"), 0)
    found = {
        "open_seconds": time.perf_counter() - began,
        "open_processor_seconds": time.process_time() - spent,
        "before_mb": before,
        "open_mb": resident(),
    }
    if step == "list":
        return found | {"index_mb": index.stat().st_size / 2**20, "most_mb": most()}
    began, spent = time.perf_counter(), time.process_time()
    identity_of(splits)
    found["identity_seconds"] = time.perf_counter() - began
    found["identity_processor_seconds"] = time.process_time() - spent
    if step == "open":
        return found | {"most_mb": most()}
    batch = 64
    first = 0 if step == "start" else int(3.5 * (len(splits.train) // batch))
    preprocess = Preprocess((32, 32), splits.mean, splits.std, 1.0)
    began = time.perf_counter()
    batches = iter(
        train_batches(
            splits.train, num_classes=len(splits.classes), preprocess=preprocess, augment=AugmentConfig(), seed=0,
            batch_size=batch, total_steps=first + 60, start_step=first, workers=2,
        )
    )  # fmt: skip
    next(batches)
    found |= {"first_batch_seconds": time.perf_counter() - began}
    for _ in range(50):
        next(batches)
    processes = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
    workers = [process for process in processes if parent(process) == os.getpid()]
    return found | {"worker_private_mb": max(private(worker) for worker in workers), "most_mb": most()}


def parent(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def private(process: str) -> float:
    """MB of a process that it shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def most() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
