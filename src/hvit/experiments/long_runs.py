"""One longer run each of NesT and the best ViT: the best numbers of this library on two CPU cores, with their times."""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment_settings import nest_cifar_augment
from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName
from hvit.experiments.settings import CIFAR, MODELS, Size, classify_cifar
from hvit.recipes import get_recipe

HEADER = Header(
    title="Longer runs",
    claim="NesT trained long on all of CIFAR-10 stays ahead of a plain ViT",
    published="CIFAR-10, 300 epochs: NesT-T 96.04 % with 6 M parameters, DeiT-T 88.39 (talk)",
    refuted_by="the ViT reaches NesT's accuracy",
    cost="small: 60 epochs of 50,000 images, 2.5 hours for NesT at 330 images per core-second and 3.6 for the ViT; "
    "quick: 4 epochs of 20,000, 10 minutes; published: nest_tiny_cifar10, 300 epochs, a GPU",
)
SIZES = {"small": Size(None, 60), "quick": Size(2_000, 4, 64, 500)}


def long_runs(scale: ScaleName) -> Experiment:
    """NesT and a ViT with the full augmentation of NesT's recipe."""
    cells = []
    for family, title in (("nest", "NesT"), ("vit", "ViT")):
        if scale == "published":
            recipe = get_recipe("nest_tiny_cifar10")
            vit = replace(MODELS["vit"], dims=(192,), heads=(3,), depths=(12,), drop_path=0.1)
            model = recipe.model if family == "nest" else vit
            recipe = replace(recipe, name=f"long_{family}", model=model, data=replace(recipe.data, root=CIFAR))  # pyright: ignore[reportCallIssue, reportArgumentType]
        else:
            recipe = classify_cifar(f"long_{family}", MODELS[family], SIZES[scale], nest_cifar_augment())
            recipe = replace(recipe, loop=replace(recipe.loop, evaluate_every=max(1, SIZES[scale].epochs // 6)))
        cells.append(Cell(family, {"model": title}, recipe, family))
    claims = (Claim("NesT is more accurate than the ViT", ("nest",), ("vit",)),)
    seeds = 2 if scale == "quick" else 1
    return Experiment("long_runs", HEADER, tuple(cells), claims, reference="vit", seeds=seeds)
