"""What `hvit predict` and `hvit embed` do with --parquet: answers to any number of images, in a folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hvit.cli.printing import note, notes, print_json_lines, say, waited
from hvit.progress import FilesDone

if TYPE_CHECKING:
    from hvit.verbs.predictor import Predictor

_MOST_NAMED = 20


def answer_all(predictor: Predictor, inputs: Sequence[Path], out: Path, batch_size: int, as_json: bool) -> None:
    """Answers images to a folder, says what was done, and ends the program with status 2 if one could not be read.

    Of several processes that torchrun started, all end with status 0: it would end the others for another one.
    """
    from hvit.verbs.batch import BatchJob, rank_and_size

    rank, size = rank_and_size()
    job = BatchJob(predictor, inputs, out, batch_size=batch_size)
    left = sum(min(job.chunk, job.about["images"] - number * job.chunk) for number in job.pending(rank, size))
    refused = 0

    def refuse(sentence: str) -> None:
        nonlocal refused
        refused += 1
        if refused <= _MOST_NAMED:
            note(f"hvit: {sentence}")
        elif refused == _MOST_NAMED + 1:
            note(f"hvit: more images cannot be read; the column `error` of {out} names them")

    waited()
    with FilesDone(left, notes, ("answering", "answered", "images")) as view:
        job.run(rank, size, view.step, refuse)
    manifest = job.finish()
    if manifest is None:
        say(f"This process has done its part of {job.about['images']:,} images; others are still at work: {out}")
        return
    if as_json:
        print_json_lines([{name: value for name, value in manifest.items() if name != "files"} | {"folder": str(out)}])
    else:
        failed = f", {manifest['errors']:,} could not be read (column error)" if manifest["errors"] else ""
        say(f"{manifest['images']:,} images, {manifest['answered']:,} answered{failed}: {out}")
    sys.stdout.flush()
    if manifest["errors"] and size == 1:
        sys.exit(2)
