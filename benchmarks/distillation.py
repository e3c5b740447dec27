"""How much distillation gives a micro student with few labels: the tables of docs/results/transfer.md.

    python benchmarks/distillation.py --data ../shared/data --fashion DIR --out DIR      trains what is not there yet
    python benchmarks/distillation.py --out DIR --table                                  prints the table of the runs
    python benchmarks/distillation.py --out DIR --write docs/results/transfer.md         puts it into the page

Of every set: a linear head on the teacher's features (at 128 pixels) from so many labels per class; a student from
random initialisation on these labels alone; and the same student distilled from that head on all images of the pool, of
which only the same ones have a label. All students take about 600 steps of 64 images. May be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import CifarData, FashionData, FolderData
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.tasks.distill_settings import DistillConfig
from hvit.verbs.probe import probe_recipe
from hvit.verbs.train import resume, train

STEPS, BATCH, WARMUP, SIDE = 600, 64, 30, 128
POOL = {"photos": 100, "cifar10": 500, "fashion": 500}
"""Training images per class that the student may see; photos have no more."""
HELD_OUT = 200
RECIPES = {
    ("photos", "nest"): "nest_micro_folder",
    ("photos", "hiera"): "hiera_micro_folder",
    ("cifar10", "nest"): "nest_micro_cifar10",
    ("fashion", "nest"): "nest_micro_fashion",
}
WAYS = ("probe", "scratch", "distilled")


@dataclass(frozen=True)
class Job:
    """One run."""

    data: str
    family: str
    labels: int
    seed: int
    way: str

    @property
    def name(self) -> str:
        """Its folder."""
        family = "" if self.way == "probe" else f"_{self.family}"
        return f"{self.data}_{self.labels}_{self.seed}_{self.way}{family}"


def jobs() -> Iterator[Job]:
    """All runs, the most telling ones first."""
    for seed in (42, 43):
        yield from (Job("photos", "nest", 20, seed, way) for way in WAYS)
    yield from (Job("photos", "hiera", 20, 42, way) for way in WAYS[1:])
    for labels in (20, 100, 500):
        for seed in (42, 43):
            for data in ("cifar10", "fashion"):
                yield from (Job(data, "nest", labels, seed, way) for way in WAYS)
    yield from (Job("photos", "hiera", 20, 43, way) for way in WAYS[1:])


def data_of(job: Job, photos: str, cifar: str, fashion: str) -> FolderData | CifarData | FashionData:
    """The data of a run, with all images of the pool."""
    pool = POOL[job.data]
    if job.data == "photos":
        return FolderData(root=photos)
    if job.data == "cifar10":
        return CifarData(root=cifar, num_per_class=pool, held_out_per_class=HELD_OUT)
    return FashionData(root=fashion, num_per_class=pool, held_out_per_class=HELD_OUT)


def recipe_of(job: Job, data: FolderData | CifarData | FashionData, out: Path) -> Recipe:
    """The recipe of a run."""
    few = replace(data, num_per_class=job.labels)
    if job.way == "probe":
        recipe = probe_recipe("teacher", seed=job.seed, input_size=SIDE, device="cpu")
        return replace(recipe, data=few, loop=replace(recipe.loop, workers=0))
    recipe = get_recipe(RECIPES[job.data, job.family])
    images = 10 * (job.labels if job.way == "scratch" else POOL[job.data])
    epoch = max(1, images // BATCH)
    recipe = replace(
        recipe,
        model=replace(recipe.model, num_classes=None),
        data=few if job.way == "scratch" else data,
        seed=job.seed,
        optimize=replace(recipe.optimize, warmup_epochs=WARMUP / epoch),
        loop=replace(
            recipe.loop, epochs=round(STEPS / epoch), batch_size=BATCH, evaluate_steps=STEPS // 4, workers=0,
            device="cpu",
        ),
    )  # fmt: skip
    if job.way == "scratch":
        return recipe
    # The teacher is asked once about small images, which makes these runs as fast as those from random initialisation.
    augment = recipe.augment if job.data == "photos" else AugmentConfig()
    teacher = str(out / replace(job, way="probe").name)
    return replace(recipe, augment=augment, distill=DistillConfig(teachers=(teacher,), labels_per_class=job.labels))


def run(job: Job, data: FolderData | CifarData | FashionData, out: Path) -> None:
    """Trains what is not there yet."""
    folder = out / job.name
    if "model" in scores_of(folder):
        return
    print(f"== {job.name}", flush=True)
    if (folder / "recipe.json").exists():
        resume(folder)
    else:
        train(recipe_of(job, data, out), folder)


def scores_of(folder: Path) -> dict[str, Any]:
    """The scores of a run; none where it has not finished."""
    file = folder / "scores.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def minutes(folder: Path) -> float:
    """How long a run took to train, the teacher's answers included."""
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    asked = scores_of(folder).get("distillation", {}).get("seconds_asked", 0.0)
    return (max(row.get("seconds", 0.0) for row in rows) + asked) / 60


def table(out: Path) -> str:
    """The runs that are there, a line for each data set, number of labels and family."""
    lines = [
        "| data, labels per class, student | seed | linear head of the teacher | random initialisation | distilled |"
        " difference | agreement with the teacher | minutes: random, distilled |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for job in jobs():
        folders = {way: out / replace(job, way=way).name for way in WAYS}
        found = {way: scores_of(folder) for way, folder in folders.items()}
        if job.way != "distilled" or not all("model" in scores for scores in found.values()):
            continue
        teacher, scratch, distilled = (100 * found[way]["top1"] for way in WAYS)
        agreement = 100 * found["distilled"]["agreement"]
        times = f"{minutes(folders['scratch']):.1f}, {minutes(folders['distilled']):.1f}"
        lines.append(
            f"| {job.data}, {job.labels}, {job.family} micro | {job.seed} | {teacher:.1f} % | {scratch:.1f} % | "
            f"{distilled:.1f} % | {distilled - scratch:+.1f} | {agreement:.1f} % | {times} |"
        )
    return "\n".join(lines)


def write(page: Path, rows: str) -> None:
    """Puts the table into the section of a page, in place of the one that is there."""
    before, title, rest = page.read_text(encoding="utf-8").partition("## Distillation\n")
    section, following, after = rest.partition("\n## ")
    lines = [line for line in section.splitlines() if not line.startswith("|")]
    lines = [line for line in lines if line != "Not measured yet."]
    text = "\n".join(lines).rstrip()
    page.write_text(f"{before}{title}{text}\n\n{rows}\n{following}{after}", encoding="utf-8")


def main() -> None:
    """Trains, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data", help="folder with photos10 and cifar10")
    parser.add_argument("--fashion", default="", help="folder with the files of Fashion-MNIST; default: without it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--table", action="store_true", help="print the tables and train nothing")
    parser.add_argument("--write", type=Path, help="page to put the table into; trains nothing")
    options = parser.parse_args()
    if options.write:
        write(options.write, table(options.out))
        return
    if not options.table:
        for job in jobs():
            if job.data != "fashion" or options.fashion:
                data = data_of(job, f"{options.data}/photos10", f"{options.data}/cifar10", options.fashion)
                run(job, data, options.out.resolve())
    print(table(options.out))


if __name__ == "__main__":
    main()
