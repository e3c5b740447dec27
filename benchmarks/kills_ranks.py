"""Kills random processes of runs that torchrun restarts, and compares what the runs leave with undisturbed ones.

    python benchmarks/kills_ranks.py 50 [--minutes M] [--out FILE.jsonl] [--seed S]

Small runs of two processes, one after the other, with copied and with sharded weights in turn. Each is started once, by
`torchrun --max-restarts`, and is not touched again: while it trains, one of its processes at a time, chosen at random,
is killed (SIGKILL) at a random moment, up to five times; every second kill waits until the training goes on again, the
others may hit a start, an evaluation or a checkpoint. Prints a line a run and at the end the counts as JSON; the exit
status is 1 if a run did not end, or left other weights or scores than the undisturbed run of its kind.

After so many minutes no further run begins. With --out every run adds a line to a file, and the same command goes on
after the runs that are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from hvit.training.journal import parse_row

RUN = [
    *("--data.canvas", "8", "--model.input-size", "8", "8", "--model.patch-size", "1", "1"),
    *("--model.dims", "8", "16", "--model.heads", "2", "2", "--model.depths", "1", "1", "--model.drop-path", "0.1"),
    *("--loop.batch-size", "128", "--loop.epochs", "12", "--loop.checkpoint-steps", "7", "--loop.evaluate-every", "4"),
    *("--loop.workers", "0", "--loop.device", "cpu", "--optimize.average-decay", "0.9"),
]
_MOST_KILLS_A_RUN = 5
_PATIENCE = 900.0


def begin(folder: Path, parallel: str) -> subprocess.Popen[bytes]:
    """Starts a run of two processes under torchrun; what it says goes into a file next to its folder."""
    launcher = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "100",
        "-m", "hvit", "train", "nest_micro_digits", *RUN, "--loop.parallel", parallel, "--out", str(folder),
    ]  # fmt: skip
    with folder.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            launcher, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )


def ranks_of(launcher: int) -> list[int]:
    """The processes of a run at this moment: children of its launcher that were given a rank."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == launcher and b"\0RANK=" in b"\0" + (status.parent / "environ").read_bytes():
                found.append(int(status.parent.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def beginnings(folder: Path) -> int:
    """How often the run has begun or gone on."""
    try:
        rows = map(parse_row, (folder / "journal.jsonl").read_bytes().splitlines())
    except OSError:
        return 0
    return sum(row is not None and row["kind"] in ("start", "resume") for row in rows)


def disturb(run: subprocess.Popen[bytes], folder: Path, kills: int, chance: random.Random, seconds: float) -> int:
    """Kills processes of a run until it ends, or as often as asked; returns how often.

    seconds: how long the training of an undisturbed run takes.
    """
    done, begun, deadline = 0, 0, time.monotonic() + _PATIENCE
    while done < kills and run.poll() is None and time.monotonic() < deadline:
        if done % 2 == 0:
            while run.poll() is None and beginnings(folder) <= begun and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(chance.uniform(0.0, 0.5 * seconds))
        else:
            time.sleep(chance.uniform(0.0, 3 * seconds))
        begun = beginnings(folder)
        ranks = ranks_of(run.pid)
        if len(ranks) == 2 and run.poll() is None:
            os.kill(chance.choice(ranks), signal.SIGKILL)
            done += 1
            while set(ranks) & set(ranks_of(run.pid)):
                time.sleep(0.05)
    return done


def end(run: subprocess.Popen[bytes], folder: Path) -> int:
    """The exit status of a run; ends it if it has said nothing for too long."""
    while True:
        try:
            return run.wait(10)
        except subprocess.TimeoutExpired:
            if time.time() - folder.with_suffix(".log").stat().st_mtime > _PATIENCE:
                os.killpg(run.pid, signal.SIGKILL)
                return run.wait()


def trained_seconds(folder: Path) -> float:
    """Seconds that a finished run trained."""
    rows = map(parse_row, (folder / "journal.jsonl").read_bytes().splitlines())
    return max(float(row["seconds"]) for row in rows if row is not None and row["kind"] == "finish")


def differences(one: Path, other: Path) -> list[str]:
    """Which of the weights and the scores of two finished runs are not the same, bit for bit."""
    weights, others = (load_file(folder / "weights.safetensors") for folder in (one, other))
    same = weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
    scores = [json.loads((folder / "scores.json").read_text()) for folder in (one, other)]
    return [*([] if same else ["weights"]), *([] if scores[0] == scores[1] else ["scores"])]


def main(kills: int, seed: int, minutes: float, out: Path | None) -> int:
    """Kills so many times; returns how many runs did not end, or differed."""
    start = time.monotonic()
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out and out.exists() else []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        whole = {parallel: place / f"{parallel}_whole" for parallel in ("ddp", "fsdp")}
        for parallel, folder in whole.items():
            if end(begin(folder, parallel), folder):
                raise SystemExit(f"the undisturbed run did not end:\n{folder.with_suffix('.log').read_text()[-3000:]}")
        while (left := kills - sum(row["kills"] for row in rows)) > 0 and time.monotonic() - start < 60 * minutes:
            parallel = ("ddp", "fsdp")[len(rows) % 2]
            folder, chance, began = place / f"{parallel}_{len(rows)}", random.Random(seed + len(rows)), time.monotonic()
            run = begin(folder, parallel)
            here = disturb(run, folder, min(_MOST_KILLS_A_RUN, left), chance, trained_seconds(whole[parallel]))
            status = end(run, folder)
            found = [f"exit status {status}"] if status else differences(whole[parallel], folder)
            print(f"{parallel}, {here} kills: {', '.join(found) or 'the same'}", flush=True)
            if status:
                print(folder.with_suffix(".log").read_text()[-3000:], file=sys.stderr, flush=True)
            rows.append({
                "parallel": parallel, "kills": here, "beginnings": beginnings(folder), "failed": bool(status),
                "different": found if not status else [], "seconds": round(time.monotonic() - began),
            })  # fmt: skip
            if out:
                with out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            if not here and len(rows) > kills + 10:
                raise SystemExit("runs end before they can be killed")
    failed, different = (sum(bool(row[key]) for row in rows) for key in ("failed", "different"))
    kills, seconds = (sum(row[key] for row in rows) for key in ("kills", "seconds"))
    print(json.dumps({"kills": kills, "runs": len(rows), "failed": failed, "different": different, "seconds": seconds}))
    return failed + different


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=50, help="how many processes are killed in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no further run begins")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and processes that are chosen")
    parser.add_argument("--out", type=Path, help="a file of JSON lines to which each run is added")
    options = parser.parse_args()
    sys.exit(1 if main(options.kills, options.seed, options.minutes, options.out) else 0)
