"""The tables of explanations from the files of `explanation_grid.py`, printed or written into the page of results.

    python benchmarks/explanation_tables.py runs/explained
    python benchmarks/explanation_tables.py runs/explained --write docs/results/explanations.md
    python -m tests.result_tables --write

A cell has the value of every seed, and in brackets the 95 % interval of their mean: of shares Wilson's for as many
questions as one seed has, of other measures the bootstrap's over the images, each the mean of its seeds. The best
method of each model is bold. --write replaces what stands between the two comments of the page.
"""

from __future__ import annotations

import argparse
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvit.files import read_object, write_text
from hvit.metrics.classification import wilson_interval
from hvit.metrics.intervals import mean_interval

BEGIN, END = "<!-- explanation_tables.py writes from here -->", "<!-- to here -->"
MODELS = ("NesT", "Hiera", "MViTv2", "ViT", "ResNet", "EfficientNet")
FIVE = MODELS[:5]
DATA = {
    "alone": "One digit alone",
    "clutter": "One digit on clutter",
    "four_digits": "Mosaics of four digits",
    "CIFAR-10 mosaics": "Mosaics of four CIFAR-10 images",
    "photo mosaics": "Mosaics of four photos",
    "pasted": "Objects with exact masks, pasted on photos",
}
METHODS = {
    "block shapley": "block Shapley",
    "block shapley, 64 blocks": "block Shapley, 64 blocks",
    "block shapley, blur": "block Shapley, baseline blur",
    "block shapley, zeros": "block Shapley, baseline zeros",
    "gradcat": "GradCAT",
    "cam": "CAM",
    "gradcam++": "Grad-CAM++",
    "rollout": "rollout",
    "legrad": "LeGrad (torchcam)",
    "refinecam": "RefineCAM (torchcam)",
    "integrated gradients": "integrated gradients (captum)",
    "occlusion": "occlusion (captum)",
    "chance": "random maps",
}
SHAPLEY, FINER, CHANCE = "block shapley", "block shapley, 64 blocks", "chance"
OURS = [name for name in METHODS if name.startswith(SHAPLEY)]


class Measure(NamedTuple):
    """A column: its key in the files, its title, whether it is a share, and whether low is good."""

    key: str
    title: str
    share: bool = True
    low: bool = False


MEASURES = (
    Measure("quadrant", "own quadrant, %"),
    Measure("first", "first step, %"),
    Measure("second", "second step, %"),
    Measure("point", "pointing, %"),
    Measure("mask", "IoU with the mask", share=False),
    Measure("overlap", "IoU", share=False),
    Measure("box", "MaxBoxAcc, %"),
    Measure("deletion", "deletion", share=False, low=True),
    Measure("insertion", "insertion", share=False),
)
COMPARED = ("point", "mask", "overlap", "deletion", "insertion")
Samples = dict[str, np.ndarray]


class Score(NamedTuple):
    """A measure of a method on a model: of every seed, their mean, and its 95 % interval."""

    seeds: tuple[float, ...]
    mean: float
    low: float
    high: float

    def shown(self, measure: Measure) -> str:
        """As a cell of a table."""
        scale, digits, whole = (100, 1, 0) if measure.share else (1, 2, 2)
        seeds = ", ".join(f"{scale * one:.{digits}f}" for one in self.seeds)
        return f"{seeds} ({scale * self.low:.{whole}f} to {scale * self.high:.{whole}f})"


class Grid:
    """All files of a folder: the samples of every data, model, method and seed."""

    def __init__(self, folder: Path) -> None:
        self.cells: dict[tuple[str, str, str], dict[int, Samples]] = defaultdict(dict)
        self.images: dict[tuple[str, str], int] = {}
        for path in sorted(folder.rglob("*.json")):
            stored = read_object(path)
            settings, samples = stored["settings"], stored["samples"]
            data, model = settings["data"], settings["model"]
            arrays = {name: np.array(values) for name, values in samples.items()}
            self.cells[data, model, settings["method"]][settings["seed"]] = arrays
            self.images[data, model] = settings["count"]

    def methods(self, data: str, model: str) -> list[str]:
        """The methods that were measured, in the order of the table."""
        return [method for method in METHODS if (data, model, method) in self.cells]

    def seeds(self, data: str, model: str) -> list[int]:
        """The seeds that were measured with block Shapley."""
        return sorted(self.cells.get((data, model, SHAPLEY), {}))

    def score(self, data: str, model: str, method: str, measure: Measure) -> Score | None:
        """A measure of a method; None where it was not taken."""
        by_seed = self.cells.get((data, model, method), {})
        samples = [by_seed[seed][measure.key] for seed in sorted(by_seed) if measure.key in by_seed[seed]]
        if not samples:
            return None
        seeds = tuple(float(one.mean()) for one in samples)
        mean = float(np.mean(seeds))
        if measure.share:
            count = len(samples[0])
            low, high = wilson_interval(round(mean * count), count)
        else:
            low, high = mean_interval(np.mean(samples, axis=0))
        return Score(seeds, mean, low, high)

    def best(self, data: str, model: str, measure: Measure, without: Sequence[str] = ()) -> tuple[str, Score] | None:
        """The method of the best mean among all but random maps."""
        scores = [
            (method, score)
            for method in self.methods(data, model)
            if method not in (CHANCE, *without) and (score := self.score(data, model, method, measure))
        ]
        order: Callable[[tuple[str, Score]], float] = lambda one: -one[1].mean if measure.low else one[1].mean  # noqa: E731
        return max(scores, key=order, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the files of explanation_grid.py")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page whose tables are written anew")
    arguments = parser.parse_args()
    text = "\n".join(lines_of(Grid(arguments.folder)))
    if not arguments.write:
        print(text)
        return
    page = arguments.write.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, ends, after = rest.partition(END)
    assert ends, f"{arguments.write} has no lines {BEGIN} and {END}"
    write_text(arguments.write, f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def lines_of(grid: Grid) -> Iterator[str]:
    """Everything that is written."""
    yield from goals(grid)
    yield from comparison(grid)
    for data, title in DATA.items():
        if any(grid.methods(data, model) for model in MODELS):
            yield from table(grid, data, title)
    missing = list(not_run(grid))
    if missing:
        yield from textwrap.wrap(f"Not run: {'; '.join(missing)}.", 120)
        yield ""


def table(grid: Grid, data: str, title: str) -> Iterator[str]:
    """Every model and method on one kind of images."""
    models = [model for model in MODELS if grid.methods(data, model)]
    measures = [one for one in MEASURES if any(grid.score(data, model, SHAPLEY, one) for model in models)]
    yield f"### {title}"
    yield ""
    yield f"{recognised(grid, data, models)}."
    yield ""
    yield f"| model | method | {' | '.join(one.title for one in measures)} |"
    yield f"| --- | --- | {' | '.join('---:' for _ in measures)} |"
    for model in models:
        for number, method in enumerate(grid.methods(data, model)):
            cells = [cell(grid, data, model, method, one) for one in measures]
            yield f"| {model if number == 0 else ''} | {METHODS[method]} | {' | '.join(cells)} |"
    yield ""


def cell(grid: Grid, data: str, model: str, method: str, measure: Measure) -> str:
    score, best = grid.score(data, model, method, measure), grid.best(data, model, measure)
    if score is None:
        return ""
    shown = score.shown(measure)
    return f"**{shown}**" if best and best[1].mean == score.mean and method != CHANCE else shown


def recognised(grid: Grid, data: str, models: Sequence[str]) -> str:
    """How many images there are, and for how many classes the model is right."""
    counts = sorted({grid.images[data, model] for model in models})
    found = []
    for model in models:
        shares = [100 * one["found"].mean() for _, one in sorted(grid.cells[data, model, SHAPLEY].items())]
        found.append(f"{model} {' and '.join(f'{share:.0f}' for share in shares)} %")
    return f"{' or '.join(map(str, counts))} images. Recognised are: {', '.join(found)}"


def comparison(grid: Grid) -> Iterator[str]:
    """Block Shapley next to the best of the other methods."""
    columns = [one for one in MEASURES if one.key in COMPARED]
    yield "Block Shapley, and in brackets the best other method of that column, means over the seeds:"
    yield ""
    yield f"| images | model | {' | '.join(one.title for one in columns)} |"
    yield f"| --- | --- | {' | '.join('---:' for _ in columns)} |"
    for data, title in DATA.items():
        for model in MODELS:
            if not grid.seeds(data, model):
                continue
            cells = []
            for one in columns:
                ours = grid.score(data, model, SHAPLEY, one)
                other = grid.best(data, model, one, without=OURS)
                cells.append("" if ours is None or other is None else versus(ours, other, one))
            yield f"| {title} | {model} | {' | '.join(cells)} |"
    yield ""


def versus(ours: Score, other: tuple[str, Score], measure: Measure) -> str:
    name = METHODS[other[0]].partition(" (")[0]
    return f"{number(ours.mean, measure)} ({name} {number(other[1].mean, measure)})"


def number(value: float, measure: Measure) -> str:
    return f"{100 * value:.1f}" if measure.share else f"{value:.2f}"


class Goal(NamedTuple):
    """What was to be shown of block Shapley on a NesT: at least so much."""

    words: str
    data: str
    measure: str
    least: float


GOALS = (
    Goal("one digit alone: first step", "alone", "first", 0.95),
    Goal("one digit alone: second step", "alone", "second", 0.70),
    Goal("one digit alone: pointing", "alone", "point", 0.88),
    Goal("one digit alone: IoU", "alone", "overlap", 0.5),
    Goal("mosaics of four digits: own quadrant", "four_digits", "quadrant", 0.999),
)


def goals(grid: Grid) -> Iterator[str]:
    """Each goal with what was measured, and whether it is reached."""
    by_key = {one.key: one for one in MEASURES}
    yield "| goal for block Shapley | at least | measured | reached |"
    yield "| --- | ---: | ---: | --- |"
    for goal in GOALS:
        measure = by_key[goal.measure]
        score = grid.score(goal.data, "NesT", SHAPLEY, measure)
        if score:
            least = f"{100 * goal.least:g} %" if measure.share else f"{goal.least:g}"
            answer = verdict(score.mean - goal.least, score.low - goal.least, measure)
            yield f"| NesT, {goal.words} | {least} | {score.shown(measure)} | {answer} |"
    for key in ("deletion", "insertion"):
        measure = by_key[key]
        for data in ("alone", "clutter", "four_digits"):
            other = grid.best(data, "NesT", measure, OURS)
            for ours in (SHAPLEY, FINER):
                score = grid.score(data, "NesT", ours, measure)
                if score and other:
                    sign = -1 if measure.low else 1
                    limit = f"{METHODS[other[0]]}: {other[1].mean:.2f}"
                    low = difference(grid, data, ("NesT", ours), ("NesT", other[0]), measure)
                    answer = verdict(sign * (score.mean - other[1].mean), low, measure)
                    blocks = ", 64 blocks" if ours == FINER else ""
                    words = f"{in_a_sentence(data)}: {key} ahead of every rival{blocks}"
                    yield f"| NesT, {words} | {limit} | {score.shown(measure)} | {answer} |"
    for cnn in ("ResNet", "EfficientNet"):
        for key in ("point", "mask"):
            measure = by_key[key]
            score, other = (grid.score("pasted", *one, measure) for one in (("NesT", SHAPLEY), (cnn, "gradcam++")))
            if score and other:
                words = f"objects on photos: {measure.title.partition(',')[0]} ahead of Grad-CAM++ of the {cnn}"
                answer = verdict(score.mean - other.mean, score.low - other.high, measure)
                yield f"| NesT, {words} | {number(other.mean, measure)} | {score.shown(measure)} | {answer} |"
    yield ""


def difference(grid: Grid, data: str, one: tuple[str, str], other: tuple[str, str], measure: Measure) -> float:
    """The lower end of the 95 % interval of how much better one method is than another on the same images."""
    ours, theirs = (
        np.mean([samples[measure.key] for _, samples in sorted(grid.cells[data, *which].items())], axis=0)
        for which in (one, other)
    )
    return mean_interval((theirs - ours) if measure.low else (ours - theirs))[0]


def verdict(lead: float, surely: float, measure: Measure) -> str:
    """In words: by how much, and whether the interval agrees."""
    small = "less than 0.01" if abs(lead) < 0.005 else f"{abs(lead):.2f}"
    amount = f"{100 * abs(lead):.1f} points" if measure.share else small
    if lead < 0:
        return f"no, by {amount}"
    return f"yes, by {amount}" if surely >= 0 else f"yes, by {amount}, within the interval"


def in_a_sentence(data: str) -> str:
    return DATA[data][0].lower() + DATA[data][1:]


def not_run(grid: Grid) -> Iterator[str]:
    """What is missing of five models with two seeds each."""
    for data in DATA:
        title = in_a_sentence(data)
        absent = [model for model in FIVE if not grid.seeds(data, model)]
        single = [model for model in FIVE if len(grid.seeds(data, model)) == 1]
        if len(absent) == len(FIVE):
            yield title
            continue
        if absent:
            yield f"{title} with {', '.join(absent)}"
        if single:
            yield f"{title} with a second seed of {', '.join(single)}"


if __name__ == "__main__":
    main()
