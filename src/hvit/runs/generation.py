"""Runs of generation: a generator and a discriminator, compared with real images, and checked for memorisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from hvit.data.batches import evaluation_batches
from hvit.data.open import Splits, moved, open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.metrics.frechet import Extractor, FeatureStatistics
from hvit.models.build import count_parameters, multiply_adds
from hvit.models.catalogue import name_of
from hvit.models.counts import in_billions
from hvit.models.gan.config import GanConfig, GanNetworks, GeneratorConfig, build_discriminator, build_networks
from hvit.models.weights.open import open_generator
from hvit.recipe import Recipe, read_recipe
from hvit.run_names import NEIGHBOURS, RECIPE, REFERENCE, picture_file
from hvit.runs.kind import (
    ForwardPass,
    Kind,
    Prepared,
    ScoreRequest,
    empty_input,
    plain_preprocess,
    refuse_labels,
)
from hvit.runs.scoring import score_held_out
from hvit.tasks.extractors import full_name, open_extractor
from hvit.tasks.generate import Generate
from hvit.tasks.memorisation import compare_with_training
from hvit.tasks.task import Scores, Task
from hvit.training.distribute import Processes

_AT_ONCE = 64


class Generation(Kind[GanNetworks]):
    """A generator is trained against a discriminator."""

    configs = (GanConfig, *get_args(GeneratorConfig))
    on_timm = False
    tests = False
    whole_because = "its networks are small, and their gradient penalty differentiates twice"

    def with_full_paths(self, recipe: Recipe) -> Recipe:
        """The recipe with the extractor's file named in full."""
        model = _config(recipe)
        return replace(recipe, model=replace(model, extractor=full_name(model.extractor)))

    def fit_to_data(self, recipe: Recipe, splits: Splits) -> Recipe:
        """See `Kind.fit_to_data`; only a conditional model takes the classes of the data."""
        refuse_labels(recipe, splits)
        model = _config(recipe)
        count = len(splits.classes)
        if model.conditional and count < 2:
            raise UserError("the data has no labels, or one class only, and --model.conditional needs several")
        if model.num_classes not in (0, count):
            raise UserError(
                f"both networks have {model.num_classes} classes, but the data has {count}; leave them at 0"
            )
        return replace(recipe, model=model.with_classes(count))

    def describe(self, recipe: Recipe) -> dict[str, str]:
        """See `Kind.describe`."""
        model = _config(recipe)
        size = f"{model.in_channels}x{'x'.join(map(str, model.input_size))}"
        generator, discriminator = map(count_parameters, self.empty_networks(recipe))
        cost = in_billions(multiply_adds(model.generator))
        labels = f"with labels of {model.num_classes} classes" if model.num_classes else "without labels"
        return {
            "model": f"{name_of(model.generator)}, {generator:,} parameters, {cost} multiply-adds for {size}",
            "discriminator": f"{model.discriminator.family}, {discriminator:,} parameters, {labels}, {model.loss} loss",
            "evaluated with": f"{model.extractor}, compared with {model.reference.replace('_', '-')} images",
        }

    def build(self, recipe: Recipe) -> GanNetworks:
        """Both networks at random initialisation."""
        return build_networks(_config(recipe))

    def forward_passes(self, recipe: Recipe) -> list[ForwardPass]:
        """See `Kind.forward_passes`: one through each network."""
        model = _config(recipe)
        generator, discriminator = self.empty_networks(recipe)
        labels = (torch.zeros(1, dtype=torch.long, device="meta"),) if model.num_classes else ()
        latents = torch.empty(1, model.generator.latent_dim, device="meta")
        return [
            ForwardPass(generator, (latents, *labels)),
            ForwardPass(discriminator, (empty_input(model), *labels)),
        ]

    def starting_network(self, model: GanNetworks) -> torch.nn.Module:
        """The generator: only its weights are kept by a run."""
        return model.generator

    def make_task(self, prepared: Prepared, model: GanNetworks, folder: Path) -> Task:
        """See `Kind.make_task`.

        Statistics of training images, where the recipe asks for them, are computed once and kept in the run folder.
        """
        splits, preprocess, ranks = prepared.splits, prepared.preprocess, prepared.ranks
        config = _config(prepared.recipe)
        extractor = open_extractor(config.extractor)
        reference = None
        if config.reference == "training":
            reference = reference_statistics(extractor, splits.train, preprocess, folder / REFERENCE, ranks)
        return Generate(
            model.generator,
            model.discriminator,
            config,
            preprocess,
            extractor,
            splits.classes if config.num_classes else (),
            reference,
        )

    def as_built(self, networks: tuple[torch.nn.Module, ...]) -> GanNetworks:
        """See `Kind.as_built`."""
        return GanNetworks(*networks)  # pyright: ignore[reportArgumentType]  (as `build` made them)

    def bare_task(self, recipe: Recipe, model: GanNetworks) -> Task:
        """See `Kind.bare_task`; without an extractor, with which only evaluation compares."""
        config = _config(recipe)
        classes = tuple(map(str, range(config.num_classes)))
        unused: Any = None
        return Generate(model.generator, model.discriminator, config, plain_preprocess(config), unused, classes)

    def finish(self, prepared: Prepared, task: Task, scores: Scores, folder: Path, looked: Any = None) -> None:
        """Adds what the generator is, and whether it memorises training images."""
        assert isinstance(task, Generate)
        generator, preprocess, splits = open_generator(folder).model, task.preprocess, prepared.splits
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
            folder / picture_file(NEIGHBOURS),
        )
        scores["model"] = {
            "name": name_of(generator.config),
            "parameters": count_parameters(generator),
            "multiply_adds": multiply_adds(generator.config),
        }

    def score(self, request: ScoreRequest) -> Scores:
        """Scores the generator as the run's last evaluation does (see `Generate.evaluate`), without a discriminator.

        Raises UserError for weights without a run: only the run knows which images it was trained on.
        """
        target, generator, device = request.target, request.opened.model, request.device
        if not (target / RECIPE).is_file():
            raise UserError(
                f"{target} is no run folder: samples are compared with the data of their run, so name the folder of a "
                f"run"
            )
        recipe = read_recipe(target)
        config = recipe.model
        if not isinstance(config, GanConfig) or config.generator != generator.config:
            raise UserError(f"the weights in {target} are not those of its recipe.json: one of them was changed")
        if request.data_kind not in (None, recipe.data.kind):
            raise UserError(f"{target} was trained on {recipe.data.kind}, and is compared with it alone; omit --data")
        splits = open_data(moved(recipe.data, request.root), recipe.seed, config.in_channels)
        preprocess = Preprocess(
            config.input_size, splits.mean, splits.std, recipe.crop, recipe.interpolation,
            grey_range=splits.grey_range, page=splits.page,
        )  # fmt: skip
        extractor, reference = open_extractor(config.extractor), None
        if config.reference == "training":
            # Data in another place may be other data, and what is kept is of the run's own.
            path = target / REFERENCE if request.root is None else None
            reference = reference_statistics(extractor, splits.train, preprocess, path, request.ranks)
        with torch.device("meta"):
            absent = build_discriminator(config.discriminator)
        classes = splits.classes if config.num_classes else ()
        task = Generate(generator.to(device), absent, config, preprocess, extractor, classes, reference)
        task.networks = {"generator": generator}
        return score_held_out(task, splits, preprocess, request.ranks)


def _config(recipe: Recipe) -> GanConfig:
    """The model of a recipe of this kind."""
    assert isinstance(recipe.model, GanConfig)
    return recipe.model


def reference_statistics(
    extractor: Extractor, images: ImageSet, preprocess: Preprocess, path: Path | None, ranks: Processes
) -> FeatureStatistics:
    """Statistics of all images of a set as testing sees them: read from a file if it has them, else computed and kept.

    A file that is damaged, or of features of another source, is written anew. Without a path nothing is kept. Every
    process computes the features of a part.
    """

    def read() -> FeatureStatistics | None:
        if path is None or not path.exists():
            return None
        try:
            kept = FeatureStatistics.load(path, extractor.source)
        except UserError:
            return None
        return kept if kept.count == len(images) else None

    if (kept := ranks.of_first(read)) is not None:
        return kept
    batches = evaluation_batches(
        images, preprocess=preprocess, batch_size=_AT_ONCE, rank=ranks.rank, world_size=ranks.world_size
    )
    parts = ranks.gather(lambda: [extractor.features(preprocess.unit_images(batch["images"])) for batch in batches])

    def compute() -> FeatureStatistics:
        points = np.concatenate([one for part in parts for one in part])
        statistics = FeatureStatistics.of(points, extractor.source, "training")
        if path is not None:
            statistics.save(path)
        return statistics

    return ranks.of_first(compute)
