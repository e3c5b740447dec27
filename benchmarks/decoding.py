"""Clips a second that the loader prepares for training, beside decoding every file in full, and the memory of both.

    python benchmarks/decoding.py CLIPS [--frames 16] [--stride 4] [--size 224] [--workers 2] [--steps 20]

CLIPS is a folder of clips in any layout. Both implementations see the same frames of the same clips, cut out and
mirrored alike, which is checked first; they differ in what they decode: the naive one every frame of a file, kept in
memory. Each runs in a process of its own, so that its memory is its own. Memory is the peak of the largest data worker,
with about the same libraries in both. Nothing else should run on the machine, and the files should
have been read before.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import torch

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.clips.sets import ClipSet
from hvit.data.clips.settings import ClipData
from hvit.data.clips.videos import ClipFacts
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess

IMPLEMENTATIONS = ("hvit", "whole file")


class WholeFiles(ClipSet):
    """Decodes all frames of a file before it takes the wanted ones."""

    def _frames(self, index: int, facts: ClipFacts, indices: np.ndarray) -> tuple[np.ndarray, int]:
        with av.open(str(self.source(index))) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            clip = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return clip[np.minimum(indices, len(clip) - 1)], int(self.labels[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", help="a folder of video files in any layout")
    parser.add_argument("--frames", type=int, default=16, help="frames the model sees")
    parser.add_argument("--stride", type=int, default=4, help="frames from one to the next, at 30 a second")
    parser.add_argument("--size", type=int, default=224, help="side of the model's input in pixels")
    parser.add_argument("--batch-size", type=int, default=8, help="clips in a batch")
    parser.add_argument("--workers", type=int, default=2, help="data workers")
    parser.add_argument("--steps", type=int, default=20, help="batches that are timed, after one that is not")
    parser.add_argument(
        "--implementation", choices=IMPLEMENTATIONS, help="runs one of them alone and prints its numbers as JSON"
    )
    arguments = parser.parse_args()
    if arguments.implementation:
        print(json.dumps(measure(arguments)))
        return
    title = f"{arguments.frames}x{arguments.stride} at {arguments.size}, batches of {arguments.batch_size}, "
    print(f"{title}{arguments.workers} workers, {platform.machine()}, PyAV {av.__version__}, torch {torch.__version__}")
    print(f"{'':12}{'clips/s':>10}{'peak MiB a worker':>20}")
    results = {name: run_alone(name) for name in IMPLEMENTATIONS}
    first, second = (results[name]["first_batch"] for name in IMPLEMENTATIONS)
    assert first == second, f"the implementations disagree: mean of the first batch {first} and {second}"
    for name, result in results.items():
        print(f"{name:12}{result['clips_per_second']:10.2f}{result['peak_mib']:20.0f}")


def run_alone(implementation: str) -> dict[str, float]:
    """The numbers of one implementation, from a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--implementation", implementation]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Clips a second and the peak memory of the largest worker."""
    root = str(Path(arguments.clips))
    data = ClipData(root=root, labels="auto", stride=arguments.stride, check="header", cache="none", short_side=0)
    splits = open_data(data, seed=0, num_frames=arguments.frames)
    assert isinstance(splits.train, ClipSet)
    if arguments.implementation == "whole file":
        splits.train.__class__ = WholeFiles
    size = (arguments.frames, arguments.size, arguments.size)
    batches = iter(
        train_batches(
            splits.train,
            num_classes=len(splits.classes),
            preprocess=Preprocess(size, splits.mean, splits.std, interpolation="bilinear"),
            augment=AugmentConfig(crop="resized", area=(0.08, 1.0), flip=0.5),
            seed=0,
            batch_size=arguments.batch_size,
            total_steps=arguments.steps + 1,
            workers=arguments.workers,
        )
    )
    first = next(batches)["images"].double().mean().item()
    start = time.perf_counter()
    clips = sum(len(batch["targets"]) for batch in batches)
    seconds = time.perf_counter() - start
    # The workers have ended, and their peak is their parent's to ask for.
    del batches
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if arguments.workers else resource.RUSAGE_SELF).ru_maxrss
    return {"clips_per_second": clips / seconds, "peak_mib": peak / 1024, "first_batch": first}


if __name__ == "__main__":
    main()
