"""How accuracy falls with the number of labelled images (arXiv 2105.12723: "data-efficient")."""

from __future__ import annotations

from dataclasses import replace

from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName, Table
from hvit.experiments.results import Results
from hvit.experiments.rivals import published_model
from hvit.experiments.settings import Size, classify_cifar, model_of, on_imagenet, title_of

HEADER = Header(
    title="Data efficiency",
    claim="NesT needs less data than ViT and Swin: its lead grows when labels are few",
    published="CIFAR-10 from random initialisation: NesT-T, S, B 96.04, 96.97, 97.20 %; DeiT-T, S, B 88.39, 92.44, "
    "92.41; Swin-T, S, B 94.46, 94.17, 94.55; PVT-T, S 90.51, 92.34; CCT-7/3x1 94.72; Pyramid-164-48 95.97; "
    "WRN28-10 95.83 (talk)",
    refuted_by="with 100 images a class NesT leads ViT and Swin by no more than with 5,000",
    cost="small: 16 cells of 50,000 images, 3 to 8 minutes a run, 1.2 hours a seed; quick: 12,800 images, 1 to 2 "
    "minutes a run, 20 minutes a seed; published: shares of ImageNet, 300 epochs' worth of images for every cell",
)
PER_CLASS = (100, 500, 2_000, 5_000)
SEEN = {"small": 50_000, "quick": 12_800}
"""Images that every run sees, however many there are: as many steps for all."""
BATCH, TESTED = {"small": 100, "quick": 64}, {"small": None, "quick": 500}
SHARES = {100: 0.02, 500: 0.1, 2_000: 0.4, 5_000: 1.0}
FAMILIES = ("nest", "vit", "resnet", "swin")


def data_efficiency(scale: ScaleName) -> Experiment:
    """Four families with 100 to 5,000 images of every class, at equal images seen."""
    cells = []
    for per_class in PER_CLASS:
        for family in FAMILIES:
            cells.append(_cell(scale, family, per_class))
    few, many = PER_CLASS[0], PER_CLASS[-1]
    claims = []
    for family in FAMILIES[1:]:
        claims += [
            Claim(f"With {few} images a class NesT is more accurate than {title_of(family)}", (f"nest-{few}",),
                  (f"{family}-{few}",)),
            Claim(f"NesT's lead over {title_of(family)} is larger with {few} images a class than with {many:,}",
                  (f"nest-{few}",), (f"{family}-{few}",), than=((f"nest-{many}",), (f"{family}-{many}",))),
        ]  # fmt: skip
    return Experiment("data_efficiency", HEADER, tuple(cells), tuple(claims), reference=f"nest-{many}", further=as_grid)


def _cell(scale: ScaleName, family: str, per_class: int) -> Cell:
    name = f"data_{family}_{per_class}"
    factors = {"images a class": f"{per_class:,}", "family": title_of(family)}
    if scale == "published":
        recipe = on_imagenet(name, published_model(family))
        epochs = round(recipe.loop.epochs / SHARES[per_class])
        recipe = replace(
            recipe, data=replace(recipe.data, fraction=SHARES[per_class]), loop=replace(recipe.loop, epochs=epochs)
        )
        return Cell(f"{family}-{per_class}", factors, recipe, family)
    steps = SEEN[scale] // BATCH[scale]
    epochs = max(1, round(SEEN[scale] / (10 * per_class)))
    size = Size(per_class, epochs, BATCH[scale], TESTED[scale])
    recipe = classify_cifar(name, model_of(family), size)
    an_epoch = 10 * per_class // BATCH[scale]
    epochs = -(-steps // an_epoch)  # rounded up; what is too much is cut off
    loop = replace(recipe.loop, epochs=epochs, max_steps=steps, evaluate_every=epochs)
    optimize = replace(recipe.optimize, warmup_epochs=steps / an_epoch / 10)
    return Cell(f"{family}-{per_class}", factors, replace(recipe, loop=loop, optimize=optimize), family)


def as_grid(results: Results) -> list[Table]:
    """Top-1 of every family by the number of images."""
    rows = []
    for family in FAMILIES:
        scores = [results.of(f"{family}-{per_class}") for per_class in PER_CLASS]
        if any(scores):
            rows.append([title_of(family), *(f"{100 * one.mean:.1f}" if one else "" for one in scores)])
    columns = ["family", *(f"{per_class:,} a class" for per_class in PER_CLASS)]
    return [Table("Top-1 by images a class, %", columns, rows)] if rows else []
