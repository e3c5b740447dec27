"""Images that nobody took: how runs of generation are carried out, scored again, and asked for samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hvit.class_names import find_class
from hvit.data.batches import evaluation_batches
from hvit.data.open import Splits, moved, open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.metrics.frechet import Extractor, FeatureStatistics
from hvit.models import catalogue
from hvit.models.build import count_parameters, multiply_adds
from hvit.models.gan.config import GanConfig, Players, build_discriminator
from hvit.models.gan.generator import Generator
from hvit.models.gan.sampling import MOST_COLUMNS, draw_latents, paint, to_bytes, walk
from hvit.models.weights.save import OpenedWeights, open_generator
from hvit.recipe import RECIPE, Recipe, read_recipe
from hvit.snapshots.samples import enlargement, save_pixels, shown_grid
from hvit.tasks.extractors import open_extractor
from hvit.tasks.generate import Generate
from hvit.tasks.memorisation import compare_with_training
from hvit.training.distribute import Processes, choose_device

REFERENCE = "reference.npz"
NEIGHBOURS = "neighbours"
SAMPLES = "samples.png"
WALKS = "walks.png"
_AT_ONCE = 64
_PAINTED_AT_ONCE = 16
_WALK_STEPS = 8
_USUAL_COLUMNS = 8
_MOST_PIXELS = 2**25  # of a picture: what is in memory together
_MOST_SAMPLES = 1_000_000


def make_task(
    recipe: Recipe, players: Players, splits: Splits, preprocess: Preprocess, folder: Path, ranks: Processes
) -> Generate:
    """The task of a run of generation, with what samples are judged by.

    Statistics of training images, where the recipe asks for them, are computed once and kept in the run folder.
    """
    config = recipe.model
    assert isinstance(config, GanConfig)
    extractor = open_extractor(config.extractor)
    reference = None
    if config.reference == "training":
        ranks.first_only(lambda: reference_statistics(extractor, splits.train, preprocess, folder / REFERENCE))
        reference = FeatureStatistics.load(folder / REFERENCE, extractor.source)
    return Generate(
        players.generator,
        players.discriminator,
        config,
        preprocess,
        extractor,
        splits.classes if config.num_classes else (),
        reference,
        (ranks.rank, ranks.world_size),
    )


def reference_statistics(
    extractor: Extractor, images: ImageSet, preprocess: Preprocess, path: Path | None
) -> FeatureStatistics:
    """Statistics of all images of a set as testing sees them: read from a file if it has them, else computed and kept.

    A file that is damaged, or of features of another source, is written anew. Without a path nothing is kept.
    """
    if path is not None and path.exists():
        try:
            kept = FeatureStatistics.load(path, extractor.source)
        except UserError:
            kept = None
        if kept is not None and kept.count == len(images):
            return kept
    batches = evaluation_batches(images, preprocess=preprocess, batch_size=_AT_ONCE)
    points = [extractor.features(preprocess.unit_images(batch["images"])) for batch in batches]
    statistics = FeatureStatistics.of(np.concatenate(points), extractor.source, "training")
    if path is not None:
        statistics.save(path)
    return statistics


def finish_generation(task: Generate, splits: Splits, scores: dict[str, Any], folder: Path) -> None:
    """Adds to the scores of a finished run what its model is, and whether it paints anew or copies."""
    generator, preprocess = open_generator(folder).model, task.preprocess
    training, held_out = (
        evaluation_batches(images, preprocess=preprocess, batch_size=_AT_ONCE)
        for images in (splits.train, splits.held_out)
    )
    scores["memorisation"] = compare_with_training(
        generator,
        task.extractor,
        preprocess,
        training,  # pyright: ignore[reportArgumentType]  (a batch of tensors, whatever it is called)
        held_out,  # pyright: ignore[reportArgumentType]
        folder / "pictures" / f"{NEIGHBOURS}.png",
    )
    scores["model"] = {
        "name": catalogue.name_of(generator.config),
        "parameters": count_parameters(generator),
        "multiply_adds": multiply_adds(generator.config),
    }


def score_generator(
    target: Path, opened: OpenedWeights[Generator], kind: str | None, root: str | None, device: torch.device
) -> dict[str, Any]:
    """Scores the generator of a run as its last evaluation does (see `Generate.evaluate`), without a discriminator.

    opened: the weights of the target, a run folder. kind, root: as for `evaluation.evaluate`.
    Raises UserError for weights without a run: only the run knows which images it learned to make.
    """
    if not (target / RECIPE).is_file():
        raise UserError(
            f"{target} is no run folder: samples are compared with the data of their run, so name the folder of a run"
        )
    recipe = read_recipe(target)
    config = recipe.model
    if not isinstance(config, GanConfig) or config.generator != opened.model.config:
        raise UserError(f"the weights in {target} are not those of its recipe.json: one of them was changed")
    if kind not in (None, recipe.data.kind):
        raise UserError(f"{target} learned from {recipe.data.kind}, and is compared with it alone; leave out --data")
    splits = open_data(moved(recipe.data, root), recipe.seed, config.in_channels)
    preprocess = Preprocess(config.input_size, splits.mean, splits.std, recipe.crop, recipe.interpolation)
    extractor, reference = open_extractor(config.extractor), None
    if config.reference == "training":
        # Data in another place may be other data, and what is kept is of the run's own.
        path = target / REFERENCE if root is None else None
        reference = reference_statistics(extractor, splits.train, preprocess, path)
    with torch.device("meta"):
        absent = build_discriminator(config.discriminator)
    classes = splits.classes if config.num_classes else ()
    task = Generate(opened.model.to(device), absent, config, preprocess, extractor, classes, reference)
    batches = (
        {name: value.to(device) for name, value in batch.items()}  # pyright: ignore[reportAttributeAccessIssue]
        for batch in evaluation_batches(splits.held_out, preprocess=preprocess, batch_size=_AT_ONCE)
    )
    return task.evaluate({"generator": opened.model}, batches)


@dataclass(frozen=True)
class Painter:
    """A generator that is asked for samples."""

    generator: Generator
    """The network, where it runs."""
    name: str
    """Its catalogue name."""
    known: tuple[str, ...]
    """Names of the classes that it knows; empty where its weights tell none."""

    def class_numbers(self, wanted: Sequence[str]) -> list[int]:
        """The classes that a person means; all where none are wanted, and an empty list where there are no classes.

        Raises UserError for one that it does not have (see `find_class`).
        """
        count = self.generator.config.num_classes
        if wanted and not count:
            raise UserError("this generator makes images without classes; leave out --classes")
        return [find_class(name, self.known, count) for name in wanted] or list(range(count))

    def class_name(self, number: int) -> str:
        """The name of a class, or its number where the weights tell no names."""
        return self.known[number] if self.known else str(number)

    def samples(self, count: int, seed: int, classes: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """So many samples (height, width, channels) uint8, one after the other.

        Each is a function of the seed, its place and its class; the classes take turns. As many are always painted
        together, so that no rounding depends on the count.
        """
        for start in range(0, count, _PAINTED_AT_ONCE):
            places = range(start, start + _PAINTED_AT_ONCE)
            latents = torch.cat([draw_latents(self.generator.config, 1, seed, "sample", place) for place in places])
            yield from self._paint(latents, [classes[place % len(classes)] for place in places] if classes else [])[
                : count - start
            ]

    def walks(self, count: int, seed: int, classes: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Walks from one latent to another, eight samples each as `samples` gives them; every walk has one class."""
        for row in range(count):
            first, last = draw_latents(self.generator.config, 2, seed, "walk", row)
            labels = [classes[row % len(classes)]] * _WALK_STEPS if classes else []
            yield from self._paint(walk(first, last, _WALK_STEPS), labels)

    def _paint(self, latents: Tensor, labels: list[int]) -> np.ndarray:
        images = paint(self.generator, latents, torch.tensor(labels) if labels else None)
        if not images.isfinite().all():
            raise UserError("these weights make images that are no finite numbers: the run that left them has diverged")
        return to_bytes(images)


def open_painter(path: str | Path, device: str = "auto") -> Painter:
    """The generator of a weights file or run folder. Raises UserError as `open_generator` does."""
    opened = open_generator(path)
    channels = opened.model.config.out_channels
    if channels not in (1, 3):
        raise UserError(f"{path} makes images of {channels} channels; pictures have 1 (grey) or 3 (colour)")
    return Painter(opened.model.to(choose_device(device)), opened.name, opened.classes)


def generate(
    painter: Painter,
    folder: Path,
    count: int,
    seed: int = 0,
    wanted: Sequence[str] = (),
    columns: int | None = None,
    walks: int = 8,
    each: bool = False,
    done: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Draws samples in a grid, `samples.png`, and walks between latents, `walks.png`, one a row; tells what is where.

    count: how many samples. wanted: classes by name or number; the samples, and the walks, take them in turn. columns:
    samples side by side; left out, such that a class has its columns. walks: how many. each: whether every sample
    becomes a file of its own, too, in its true size. done: called after every sample.
    Raises UserError before anything is written for what cannot be drawn.
    """
    if not 1 <= count <= _MOST_SAMPLES:
        raise UserError(f"the number of samples is 1 to {_MOST_SAMPLES:,}; got {count}")
    if walks < 0 or (columns is not None and columns < 1):
        raise UserError(f"a grid has 1 column or more, and walks are 0 or more; got {columns} and {walks}")
    classes = painter.class_numbers(wanted)
    height, width = painter.generator.config.output_size
    most = max(1, _MOST_PIXELS // (height * width * enlargement(height) ** 2))
    shown = min(count, most)
    if count > most and not each:
        raise UserError(
            f"a picture takes {most:,} samples of {height} x {width} at most, and {count:,} are asked for; --each "
            f"writes more of them one by one"
        )
    if walks > most // _WALK_STEPS:
        raise UserError(f"a picture takes {most // _WALK_STEPS:,} walks of {height} x {width} at most; got {walks:,}")
    digits, grid, files = max(4, len(str(count))), [], []
    for number, pixels in enumerate(painter.samples(count, seed, classes), start=1):
        if number <= shown:
            grid.append(pixels)
        if each:
            files.append(str(folder / f"sample_{number:0{digits}d}.png"))
            save_pixels(pixels, Path(files[-1]))
        done()
    columns = min(columns or _columns_for(len(classes)), shown)
    save_pixels(shown_grid(np.stack(grid), columns), folder / SAMPLES)
    if walks:
        rows = np.stack(list(painter.walks(walks, seed, classes)))
        save_pixels(shown_grid(rows, _WALK_STEPS), folder / WALKS)
    return {
        "model": painter.name,
        "seed": seed,
        "count": count,
        "size": [height, width],
        "classes": [painter.class_name(classes[place % len(classes)]) for place in range(count)] if classes else [],
        "samples": str(folder / SAMPLES),
        "shown": shown,
        "walks": str(folder / WALKS) if walks else None,
        "files": files,
    }


def _columns_for(classes: int) -> int:
    """Samples side by side: a multiple of the classes where they are few enough, so that a column has one class."""
    if not 1 <= classes <= MOST_COLUMNS:
        return _USUAL_COLUMNS
    return classes * max(1, _USUAL_COLUMNS // classes)
