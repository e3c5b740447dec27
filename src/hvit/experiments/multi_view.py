"""What more views of a clip are worth in testing: one, five in time, and five in time by three in space."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hvit.data.clips.packaged import PACKAGED
from hvit.data.clips.settings import ClipData
from hvit.experiments.experiment import Cell, Claim, Experiment, Header, Pretraining, ScaleName
from hvit.experiments.settings import CLIPS, KINETICS, SUMMARY
from hvit.recipe import Recipe
from hvit.recipes import get_recipe

HEADER = Header(
    title="Multi-view testing",
    claim="a clip is classified better when the probabilities of several views of it are averaged; views in time "
    "matter more than crops",
    published="no seed compares views of one model: the tables print each model with its own (MViT 1 x 5 crops by "
    "times, MViT-B 64x3 3 x 3, X3D and SlowFast 3 x 10, Hiera 3 x 5), and the cost as FLOPs x views",
    refuted_by="five views in time are no better than one",
    cost="Weizmann, 64 clips of 4 classes in 4 folds, which stand in place of the seeds; one model is trained a fold "
    "and tested three times. small: 120 epochs, 5 minutes a fold; quick: 60 epochs, 2.5 minutes a fold; published: "
    "mvitv2_small_k400 on Kinetics-400",
)
EPOCHS = {"small": 120, "quick": 60}
FOLDS = 4
VIEWS: tuple[tuple[Literal[1, 3], int], ...] = ((1, 1), (1, 5), (3, 5))
"""Crops by times, as the papers write them."""


def multi_view(scale: ScaleName) -> Experiment:
    """One classifier of clips for every fold, tested in three ways."""
    if scale == "published":
        recipe = get_recipe("mvitv2_small_k400")
        recipe = replace(recipe, data=replace(recipe.data, root=KINETICS))
    else:
        recipe = get_recipe("hiera_micro_actions")
        recipe = replace(
            recipe,
            name="multi_view",
            summary=SUMMARY,
            model=replace(recipe.model, num_classes=4),  # pyright: ignore[reportCallIssue, reportArgumentType]
            data=fold(0),
            loop=replace(recipe.loop, epochs=EPOCHS[scale], evaluate_every=EPOCHS[scale], workers=0),
        )
    trained = Pretraining("trained", recipe)
    cells = []
    for crops, times in VIEWS:
        data = replace(recipe.data, spatial_views=crops, temporal_views=times)
        factors = {"views (crops x times)": f"{crops} x {times}", "forward passes a clip": str(crops * times)}
        tested = replace(recipe, name=f"multi_view_{crops}x{times}", data=data)
        cells.append(Cell(f"{crops}x{times}", factors, tested, pretraining=trained, trains=False))
    claims = (
        Claim("Five views in time are better than one view", ("1x5",), ("1x1",)),
        Claim("Three crops of each are better than one", ("3x5",), ("1x5",)),
        Claim("Fifteen views are better than one view", ("3x5",), ("1x1",)),
    )
    experiment = Experiment("multi_view", HEADER, tuple(cells), claims, reference="1x1", seeds=1)
    return experiment if scale == "published" else replace(experiment, seeds=FOLDS, of_seed=of_fold)


def fold(number: int) -> ClipData:
    """Weizmann's clips with a quarter of them held out: two sources of every class, each with its mirror image."""
    return ClipData(
        root=CLIPS,
        train_list=f"{PACKAGED}weizmann_{number}_train.txt",
        held_out_list=f"{PACKAGED}weizmann_{number}_held_out.txt",
        class_names=f"{PACKAGED}weizmann_classes.txt",
        stride=2,
        cache="none",
    )


def of_fold(recipe: Recipe, seed: int) -> Recipe:
    """A run of the experiment: the seed is the number of the fold, and after the last one begins anew with others."""
    assert isinstance(recipe.data, ClipData)
    lists = fold(seed % FOLDS)
    data = replace(recipe.data, train_list=lists.train_list, held_out_list=lists.held_out_list)
    return replace(recipe, seed=seed, data=data)
