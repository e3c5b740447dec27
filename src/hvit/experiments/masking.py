"""What masked pretraining predicts, how much is masked, and how a hierarchy skips it (arXiv 2306.00989, Table 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from hvit.experiments.experiment import TOP1, Cell, Claim, Experiment, Header, Measure, Pretraining, ScaleName
from hvit.experiments.settings import IMAGENET, MODELS, Size, classify_cifar
from hvit.experiments.simplification import finetuned, masked_pretraining, plain_vit_pretraining
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES, MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.mvit.simplification import SIMPLIFIED, Step, simplify
from hvit.recipes import get_recipe

HEADER = Header(
    title="Masked pretraining: target, ratio, strategy",
    claim="normalised pixels are as good a target as HOG; masking 60 % of an image is best; kernels equal to strides "
    "lose nothing against padded or dense encoding",
    published="Hiera-L on ImageNet: 85.5, 85.6, 85.3 % with 50, 60, 70 % masked; 85.6 with pixels, 85.7 with HOG "
    "(arXiv 2306.00989, Table 3); of the strategies the talk names the costs: dense very slow, padded with overhead",
    refuted_by="another target or ratio is more than a point better after fine-tuning",
    cost="small: 10 cells of 160,000 images pretrained and 25,000 fine-tuned, 11 minutes a cell, 1.7 hours a seed; "
    "quick: 16,000 and 10,000 images, 15 minutes a seed; published: 400 epochs of ImageNet for every cell",
)
PRETRAINED = {"small": Size(2_000, 8, 128, 100), "quick": Size(400, 4, 64, 100)}
TUNED = {"small": Size(500, 5, 128), "quick": Size(500, 2, 64, 500)}
CELLS: tuple[tuple[str, str, float, Step], ...] = (
    # target, ratio and strategy; the first is what the others are compared with
    ("normalised-0.6", "normalised_pixels", 0.6, "f"),
    ("pixels-0.6", "pixels", 0.6, "f"),
    ("hog-0.6", "hog", 0.6, "f"),
    ("normalised-0.4", "normalised_pixels", 0.4, "f"),
    ("normalised-0.75", "normalised_pixels", 0.75, "f"),
    ("normalised-0.9", "normalised_pixels", 0.9, "f"),
    ("dense-0.6", "normalised_pixels", 0.6, "0"),
    ("padded-0.6", "normalised_pixels", 0.6, "c"),
    ("stride-0.6", "normalised_pixels", 0.6, "d"),
)
STRATEGIES = {
    "f": "Hiera",
    "0": "dense (MViTv2)",
    "c": "separate and pad (MViTv2, step c)",
    "d": "kernel = stride (MViTv2, step d)",
}
TARGETS = {"normalised_pixels": "normalised pixels", "pixels": "pixels", "hog": "HOG"}


def masking(scale: ScaleName) -> Experiment:
    """Three targets and four ratios on Hiera, and three strategies on MViTv2 and two of its steps to Hiera."""
    cells = []
    for name, target, ratio, step in CELLS:
        changes: dict[str, str | float] = {
            "target": target, "mask_ratio": ratio, "encoding": "dense" if step == "0" else "sparse"
        }  # fmt: skip
        if scale == "published":
            before = get_recipe("hiera_base_imagenet_mae")
            masked = cast(MaskedConfig, before.model)
            encoder = masked.encoder if step == "f" else SIMPLIFIED[f"mvitv2_base_224_step_{step}"]
            before = replace(
                before,
                name=f"masking_{name}",
                model=replace(masked, encoder=encoder, **changes),
                data=replace(before.data, root=IMAGENET),
            )
            after = get_recipe("hiera_base_imagenet_finetune")
            after = replace(
                after, name=f"masking_{name}_finetune", data=replace(after.data, root=IMAGENET),
                model=after.model if step == "f" else encoder,
            )  # fmt: skip
        else:
            encoder = HIERA_SIZES["hiera_micro_32"] if step == "f" else simplify(MVIT_SIZES["mvitv2_micro_32"], step)
            model = replace(MASKED_SIZES["mae_hiera_micro_32"], encoder=encoder, **changes)
            before = masked_pretraining(f"masking_{name}", model, PRETRAINED[scale])
            after = finetuned(classify_cifar(f"masking_{name}_finetune", encoder, TUNED[scale]))
        factors = {"target": TARGETS[target], "masked": f"{100 * ratio:g} %", "strategy": STRATEGIES[step]}
        cells.append(Cell(name, factors, after, pretraining=Pretraining(name, before)))
    cells.append(_plain_vit(scale))
    reference = CELLS[0][0]
    claims = [
        Claim("Normalised pixels are better than plain ones", (reference,), ("pixels-0.6",)),
        Claim("Normalised pixels are at most a point below HOG", (reference,), ("hog-0.6",), margin=0.01),
        *(Claim(f"Masking 60 % is at most a point below masking {100 * ratio:g} %", (reference,),
                (f"normalised-{ratio}",), margin=0.01) for ratio in (0.4, 0.75, 0.9)),
        Claim("Kernels equal to strides are at most a point below padded kernels", ("stride-0.6",), ("padded-0.6",),
              margin=0.01),
        Claim("Kernels equal to strides are at most a point below dense encoding", ("stride-0.6",), ("dense-0.6",),
              margin=0.01),
    ]  # fmt: skip
    claims.append(Claim("Hiera is more accurate than a plain ViT pretrained as MAE's paper has it", (reference,),
                        ("vit-0.75",)))  # fmt: skip
    measures = (
        Measure(TOP1.key, "fine-tuned"),
        Measure("linear_probe", "linear probe", "pretraining"),
        Measure("nearest_neighbours", "nearest neighbours", "pretraining"),
    )
    return Experiment("masking", HEADER, tuple(cells), tuple(claims), reference=reference, measures=measures)


def _plain_vit(scale: ScaleName) -> Cell:
    """What Hiera is compared with, too: a plain ViT, whose visible tokens alone are encoded."""
    if scale == "published":
        after = get_recipe("vit_base_imagenet_mae_finetune")
        after = replace(
            after, name="masking_vit_finetune", weights=None, data=replace(after.data, root=IMAGENET)
        )  # fmt: skip
    else:
        after = finetuned(classify_cifar("masking_vit_finetune", MODELS["vit"], TUNED[scale]))
    factors = {"target": TARGETS["normalised_pixels"], "masked": "75 %", "strategy": "token by token (plain ViT)"}
    before = plain_vit_pretraining("masking_vit", scale)
    return Cell("vit-0.75", factors, after, pretraining=Pretraining("vit", before))
