"""Images a second that data workers prepare for training, from every form in which the same images can be stored.

    python benchmarks/loaders.py folder=DIR shards=DIR streamed=DIR --workers 1 2 --images 512 --rounds 5
    python benchmarks/loaders.py folder=DIR shards=DIR --workers 1 --memory 50
    python benchmarks/loaders.py --pictures-of CIFAR_DIR --pictures 5000 --to DIR

Each argument is a kind of `KINDS` and its place. All are read in turn, every round anew, through `train_batches` with a
random crop and a flip; medians of the rounds are printed. The first round, in which workers start and files come from
the disk, is not counted. With --memory EPOCHS the memory of the process and its data workers (unique and shared pages
of each) is printed after every epoch instead. --pictures-of writes images of CIFAR-10 as PNG files in class folders.
With --out every round adds a line of JSON to a file, and the same call goes on after the rounds that are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
from compare import rounds_of
from PIL import Image

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.images.folders import FolderData
from hvit.data.loader import Batch
from hvit.data.open import CifarData, open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import Splits

KINDS: dict[str, Callable[[str], Splits]] = {
    "folder": lambda place: open_data(FolderData(root=place, check="header"), 0),
    "cache": lambda place: open_data(
        FolderData(root=place, check="header", cache=f"{place.rstrip('/')}_decoded", cache_side=256), 0
    ),
    "table": lambda place: open_data(FolderData(table=place, check="header"), 0),
    "shards": lambda place: open_data(FolderData(shards=place, check="header"), 0),
    "streamed": lambda place: open_data(FolderData(shards=place, check="none"), 0),
    "cifar": lambda place: open_data(CifarData(root=place), 0),
}
"""How each kind is opened at its place; one line makes another form of storage comparable."""
AUGMENT = AugmentConfig(crop="resized", flip=0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="KIND=PLACE", help=f"what is read: {', '.join(KINDS)}")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="data workers")
    parser.add_argument("--images", type=int, default=512, help="images a round")
    parser.add_argument("--batch", type=int, default=32, help="images a batch")
    parser.add_argument("--size", type=int, default=64, help="height and width that the model sees")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--memory", type=int, default=0, metavar="EPOCHS", help="print the memory of so many epochs")
    parser.add_argument("--out", type=Path, help="a file of JSON lines to which each round is added")
    parser.add_argument("--pictures-of", metavar="CIFAR_DIR", help="write images of CIFAR-10 as PNG files")
    parser.add_argument("--pictures", type=int, default=5000, help="how many images are written")
    parser.add_argument("--to", default="pictures", help="folder of the written images")
    arguments = parser.parse_args()
    if arguments.pictures_of:
        write_pictures(arguments.pictures_of, arguments.pictures, Path(arguments.to))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {arguments.images} images a round")
    torch.set_num_threads(1)
    opened = {one: _opened(one) for one in arguments.sets}
    (memory if arguments.memory else throughput)(opened, arguments)


def _opened(one: str) -> Splits:
    kind, _, place = one.partition("=")
    if kind not in KINDS:
        raise SystemExit(f"{one}: the kind must be one of {', '.join(KINDS)}, as in folder=DIR")
    start = time.perf_counter()
    splits = KINDS[kind](place)
    print(f"{one}: {len(splits.train):,} training images, opened in {time.perf_counter() - start:.2f} s")
    return splits


def batches(splits: Splits, arguments: argparse.Namespace, workers: int, steps: int, start: int = 0) -> Iterator[Batch]:
    """The batches number `start` and following of a run."""
    preprocess = Preprocess((arguments.size, arguments.size), splits.mean, splits.std)
    return iter(
        train_batches(
            splits.train, num_classes=len(splits.classes), preprocess=preprocess, augment=AUGMENT, seed=0,
            batch_size=arguments.batch, total_steps=start + steps, start_step=start, workers=workers,
        )
    )  # fmt: skip


def throughput(opened: dict[str, Splits], arguments: argparse.Namespace) -> None:
    """Prints images a second of every set and number of workers."""
    steps = max(1, arguments.images // arguments.batch)
    turns = {
        f"{one}, {count} workers": (splits, count) for one, splits in opened.items() for count in arguments.workers
    }

    def seconds(turn: tuple[Splits, int]) -> float:
        made = batches(turn[0], arguments, turn[1], steps + 1)
        next(made)  # starting the workers does not count
        start = time.perf_counter()
        assert sum(1 for _ in made) == steps
        return time.perf_counter() - start

    lines = arguments.out.read_text().splitlines() if arguments.out and arguments.out.exists() else []
    counted = [json.loads(line) for line in lines]
    missing = arguments.rounds - len(counted)
    rounds = rounds_of(turns, missing + 1 if missing > 0 else 0, seconds)
    next(rounds, None)  # in which files come from the disk
    for one in rounds:
        counted.append(one)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(one) + "\n")
    for name in turns:
        rates = [steps * arguments.batch / one[name] for one in counted]
        print(f"{name:60} {statistics.median(rates):8,.0f} images/s  ({min(rates):,.0f} to {max(rates):,.0f})")


def memory(opened: dict[str, Splits], arguments: argparse.Namespace) -> None:
    """Prints the MB of every set after each epoch: of this process or a worker, whichever has more for itself."""
    import psutil

    for one, splits in opened.items():
        epoch = max(1, len(splits.train) // arguments.batch)
        made = batches(splits, arguments, arguments.workers[0], epoch * arguments.memory)
        row: list[float] = []
        for number in range(arguments.memory):
            for _ in islice(made, epoch - (number == arguments.memory - 1)):
                pass
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            row.append(max(process.memory_full_info().uss for process in processes) / 2**20)
        shown = ", ".join(f"{row[place]:.0f}" for place in sorted({0, 1, len(row) // 2, len(row) - 1}) if place >= 0)
        print(f"{one}: MB of the largest process after the first, second, middle and last epoch: {shown}")
        del made


def write_pictures(root: str, count: int, folder: Path) -> None:
    """Writes the first training images of CIFAR-10 as PNG files, a folder a class."""
    splits = open_data(CifarData(root=root), 0)
    for number in range(min(count, len(splits.train))):
        image, label = splits.train.read(number, 0)
        assert isinstance(image, Image.Image)
        file = folder / splits.classes[int(label)] / f"{number:05}.png"  # pyright: ignore[reportArgumentType]
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)


if __name__ == "__main__":
    main()
