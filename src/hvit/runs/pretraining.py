"""Runs of masked pretraining: an autoencoder, how well it reconstructs, and probes of its encoder's features."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvit.data.open import Splits
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.explain.drawing.canvas import save_in_both_themes
from hvit.metrics.classification import linear_probe_accuracy, nearest_neighbour_accuracy
from hvit.models.build import build_empty, build_network, count_parameters
from hvit.models.catalogue import name_of
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.masks import count_visible
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.weights.open import open_autoencoder
from hvit.recipe import Recipe
from hvit.run_names import FEATURE_MAP, picture_file
from hvit.runs.folder import write_scores
from hvit.runs.kind import (
    ForwardPass,
    Kind,
    Prepared,
    ScoreRequest,
    empty_input,
    plain_preprocess,
    refuse_labels,
)
from hvit.runs.scoring import open_held_out, score_held_out
from hvit.snapshots.features import MOST_MAPPED, draw_feature_map, encoder_features
from hvit.snapshots.reconstructions import watch
from hvit.tasks.reconstruct import Reconstruct
from hvit.tasks.task import Scores, Task
from hvit.training.distribute import Processes

_MOST_TRAINED_ON = 50_000


class Pretraining(Kind[MaskedAutoencoder]):
    """A masked autoencoder is trained on images or clips, labelled or not."""

    configs = (MaskedConfig,)

    def fit_to_data(self, recipe: Recipe, splits: Splits) -> Recipe:
        """The recipe as it is: labels change nothing. Raises UserError for labels that no probe predicts."""
        refuse_labels(recipe, splits)
        return recipe

    def describe(self, recipe: Recipe) -> dict[str, str]:
        """See `Kind.describe`."""
        model = recipe.model
        assert isinstance(model, MaskedConfig)
        size = f"{model.in_channels}x{'x'.join(map(str, model.input_size))}"
        visible = count_visible(model.unit_grid, model.mask_ratio, model.mask_pattern)
        units = f"{visible} of {prod(model.unit_grid)} mask units seen"
        return {"model": f"{name_of(model)}, {count_parameters(build_empty(model)):,} parameters, {units} on {size}"}

    def build(self, recipe: Recipe) -> MaskedAutoencoder:
        """See `Kind.build`."""
        return build_network(recipe.model)  # pyright: ignore[reportArgumentType, reportReturnType]  (of this kind, as `configs` says)

    def forward_passes(self, recipe: Recipe) -> list[ForwardPass]:
        """See `Kind.forward_passes`: the encoder computes the visible mask units only."""
        model = recipe.model
        assert isinstance(model, MaskedConfig)
        share = 1.0 - model.mask_ratio
        return [ForwardPass(build_empty(model.encoder), (empty_input(model.encoder),), share)]

    def make_task(self, prepared: Prepared, model: MaskedAutoencoder, folder: Path) -> Task:
        """See `Kind.make_task`."""
        splits, preprocess = prepared.splits, prepared.preprocess
        return Reconstruct(model, preprocess, len(splits.classes) > 1, watch(splits.held_out, preprocess))

    def bare_task(self, recipe: Recipe, model: MaskedAutoencoder) -> Task:
        """See `Kind.bare_task`."""
        return Reconstruct(model, plain_preprocess(model.config), labelled=False)

    def finish(self, prepared: Prepared, task: Task, scores: Scores, folder: Path, looked: Any = None) -> None:
        """Adds what the model is, and draws a map of its features."""
        model, classes = open_autoencoder(folder).model, prepared.splits.classes
        scores["model"] = {"name": name_of(model.config), "parameters": count_parameters(model)}
        write_scores(folder, scores)
        features, labels = encoder_features(model, prepared.splits.held_out, prepared.preprocess, MOST_MAPPED)
        save_in_both_themes(
            lambda theme: draw_feature_map(features, labels, classes, theme), folder / picture_file(FEATURE_MAP)
        )

    def score(self, request: ScoreRequest) -> Scores:
        """The loss, and for labelled data the accuracy of nearest neighbours and of a linear probe on its features."""
        _, splits, preprocess = open_held_out(request, labels_needed=False)
        model = request.opened.model.to(request.device)
        task = Reconstruct(model.eval(), preprocess, labelled=False)
        scores = score_held_out(task, splits, preprocess, request.ranks)
        samples = "clips" if preprocess.takes_clips else "images"
        scores["sample_kind"] = samples
        if len(splits.classes) < 2:
            request.report({"notes": f"The {samples} have no labels, so features are not probed for classes."})
            return scores
        known = _features(model, splits.train, preprocess, _MOST_TRAINED_ON, request.ranks)
        asked = _features(model, splits.held_out, preprocess, len(splits.held_out), request.ranks)

        def probe() -> Scores:
            return {
                "nearest_neighbours": nearest_neighbour_accuracy(*known, *asked),
                "linear_probe": linear_probe_accuracy(*known, *asked),
                "trained_on": len(known[1]),
            }

        return scores | request.ranks.of_first(probe)


def _features(
    model: MaskedAutoencoder, images: ImageSet, preprocess: Preprocess, most: int, ranks: Processes
) -> tuple[Tensor, Tensor]:
    """As `encoder_features`, each process those of a part; the first gets all, and the others nothing of use."""
    parts = ranks.gather(
        lambda: encoder_features(model, images, preprocess, most, rank=ranks.rank, world_size=ranks.world_size)
    )
    some = [part for part in parts if len(part[1])]
    return (torch.cat([one for one, _ in some]), torch.cat([one for _, one in some])) if some else (Tensor(), Tensor())
