"""What training loses without its augmentation: NesT against a ViT trained as DeiT (the authors' talk)."""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment_settings import nest_cifar_augment
from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName, Table
from hvit.experiments.results import Results
from hvit.experiments.settings import MODELS, TITLES, Size, classify_cifar, on_imagenet
from hvit.models.baselines import VitConfig
from hvit.models.catalogue import ModelConfig
from hvit.models.nest.config import NEST_SIZES

HEADER = Header(
    title="Removing augmentation",
    claim="NesT hardly depends on augmentation, DeiT does",
    published="ImageNet, DeiT-B and NesT-T: all 81.8 and 81.5 %; without random erasing 4.3 and 81.4; without "
    "RandAugment 79.6 and 81.2; without cutmix and mixup 75.8 and 79.8",
    refuted_by="removing an augmentation costs NesT as much as it costs the ViT",
    cost="small: 8 cells of 80,000 images, 9 minutes a run, 1.2 hours a seed; quick: 16,000 images, 2 minutes a run, "
    "16 minutes a seed; published: 300 epochs of ImageNet for every cell",
)
SIZES = {"small": Size(800, 10), "quick": Size(400, 4, 64, 500)}
REMOVED: dict[str, tuple[str, dict[str, float | str]]] = {
    "none": ("none", {}),
    "erasing": ("random erasing", {"erasing": 0.0}),
    "randaugment": ("RandAugment", {"rand_augment": ""}),
    "mixing": ("mixup and cutmix", {"mixup": 0.0, "cutmix": 0.0}),
}


def augmentation(scale: ScaleName) -> Experiment:
    """Full augmentation and three that lack one part, each removed from the full one, for NesT and a ViT."""
    vit = VitConfig(dims=(768,), heads=(12,), drop_path=0.1)
    full: dict[str, ModelConfig] = {"nest": NEST_SIZES["nest_tiny_224"], "vit": vit}
    cells = []
    for family in ("nest", "vit"):
        for name, (title, changes) in REMOVED.items():
            if scale == "published":
                recipe = on_imagenet(f"augmentation_{family}_{name}", full[family])
                recipe = replace(recipe, augment=replace(recipe.augment, **changes))
            else:
                augment = replace(nest_cifar_augment(), **changes)
                recipe = classify_cifar(f"augmentation_{family}_{name}", MODELS[family], SIZES[scale], augment)
            model = TITLES[family] if scale != "published" else {"nest": "NesT-T", "vit": "DeiT-B"}[family]
            cells.append(Cell(f"{family}-{name}", {"model": model, "removed": title}, recipe, family))
    claims = [
        Claim(f"Without {title} NesT loses less than the ViT", (f"nest-{name}",), ("nest-none",),
              than=((f"vit-{name}",), ("vit-none",))) for name, (title, _) in REMOVED.items() if name != "none"
    ]  # fmt: skip
    claims += [
        Claim(f"Without {title} NesT loses at most 2 points", (f"nest-{name}",), ("nest-none",), margin=0.02)
        for name, (title, _) in REMOVED.items()
        if name != "none"
    ]
    return Experiment("augmentation", HEADER, tuple(cells), tuple(claims), reference="nest-none", further=losses)


def losses(results: Results) -> list[Table]:
    """What the removal of each part costs both models, in points."""
    rows = []
    for name, (title, _) in REMOVED.items():
        row = [title]
        for family in ("nest", "vit"):
            found = results.difference({f"{family}-{name}": 1.0, f"{family}-none": -1.0}) if name != "none" else None
            row.append(f"{100 * found.mean:+.1f}" if found else "")
        if any(row[1:]):
            rows.append(row)
    return [Table("Change when it is removed, points", ["removed", "NesT", "ViT"], rows)] if rows else []
