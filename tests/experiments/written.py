"""An experiment of two cells, and journals of its runs as if they were finished."""

from __future__ import annotations

from pathlib import Path

from hvit.data.images.digits import DigitsData
from hvit.experiments.experiment import Cell, Claim, Experiment, Header
from hvit.experiments.grid import Place
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.training.journal import Journal

RECIPE = Recipe(name="toy", summary="A test", model=NestConfig(), data=DigitsData())
CELLS = (Cell("flat", {"depth": "1"}, RECIPE), Cell("deep", {"depth": "2"}, RECIPE))
CLAIMS = (Claim("Depth helps", ("deep",), ("flat",)), Claim("Depth hurts", ("flat",), ("deep",), margin=0.01))
TOY = Experiment("toy", Header("Toy", "depth matters", "99 %", "it does not", "seconds"), CELLS, CLAIMS, "flat")


def write_run(folder: Path, top1: float, seconds: float = 10.0, speed: float = 100.0) -> None:
    """The journal of a finished run."""
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text("{}")
    journal = Journal(folder)
    journal.write("train", 1, loss=1.0, images_per_second=speed, seconds=seconds)
    journal.write("evaluate", 2, top1=top1)
    journal.write("finish", 2, seconds=seconds)


def finished(root: Path, **accuracies: tuple[float, ...]) -> Place:
    """Runs of the experiment with given accuracies, one a seed."""
    place = Place(root, "quick")
    for cell in CELLS:
        for seed, top1 in enumerate(accuracies.get(cell.name, ())):
            write_run(place.run(TOY, cell, seed), top1)
    return place
