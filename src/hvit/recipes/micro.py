"""Our own small runs, for a CPU: classifiers of digits, CIFAR-10 and photos, masked pretraining, and clips.

The classifiers of one data set differ in the model alone, so that families can be compared; the learning rate was
chosen for NesT. The ViT and the ResNet are baselines of about as many parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvit.data.augment_settings import AugmentConfig
from hvit.data.clips.moving_digits import MovingDigitsData
from hvit.data.clips.settings import ClipData
from hvit.data.open import CifarData, DigitsData, FashionData, FolderData
from hvit.models.baselines import RESNET_SIZES, VIT_SIZES
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.nest.config import NEST_SIZES
from hvit.recipe import Recipe
from hvit.recipes.named import RUN_HERE, TWO_STEPS, Named, named
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

_OPTIMIZER = OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=2, clip_norm=1.0)
_MAE_OPTIMIZER = replace(_OPTIMIZER, betas=(0.9, 0.95), no_decay="positions_and_vectors")

NEST = {
    "digits": Recipe(
        name="nest_micro_digits",
        summary="A small NesT on real handwritten digits",
        model=replace(NEST_SIZES["nest_micro_32"], in_channels=1),
        data=DigitsData(),
        optimize=replace(_OPTIMIZER, learning_rate_per_256=8e-3),
        loop=LoopConfig(epochs=24, batch_size=64, evaluate_every=4, workers=0),
    ),
    "cifar10": Recipe(
        name="nest_micro_cifar10",
        summary="A small NesT on CIFAR-10",
        model=NEST_SIZES["nest_micro_32"],
        data=CifarData(kind="cifar10"),
        augment=AugmentConfig(crop="pad", flip=0.5, label_smoothing=0.1),
        optimize=_OPTIMIZER,
        loop=LoopConfig(epochs=30, batch_size=128),
    ),
    "fashion": Recipe(
        name="nest_micro_fashion",
        summary="A small NesT on Fashion-MNIST",
        model=replace(NEST_SIZES["nest_micro_32"], in_channels=1),
        data=FashionData(),
        augment=AugmentConfig(crop="pad", flip=0.5, label_smoothing=0.1),
        optimize=_OPTIMIZER,
        loop=LoopConfig(epochs=10, batch_size=128),
    ),
    "folder": Recipe(
        name="nest_micro_folder",
        summary="A small NesT on a folder of photos",
        model=replace(NEST_SIZES["nest_micro_64"], num_classes=None),
        data=FolderData(),
        augment=AugmentConfig(crop="resized", area=(0.25, 1.0), flip=0.5, color_jitter=0.3, label_smoothing=0.1),
        optimize=_OPTIMIZER,
        loop=LoopConfig(epochs=40, batch_size=64, evaluate_every=4),
        crop=0.875,
    ),
}
"""NesT's run on each data set; every other family has it with its own model."""
SIZES = NEST_SIZES | VIT_SIZES | RESNET_SIZES | MVIT_SIZES | HIERA_SIZES


@dataclass(frozen=True)
class Classifier:
    """A family on a data set, and what came of it."""

    family: str
    data: str
    claim: str
    cost: str
    expected: str
    run_here: str


VIT, RESNET = "the parameter-matched baseline for NesT", "the convolutional baseline for NesT and its explanations"
FAMILIES = "trains on the same images in the same way as nest_micro_{}, to compare the families"
BELOW = "below nest_micro_{} after the same number of epochs"
FOR_NEST = "the learning rate was chosen for NesT"
NO_SCORE, PHOTOS = "no published score at this size", "depends on the photos"
SUBSET, TWO_EPOCHS = "on a subset", "2 epochs of a subset"

CLASSIFIERS = (
    Classifier("nest", "digits", "a hierarchical transformer trains on 1,350 scans in CPU minutes, and its tree shows "
               "where it looked", "1.5 to 2 minutes on 2 CPU cores", "at least 98 % on held-out digits; GradCAT finds "
               "the quadrant of at least 97 % of the digits in mosaics", RUN_HERE),
    Classifier("vit", "digits", VIT, "about 2.5 minutes on 2 CPU cores", BELOW, RUN_HERE),
    Classifier("resnet", "digits", RESNET, "about twice as long as nest_micro_digits, by the rates on one core each",
               f"98.9 % on held-out digits, as nest_micro_digits; {FOR_NEST}", RUN_HERE),
    Classifier("hiera", "digits", "trains on the same canvases in the same way, to compare families and explanations",
               "not timed on a quiet machine; 0.7 times the multiply-adds of nest_micro_digits",
               f"80 to 89 % on held-out digits, 90 % of quadrants in mosaics; {FOR_NEST}", RUN_HERE),
    Classifier("nest", "cifar10", "at equal parameters and epochs NesT learns faster than a plain ViT",
               "about 2 minutes an epoch on 2 CPU cores, from the rate on a subset", NO_SCORE, SUBSET),
    Classifier("vit", "cifar10", VIT, "about 2.5 minutes an epoch on 2 CPU cores, from the rate on a subset", BELOW,
               SUBSET),
    Classifier("resnet", "cifar10", RESNET, "not measured; about 1.8 times the multiply-adds of nest_micro_cifar10",
               f"not measured; {FOR_NEST}", TWO_STEPS),
    Classifier("mvitv2", "cifar10", FAMILIES, "not measured", f"not measured; {NO_SCORE}", TWO_EPOCHS),
    Classifier("hiera", "cifar10", FAMILIES, "not measured", f"not measured; {NO_SCORE}", TWO_EPOCHS),
    Classifier("nest", "fashion", "small grey pictures, for checks that take minutes", "not measured", NO_SCORE,
               TWO_STEPS),
    Classifier("nest", "folder", "a folder of labelled photos becomes a classifier that explains itself, on any "
               "computer", "about 3 minutes for a thousand photos on 2 CPU cores",
               f"{PHOTOS}; for few photos start from published weights with a larger recipe", RUN_HERE),
    Classifier("vit", "folder", VIT, "about 3 minutes for a thousand photos on 2 CPU cores", BELOW, TWO_STEPS),
    Classifier("mvitv2", "folder", FAMILIES, "not measured", f"not measured; {PHOTOS}", TWO_EPOCHS),
    Classifier("hiera", "folder", FAMILIES, "not measured", f"not measured; {PHOTOS}", TWO_EPOCHS),
)  # fmt: skip
TITLES = {"nest": "A small NesT", "mvitv2": "A small MViTv2", "hiera": "A small Hiera", "vit": "A plain ViT",
          "resnet": "A ResNet"}  # fmt: skip


def _classifier(row: Classifier) -> Named:
    nest = NEST[row.data]
    baseline = f", a baseline for {nest.name}" if row.family in ("vit", "resnet") else ""
    model = SIZES[f"{row.family}_micro_{nest.model.input_size[-1]}"]
    recipe = replace(
        nest,
        name=f"{row.family}_micro_{row.data}",
        summary=nest.summary.replace(TITLES["nest"], TITLES[row.family]) + baseline,
        model=replace(model, in_channels=nest.model.in_channels, num_classes=nest.model.num_classes),
    )
    return named(
        recipe,
        claim=row.claim.format(row.data),
        cost=row.cost,
        expected=row.expected.format(row.data),
        options="" if row.data == "digits" else "--data.root DIR",
        run_here=row.run_here,
    )


_CLASSIFIERS = {one.recipe.name: one for one in map(_classifier, CLASSIFIERS)}
_MAE_CIFAR10 = Recipe(
    name="hiera_micro_mae_cifar10",
    summary="Masked pretraining of a small Hiera on CIFAR-10",
    model=MASKED_SIZES["mae_hiera_micro_32"],
    data=CifarData(kind="cifar10"),
    augment=AugmentConfig(crop="resized", area=(0.2, 1.0), flip=0.5),
    optimize=replace(_MAE_OPTIMIZER, learning_rate_per_256=2e-3, warmup_epochs=4),
    loop=LoopConfig(epochs=40, batch_size=128, evaluate_every=5),
)
_MAE_VIT = replace(
    _MAE_CIFAR10,
    name="vit_micro_mae_cifar10",
    summary="Masked pretraining of a small plain ViT on CIFAR-10",
    model=MASKED_SIZES["mae_vit_micro_32"],
)
_MASKFEAT = replace(
    _MAE_CIFAR10,
    name="mvitv2_micro_maskfeat_cifar10",
    summary="MaskFeat: a small MViTv2 predicts HOG of masked parts of CIFAR-10",
    model=MASKED_SIZES["maskfeat_mvitv2_micro_32"],
)
_MAE_FOLDER = replace(
    _MAE_CIFAR10,
    name="hiera_micro_mae_folder",
    summary="Masked pretraining of a small Hiera on a folder of photos",
    model=MASKED_SIZES["mae_hiera_micro_64"],
    data=FolderData(labels="auto"),
    loop=LoopConfig(epochs=100, batch_size=64, evaluate_every=10),
)
_MOVING_DIGITS = Recipe(
    name="hiera_micro_moving_digits",
    summary="A small Hiera on moving digits: the label is the motion",
    model=replace(
        HIERA_SIZES["hiera_micro_16x64"], input_size=(8, 32, 32), in_channels=1, num_classes=4, patch_size=(1, 4, 4),
        patch_kernel=(3, 7, 7), unit_size=(1, 4, 4),
    ),
    data=MovingDigitsData(),
    optimize=replace(_OPTIMIZER, warmup_epochs=1),
    loop=LoopConfig(epochs=8, batch_size=64),
)  # fmt: skip
_CLIPS = Recipe(
    name="hiera_micro_actions",
    summary="A small Hiera on a folder of short clips",
    model=replace(HIERA_SIZES["hiera_micro_16x64"], num_classes=None),
    data=ClipData(stride=2, temporal_views=2),
    augment=AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5, label_smoothing=0.1),
    optimize=replace(_OPTIMIZER, warmup_epochs=4),
    loop=LoopConfig(epochs=60, batch_size=16, repeats=2, evaluate_every=10),
    crop=0.875,
)
_MAE_CLIPS = Recipe(
    name="hiera_micro_mae_clips",
    summary="Masked pretraining of a small Hiera on a folder of clips",
    model=MASKED_SIZES["mae_hiera_micro_16x64"],
    data=ClipData(stride=2, labels="auto"),
    augment=AugmentConfig(crop="resized", area=(0.5, 1.0), flip=0.5),
    optimize=replace(_MAE_OPTIMIZER, warmup_epochs=10),
    loop=LoopConfig(epochs=200, batch_size=16, repeats=4, evaluate_every=50),
    crop=0.875,
)


MASKED_SOURCE = "ours, after arXiv 2306.00989, Table 14"


def _finetuned(pretraining: Recipe, **said: str) -> Named:
    """The classifier's run, started from the weights of a pretraining run, for a third of the epochs."""
    family, data = pretraining.name.split("_")[0], pretraining.name.rpartition("_")[2]
    usual, weights = _CLASSIFIERS[f"{family}_micro_{data}"].recipe, f"runs/{pretraining.name}"
    optimize = replace(usual.optimize, learning_rate_per_256=2e-3, layer_decay=0.8, no_decay="positions_and_vectors")
    recipe = replace(
        usual,
        name=f"{usual.name}_finetune",
        summary=f"{usual.summary.partition(', a baseline')[0]}, starting from its masked pretraining",
        optimize=optimize,
        loop=replace(usual.loop, epochs=usual.loop.epochs // 3),
        weights=weights,
    )
    return named(recipe, source=MASKED_SOURCE, options=f"--weights {weights} --data.root DIR", **said)


RECIPES = (
    *_CLASSIFIERS.values(),
    named(
        _MAE_CIFAR10,
        claim="an encoder is pretrained without labels, for a classifier with few labels to start from",
        cost="about 3 minutes an epoch on one CPU core",
        expected=NO_SCORE,
        source=MASKED_SOURCE,
        run_here="2 of its 40 epochs",
    ),
    _finetuned(
        _MAE_CIFAR10,
        claim="better than random initialisation at the same budget with 50 labels a class, worse with 500 and a small "
        "budget",
        cost="not measured with all labels",
        expected=NO_SCORE,
        run_here="50 and 500 a class",
    ),
    named(
        _MAE_FOLDER,
        claim="as hiera_micro_mae_cifar10, on photos of your own",
        cost="not measured",
        expected=PHOTOS,
        source=MASKED_SOURCE,
    ),
    _finetuned(
        _MAE_FOLDER,
        claim="as hiera_micro_cifar10_finetune, on photos of your own",
        cost="not measured",
        expected=PHOTOS,
    ),
    named(
        _MAE_VIT,
        claim="what hiera_micro_mae_cifar10 is compared with: the same pretraining of a plain ViT",
        cost="not measured",
        expected=NO_SCORE,
        source="ours, after arXiv 2111.06377",
    ),
    _finetuned(
        _MAE_VIT,
        claim="as hiera_micro_cifar10_finetune, of a plain ViT",
        cost="not measured",
        expected=NO_SCORE,
    ),
    named(
        _MASKFEAT,
        claim="histograms of gradients as the target, predicted by one linear layer, with all tokens encoded",
        cost="not measured",
        expected=NO_SCORE,
        source="ours, after arXiv 2112.09133",
    ),
    _finetuned(
        _MASKFEAT,
        claim="as hiera_micro_cifar10_finetune, of MViTv2 after MaskFeat",
        cost="not measured",
        expected=NO_SCORE,
    ),
    named(
        _MOVING_DIGITS,
        claim="the model uses the order of the frames: with shuffled frames no more than chance (25 %) is left",
        cost="10 minutes on one busy CPU core; 95 % are passed in the second of eight epochs",
        expected="at least 95 % of held-out clips; here 100 % of 400, and 21 and 23 % with shuffled frames",
        run_here=RUN_HERE,
        options="",
    ),
    named(
        _CLIPS,
        claim="a folder of clips becomes a classifier on any computer",
        cost="2 minutes for 48 short clips on one CPU core",
        expected="depends on the clips",
        run_here="on 48 clips",
    ),
    named(
        _MAE_CLIPS,
        claim="an encoder is pretrained without labels, for hiera_micro_actions to start from (--weights)",
        cost="not measured",
        expected="depends on the clips",
        source="ours, after arXiv 2306.00989, Table 11",
        run_here="on 48 clips",
    ),
)
