"""How large published data sets are, for plans without the data."""

from __future__ import annotations

from dataclasses import dataclass

from hvit.recipe import Recipe


@dataclass(frozen=True)
class DataSize:
    """A published training set."""

    name: str
    samples: int
    classes: int
    sample_bytes: float | None
    """Bytes of a sample as it is stored, on average; None where no source says it."""
    source: str


_IMAGENET = DataSize(
    "ImageNet-1K", 1_281_167, 1000, 147_897_477_120 / 1_281_167, "ILSVRC2012_img_train.tar has 147.9 GB"
)
_BY_SUMMARY = (
    DataSize("ImageNet-22K", 14_197_122, 21_841, None, "image-net.org, the release of fall 2011"),
    _IMAGENET,
    DataSize("Kinetics-400", 240_000, 400, None, "about 240,000 training clips (arXiv 2104.11227, section 5.1)"),
    DataSize("Something-Something v2", 168_913, 174, None, "arXiv 2104.11227, section 5.1"),
)
_BY_KIND = {
    "cifar10": DataSize("CIFAR-10", 50_000, 10, 3 * 32 * 32, "bytes of 32 x 32 pixels"),
    "cifar100": DataSize("CIFAR-100", 50_000, 100, 3 * 32 * 32, "bytes of 32 x 32 pixels"),
    "fashion_mnist": DataSize("Fashion-MNIST", 60_000, 10, 28 * 28, "bytes of 28 x 28 pixels"),
}


def published_size(recipe: Recipe) -> DataSize | None:
    """The data set that a recipe is meant for, where it is one of those that papers use; None for others.

    What a recipe's sentence names last is where it trains: "pretrained on ImageNet-22K, fine-tuned on ImageNet-1K".
    """
    if recipe.data.kind in _BY_KIND:
        return _BY_KIND[recipe.data.kind]
    found = [(_place(recipe.summary, size.name), size) for size in _BY_SUMMARY]
    place, size = max(found, key=lambda pair: pair[0])
    if place >= 0:
        return size
    return _IMAGENET if " ImageNet " in recipe.summary else None


def _place(summary: str, name: str) -> int:
    """Where a data set stands that a summary trains "on"; -1 where it does not."""
    return summary.rfind(f"on {name}")
