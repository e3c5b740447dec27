"""Which function aggregates four blocks of NesT into one, and on which feature map (arXiv 2105.12723, section 4.5)."""

from __future__ import annotations

from dataclasses import replace

from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName
from hvit.experiments.settings import MODELS, Size, classify_cifar, on_imagenet
from hvit.models.nest.config import NEST_SIZES

HEADER = Header(
    title="Block aggregation",
    claim="small kernels on the image plane matter: aggregation must let neighbouring blocks exchange information",
    published="the authors' talk concludes it and shows no number; the paper's accuracies are in no seed "
    "(81.5 % top-1 on ImageNet for NesT-T with a 3 x 3 convolution and a 3 x 3 max-pool on the image plane)",
    refuted_by="the same function inside every block (block plane) is as accurate as on the image plane",
    cost="small: 10 cells of 80,000 images, 8 minutes a run at 168 images per core-second, 1.5 hours a seed; quick: "
    "16,000 images, 1.7 minutes a run, 17 minutes a seed; published: 300 epochs of ImageNet for every cell",
)
SIZES = {"small": Size(800, 10), "quick": Size(400, 4, 64, 500)}
FUNCTIONS = (
    ("conv3_norm_max3", "image"),
    ("conv3_norm_max3", "parent"),
    ("conv3_norm_max3", "block"),
    ("max3", "image"),
    ("max3", "block"),
    ("conv1_norm_max3", "image"),
    ("conv5_norm_max3", "image"),
    ("conv3_norm_avg3", "image"),
    ("strided_conv3", "image"),
    ("merge2", "image"),
)


def aggregation(scale: ScaleName) -> Experiment:
    """Ten aggregation functions of one NesT."""
    cells = []
    for function, plane in FUNCTIONS:
        name, changes = f"{function}-{plane}", {"aggregation": function, "aggregation_plane": plane}
        if scale == "published":
            recipe = on_imagenet(f"aggregation_{name}", replace(NEST_SIZES["nest_tiny_224"], **changes))
        else:
            recipe = classify_cifar(f"aggregation_{name}", replace(MODELS["nest"], **changes), SIZES[scale])
        cells.append(Cell(name, {"function": function, "plane": plane}, recipe, family="nest"))
    image, parent, block = (f"conv3_norm_max3-{plane}" for plane in ("image", "parent", "block"))
    claims = (
        Claim("The image plane is better than the block plane (3 x 3 convolution and max-pool)", (image,), (block,)),
        Claim("The image plane is better than the block plane (max-pool alone)", ("max3-image",), ("max3-block",)),
        Claim("The image plane is better than the parent plane", (image,), (parent,)),
        Claim("The parent plane is better than the block plane", (parent,), (block,)),
        Claim("A 3 x 3 convolution is better than one of 1 x 1", (image,), ("conv1_norm_max3-image",)),
        Claim("A 3 x 3 convolution is at most a point below one of 5 x 5: small kernels are enough", (image,),
              ("conv5_norm_max3-image",), margin=0.01),
        Claim("Max-pooling is better than average pooling", (image,), ("conv3_norm_avg3-image",)),
        Claim("Convolution and pooling are better than patch merging", (image,), ("merge2-image",)),
    )  # fmt: skip
    return Experiment("aggregation", HEADER, tuple(cells), claims, reference=image)
