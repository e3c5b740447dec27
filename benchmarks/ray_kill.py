"""Is each image answered exactly once, by workers of Ray that are killed in the middle and started again?

    python benchmarks/ray_kill.py --images 10000 --workers 2 --folder DIR [--cifar CIFAR_DIR] [--out FILE.json]

Writes so many images of CIFAR-10 as PNG files, one in a thousand of them broken, and answers them with a NesT of random
weights on a local cluster of Ray. The program and all processes of the cluster are killed when a third of the files is
written, and started again. Then the rows are counted: each image must have one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hvit.data.open import CifarData, open_data

EVERY_BROKEN = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cifar", default="")
    parser.add_argument("--out", help="a JSON file to write")
    parser.add_argument("--work", action="store_true", help="answer, in this process")
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(answer(arguments)))
        return
    make(arguments)
    found = killed_and_started_again(arguments)
    print(json.dumps(found, indent=1))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(found, indent=1) + "\n")


def make(arguments: argparse.Namespace) -> None:
    """The images and the weights."""
    import torch

    import hvit

    photos = arguments.folder / "photos"
    if not photos.exists():
        images = open_data(CifarData(root=arguments.cifar), 0).train
        photos.mkdir(parents=True)
        for number in range(arguments.images):
            image: Any = images.read(number, 0)[0]
            image.save(photos / f"{number:05}.png")
            if number % EVERY_BROKEN == EVERY_BROKEN - 1:
                (photos / f"{number:05}.png").write_bytes(b"broken")
    torch.manual_seed(0)
    hvit.save_weights(hvit.create_model("nest_micro_32", num_classes=10), arguments.folder / "weights.safetensors")


def answer(arguments: argparse.Namespace) -> dict[str, Any]:
    import ray

    from hvit.verbs.batch import BatchJob, run_on_ray
    from hvit.verbs.predictor import Predictor

    ray.init(num_cpus=arguments.workers, include_dashboard=False)
    predictor = Predictor(arguments.folder / "weights.safetensors", device="cpu", threads=1)
    job = BatchJob(predictor, [arguments.folder / "photos"], arguments.folder / "answers", arguments.chunk, 64)
    left = len(job.pending())
    began = time.perf_counter()
    manifest = run_on_ray(job, arguments.workers)
    seconds = time.perf_counter() - began
    return {"chunks": len(job), "left": left, "seconds": seconds, "errors": manifest["errors"]}


def killed_and_started_again(arguments: argparse.Namespace) -> dict[str, Any]:
    import pyarrow.parquet

    answers = arguments.folder / "answers"
    chunks = -(-arguments.images // arguments.chunk)
    command = [sys.executable, __file__, *sys.argv[1:], "--work"]
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
    while len(list(answers.glob("part-*.parquet"))) < chunks // 3 and first.poll() is None:
        time.sleep(0.1)
    kill_session(first.pid)
    first.wait()
    written = {path.name: path.stat().st_mtime_ns for path in answers.glob("part-*.parquet")}
    second = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    kept = sum((answers / name).stat().st_mtime_ns == stamp for name, stamp in written.items())
    rows = pyarrow.parquet.read_table(answers, columns=["file", "error"])
    counts = Counter(rows.column("file").to_pylist())
    return {
        "images": arguments.images,
        "files_before_the_kill": len(written),
        "of_these_written_again": len(written) - kept,
        "rows": len(rows),
        "images_with_one_row": sum(count == 1 for count in counts.values()),
        "errors": len(rows) - rows.column("error").null_count,
        "second_call": json.loads(second.stdout.splitlines()[-1]),
    }


def kill_session(leader: int) -> None:
    """Kills all processes that a program has started, and itself."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if os.getsid(int(path.name)) == leader:
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:
                continue


if __name__ == "__main__":
    main()
