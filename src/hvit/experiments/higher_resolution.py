"""Pretraining on many images, then fine-tuning at a higher resolution: how position embeddings are resized."""

from __future__ import annotations

from dataclasses import replace

from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import FolderData
from hvit.experiments.experiment import Cell, Claim, Experiment, Header, Pretraining, ScaleName
from hvit.experiments.settings import IMAGENET, MODELS, PHOTOS, SUMMARY, Size, classify_cifar
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

HEADER = Header(
    title="Pretraining, then a higher resolution",
    claim="a NesT that was pretrained on more images is fine-tuned at a higher resolution with its positions resized",
    published="ImageNet with ImageNet-22K pretraining: NesT-B 86.2, Swin-B 86.0, ViT-B/16 84.0 % (talk); NesT-B "
    "without it 83.8; epochs, rates and resolutions are in no seed",
    refuted_by="fine-tuning is no better than random initialisation, or resized positions no better than new ones",
    cost="small: 500,000 images of CIFAR-10 pretrained and 4 x 40,000 of the photos, 66 minutes a seed; quick: 40,000 "
    "and 4 x 10,000, 5 minutes a seed; published: 90 epochs of ImageNet-22K, 30 of ImageNet at 384",
)
PRETRAINED = {"small": Size(None, 10, 128), "quick": Size(1_000, 4, 64, 100)}
EPOCHS, BATCH = {"small": 40, "quick": 10}, {"small": 64, "quick": 32}
STARTS = {
    "random": "random initialisation",
    "block": "pretrained, positions resized in every block",
    "plane": "pretrained, positions resized on the whole image",
}


def higher_resolution(scale: ScaleName) -> Experiment:
    """NesT from CIFAR-10 at 32 pixels to ten classes of photos at 64; at full scale from ImageNet-22K to 384."""
    if scale == "published":
        before = get_recipe("nest_base_imagenet22k")
        before = replace(before, data=replace(before.data, root="imagenet22k"))
        after = get_recipe("nest_base_imagenet_384")
        after = replace(after, data=replace(after.data, root=IMAGENET), weights=None)
    else:
        before = classify_cifar("resolution_pretraining", MODELS["nest"], PRETRAINED[scale])
        after = Recipe(
            name="resolution",
            summary=SUMMARY,
            model=replace(MODELS["nest"], input_size=(64, 64)),
            data=FolderData(root=PHOTOS),
            augment=AugmentConfig(crop="resized", area=(0.25, 1.0), flip=0.5, color_jitter=0.3, label_smoothing=0.1),
            optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=EPOCHS[scale] / 10, clip_norm=1.0),
            loop=LoopConfig(epochs=EPOCHS[scale], batch_size=BATCH[scale], evaluate_every=EPOCHS[scale], workers=0),
            crop=0.875,
        )
    pretraining = Pretraining("supervised", before, family="nest")
    cells = [Cell("random", {"start": STARTS["random"]}, after)]
    for how in ("block", "plane"):
        recipe = replace(after, position_resize=how)
        cells.append(Cell(how, {"start": STARTS[how]}, recipe, pretraining=pretraining))
    claims = (
        Claim("Pretraining and a higher resolution are better than random initialisation", ("block",), ("random",)),
        Claim("Positions resized in every block are better than positions resized on the whole image", ("block",),
              ("plane",)),
    )  # fmt: skip
    return Experiment("higher_resolution", HEADER, tuple(cells), claims, reference="random", seeds=3)
