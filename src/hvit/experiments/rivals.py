"""NesT and its rivals at equal parameters, trained alike (the tables of all seeds that compare families)."""

from __future__ import annotations

from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName
from hvit.experiments.settings import Size, classify_cifar, model_of, on_imagenet, title_of
from hvit.models.catalogue import ModelConfig

HEADER = Header(
    title="Rivals at equal parameters",
    claim="NesT is more accurate than ViT, Swin, PVT and ResNet of its size; windows need a shift; pooling attention "
    "(MViTv2) beats window attention",
    published="ImageNet: NesT-T, S, B 81.5, 83.3, 83.8 %; Swin-T, S, B 81.3, 83.0, 83.3; DeiT-S, B 79.8, 81.8; "
    "ResNet-50 76.2; RegNetY-4G, 16G 80.0, 82.9 (talk); of pooling against window attention the seeds have no number "
    "for images",
    refuted_by="another family is more accurate than NesT with as many parameters, images and its own learning rate",
    cost="small: 12 cells of 80,000 images, 4 to 12 minutes a run at 110 to 330 images per core-second, 1.6 hours "
    "a seed (the ViT with 2x2 patches was not timed); quick: 16,000 images, 1 to 2.5 minutes a run, 20 minutes a seed; "
    "published: 300 epochs of ImageNet for every cell",
)
SIZES = {"small": Size(800, 10), "quick": Size(400, 4, 64, 500)}
FAMILIES = (
    "nest", "swin", "swin_no_shift", "pvtv2", "resnet", "vit", "hiera", "mvitv2", "regnety", "wide_resnet", "deit",
    "vit_patch2",
)  # fmt: skip


def rivals(scale: ScaleName) -> Experiment:
    """Twelve models with 0.45 to 0.62 million parameters, trained alike, each at its own learning rate."""
    cells = []
    for family in FAMILIES:
        recipe = (
            on_imagenet(f"rivals_{family}", published_model(family))
            if scale == "published"
            else classify_cifar(f"rivals_{family}", model_of(family), SIZES[scale])
        )
        cells.append(Cell(family, {"family": title_of(family)}, recipe, family))
    claims = [
        Claim(f"NesT is more accurate than {title_of(family)}", ("nest",), (family,))
        for family in FAMILIES
        if family != "nest"
    ]
    claims += [
        Claim("A Swin whose windows shift is more accurate than one whose windows do not", ("swin",),
              ("swin_no_shift",)),
        Claim("A ViT that classifies the mean is more accurate than one with a class token", ("vit",), ("deit",)),
        Claim("A ViT with 2x2 patches is more accurate than one with 4x4", ("vit_patch2",), ("vit",)),
        Claim("Pooling attention (MViTv2) is more accurate than window attention (Swin)", ("mvitv2",), ("swin",)),
    ]  # fmt: skip
    return Experiment("rivals", HEADER, tuple(cells), tuple(claims), reference="nest")


def published_model(family: str) -> ModelConfig:
    """The smallest published size of a family, of 13 to 29 million parameters (the wide ResNet: 69)."""
    from hvit.models.baselines import ResnetConfig, VitConfig
    from hvit.models.hiera.config import HIERA_SIZES
    from hvit.models.mvit.config import MVIT_SIZES
    from hvit.models.nest.config import NEST_SIZES
    from hvit.models.timm_encoder import TimmConfig

    swin = TimmConfig(name="swin_tiny_patch4_window7_224", drop_path=0.2)
    models: dict[str, ModelConfig] = {
        "nest": NEST_SIZES["nest_tiny_224"],
        "swin": swin,
        "swin_no_shift": TimmConfig(name=swin.name, drop_path=0.2, settings='{"shift": false}'),
        "pvtv2": TimmConfig(name="pvt_v2_b1", drop_path=0.1),
        "resnet": ResnetConfig(),
        "vit": VitConfig(dims=(384,), heads=(6,), drop_path=0.1),
        "hiera": HIERA_SIZES["hiera_tiny_224"],
        "mvitv2": MVIT_SIZES["mvitv2_tiny_224"],
        "regnety": TimmConfig(name="regnety_040"),
        "wide_resnet": TimmConfig(name="wide_resnet50_2"),
        "deit": TimmConfig(name="deit_small_patch16_224", drop_path=0.1),
        "vit_patch2": VitConfig(dims=(384,), heads=(6,), patch_size=(8, 8), drop_path=0.1),
    }
    return models[family]
