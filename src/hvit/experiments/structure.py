"""Patch size, depth and structure of NesT (arXiv 2105.12723, its ablation of these)."""

from __future__ import annotations

from dataclasses import replace

from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName
from hvit.experiments.settings import Size, classify_cifar, on_imagenet
from hvit.models.nest.config import NEST_SIZES

HEADER = Header(
    title="Patch size, depth and structure of NesT",
    claim="small patches help at small images; depth belongs at the top of the tree",
    published="a heading of the third seed; its numbers are in no seed",
    refuted_by="4x4 patches are as good as 2x2, or layers at the bottom as good as at the top",
    cost="small: 5 cells of 80,000 images at 35 (1x1 patches) to 790 (4x4) per core-second, 1.3 hours a seed; quick: "
    "16,000 images, 15 minutes a seed; published: 300 epochs of ImageNet for every cell",
)
SIZES = {"small": Size(800, 10), "quick": Size(400, 4, 64, 500)}
CELLS = (
    ("patch2", 2, (1, 1, 2)),
    ("patch1", 1, (1, 1, 2)),
    ("patch4", 4, (1, 1, 2)),
    ("depth222", 2, (2, 2, 2)),
    ("depth114", 2, (1, 1, 4)),
)


def structure(scale: ScaleName) -> Experiment:
    """Three patch sizes and three ways to place layers."""
    cells = []
    for name, patch, depths in CELLS:
        if scale == "published":
            full = tuple(depth * 2 for depth in depths)
            model = replace(NEST_SIZES["nest_tiny_224"], patch_size=(2 * patch, 2 * patch), depths=full)
            recipe = on_imagenet(f"structure_{name}", model)
        else:
            model = replace(NEST_SIZES["nest_micro_32"], patch_size=(patch, patch), depths=depths)
            recipe = classify_cifar(f"structure_{name}", model, SIZES[scale])
        patches = model.patch_size[0]
        layers = "-".join(map(str, model.depths))
        cells.append(Cell(name, {"patches": f"{patches}x{patches}", "layers": layers}, recipe, family="nest"))
    claims = (
        Claim("2x2 patches are better than 4x4", ("patch2",), ("patch4",)),
        Claim("1x1 patches are better than 2x2", ("patch1",), ("patch2",)),
        Claim("Two more layers are better at the top than at the bottom", ("depth114",), ("depth222",)),
    )
    return Experiment("structure", HEADER, tuple(cells), claims, reference="patch2")
