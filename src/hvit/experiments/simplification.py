"""Whether masked pretraining makes up for MViTv2's spatial bias, step by step to Hiera (arXiv 2306.00989, Table 1)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import CifarData
from hvit.experiments.experiment import Cell, Claim, Experiment, Header, Pretraining, ScaleName, Table
from hvit.experiments.results import Results
from hvit.experiments.settings import CIFAR, IMAGENET, MODELS, SUMMARY, Size, classify_cifar, on_imagenet
from hvit.models.masked.config import MASKED_SIZES, EncoderConfig, MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.mvit.simplification import SIMPLIFIED, STEPS, simplify
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

HEADER = Header(
    title="From MViTv2 to Hiera",
    claim="with masked pretraining each simplification (a to f) loses nothing, and the model gets faster; without "
    "pretraining it loses accuracy",
    published="ImageNet top-1 and images/s, large size: MViTv2-L supervised 85.3 % at 219.8; with MAE a 85.6 at 253.3, "
    "b 84.4 at 99.9, c 85.4 at 309.2, d 85.7 at 369.8, e 85.6 at 374.3, f (Hiera-L) 85.6 at 531.4; Kinetics-400: 80.5 "
    "supervised, 85.3, 84.1, 84.3, 85.5, 85.5, 85.5 with MAE (talk)",
    refuted_by="the last step after pretraining and fine-tuning is more than a point below step 0, or no faster",
    cost="small: 7 steps and a ViT x (160,000 images pretrained at 301, 25,000 fine-tuned and 50,000 supervised at 220 "
    "per core-second), 14 minutes a step, 1.9 hours a seed; quick: 16,000, 10,000 and 15,000 images, 23 minutes a "
    "seed; published: 400 epochs of masked pretraining on ImageNet for every step",
)
PRETRAINED = {"small": Size(2_000, 8, 128, 100), "quick": Size(400, 4, 64, 100)}
TUNED = {"small": Size(500, 5, 128), "quick": Size(500, 2, 64, 500)}
SUPERVISED = {"small": Size(500, 10, 128), "quick": Size(500, 3, 64, 500)}
STRONGER = AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5)
MARGIN = 0.01


def masked_pretraining(name: str, model: MaskedConfig, size: Size) -> Recipe:
    """Masked pretraining on CIFAR-10 as hiera_micro_mae_cifar10 has it, at its learning rate."""
    return Recipe(
        name=name,
        summary=SUMMARY,
        model=model,
        data=CifarData(root=CIFAR, num_per_class=size.per_class, held_out_per_class=size.tested),
        augment=STRONGER,
        optimize=OptimizeConfig(
            learning_rate_per_256=2e-3, warmup_epochs=size.epochs / 10, clip_norm=1.0, betas=(0.9, 0.95),
            no_decay="positions_and_vectors",
        ),
        loop=LoopConfig(epochs=size.epochs, batch_size=size.batch_size, evaluate_every=size.epochs, workers=0),
    )  # fmt: skip


def finetuned(recipe: Recipe) -> Recipe:
    """The same classifier, to start from masked pretraining: a lower rate, which falls from layer to layer."""
    optimize = replace(recipe.optimize, learning_rate_per_256=2e-3, layer_decay=0.8, no_decay="positions_and_vectors")
    return replace(recipe, optimize=optimize)


def simplification(scale: ScaleName) -> Experiment:
    """Every step supervised, and pretrained and then fine-tuned on 500 labels a class."""
    supervised, tuned = [], []
    for step in STEPS:
        family = "hiera" if step == "f" else "mvitv2"
        if scale == "published":
            model = SIMPLIFIED[f"mvitv2_base_224_step_{step}"]
            plain = on_imagenet(f"simplification_{step}", model, like="hiera_base_imagenet_finetune")
            plain = replace(plain, weights=None)
            before = get_recipe("hiera_base_imagenet_mae")
            masked = _masked(cast(MaskedConfig, before.model), model, step)
            before = replace(before, model=masked, data=replace(before.data, root=IMAGENET))
            after = plain
        else:
            model = simplify(MVIT_SIZES["mvitv2_micro_32"], step)
            plain = classify_cifar(f"simplification_{step}", model, SUPERVISED[scale])
            masked = _masked(MASKED_SIZES["mae_hiera_micro_32"], model, step)
            before = masked_pretraining(f"simplification_{step}_mae", masked, PRETRAINED[scale])
            after = finetuned(classify_cifar(f"simplification_{step}_finetune", model, TUNED[scale]))
        factors = {"step": step, "what changes": WHAT[step]}
        supervised.append(Cell(f"{step}-supervised", {**factors, "trained": "supervised"}, plain, family))
        pretraining = Pretraining(step, before)
        tuned.append(Cell(f"{step}-mae", {**factors, "trained": "MAE"}, after, pretraining=pretraining))
    claims = [
        Claim(f"With MAE, step {step} loses nothing against step 0", (f"{step}-mae",), ("0-mae",), margin=MARGIN)
        for step in STEPS[1:]
    ]
    claims += [
        Claim("Without pretraining the last step (f) loses accuracy", ("0-supervised",), ("f-supervised",)),
        Claim("From 0 to f less is lost with MAE than without", ("f-mae",), ("0-mae",),
              than=(("f-supervised",), ("0-supervised",))),
    ]  # fmt: skip
    cells = (*(one for pair in zip(supervised, tuned, strict=True) for one in pair), *_plain_vit(scale))
    claims.append(Claim("With MAE, the last step (f) is better than a plain ViT", ("f-mae",), ("vit-mae",)))
    return Experiment("simplification", HEADER, cells, tuple(claims), reference="0-mae", further=speeds)


def _plain_vit(scale: ScaleName) -> tuple[Cell, Cell]:
    """What Hiera is compared with, too: a plain ViT, supervised, and pretrained as the paper of MAE has it."""
    before = plain_vit_pretraining("simplification_vit_mae", scale)
    if scale == "published":
        after = get_recipe("vit_base_imagenet_mae_finetune")
        after = replace(after, weights=None, data=replace(after.data, root=IMAGENET))
        plain = replace(after, name="simplification_vit")
    else:
        plain = classify_cifar("simplification_vit", MODELS["vit"], SUPERVISED[scale])
        after = finetuned(classify_cifar("simplification_vit_finetune", MODELS["vit"], TUNED[scale]))
    factors = {"step": "ViT", "what changes": "no hierarchy"}
    return (
        Cell("vit-supervised", {**factors, "trained": "supervised"}, plain, "vit"),
        Cell("vit-mae", {**factors, "trained": "MAE"}, after, pretraining=Pretraining("vit", before)),
    )


def plain_vit_pretraining(name: str, scale: ScaleName) -> Recipe:
    """Masked pretraining of a plain ViT, three quarters of whose tokens are masked."""
    if scale != "published":
        return masked_pretraining(name, MASKED_SIZES["mae_vit_micro_32"], PRETRAINED[scale])
    recipe = get_recipe("vit_base_imagenet_mae")
    return replace(recipe, name=name, data=replace(recipe.data, root=IMAGENET))


WHAT = {
    "0": "MViTv2",
    "a": "absolute positions, pooling inside units",
    "b": "max-pools for convolutions",
    "c": "no max-pool of stride 1",
    "d": "kernels equal strides",
    "e": "no residual queries",
    "f": "attention in units: Hiera",
}


def _masked(like: MaskedConfig, encoder: EncoderConfig, step: str) -> MaskedConfig:
    """Pretraining of a step; of step 0, whose pooling crosses mask units, masked tokens are encoded as learned ones."""
    return replace(like, encoder=encoder, encoding="dense" if step == "0" else "sparse")


def speeds(results: Results) -> list[Table]:
    """Training images per second of every step, supervised and in masked pretraining."""
    rows = []
    first: dict[str, float] = {}
    for step in STEPS:
        found = results.of(f"{step}-supervised")
        pretraining = results.speed_of_pretraining(f"{step}-mae")
        if found is None or pretraining is None:
            continue
        first = first or {"supervised": found.speed, "pretraining": pretraining}
        rows.append([step, f"{found.speed:.0f}", f"{found.speed / first['supervised']:.2f}", f"{pretraining:.0f}",
                     f"{pretraining / first['pretraining']:.2f}"])  # fmt: skip
    columns = ["step", "supervised, images/s", "relative", "pretraining, images/s", "relative"]
    return [Table("Speed of training", columns, rows)] if rows else []
