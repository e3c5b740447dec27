"""Processor time and difference of training images from a cache of decoded images, compared with decoding their files.

    python benchmarks/decoded_cache.py DIR [--images 256] [--size 224] [--sides 256 384]

DIR is a folder of photos in classes. One process with one thread prepares batches (random crop, flip) of the same
images and the same crops from the files, with `data.decode reduced`, and from a cache of each side that holds them all.
Printed are milliseconds of processor time an image, which other programs disturb little, and the mean difference of the
model's inputs in grey levels of 255.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
import torch

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.open import FolderData, open_data
from hvit.data.preprocess import Preprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 384])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plain, _ = prepared(arguments, {})
    prepared(arguments, {"decode": "reduced"}, plain)
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            settings = {"cache": f"{folder}/kept", "cache_side": side}
            prepared(arguments, settings, plain)  # fills it
            prepared(arguments, settings, plain, "from the full cache")


def prepared(
    arguments: argparse.Namespace, settings: dict[str, object], plain: np.ndarray | None = None, name: str = ""
) -> tuple[np.ndarray, float]:
    """The model's inputs as grey levels, and milliseconds an image, which are printed."""
    splits = open_data(FolderData(root=arguments.folder, check="none", **settings), 0)  # pyright: ignore
    preprocess = Preprocess((arguments.size, arguments.size), splits.mean, splits.std)
    batch = 32
    made = train_batches(
        splits.train, num_classes=len(splits.classes), preprocess=preprocess,
        augment=AugmentConfig(crop="resized", flip=0.5), seed=0, batch_size=batch,
        total_steps=arguments.images // batch,
    )  # fmt: skip
    began = time.process_time()
    images = torch.cat([one["images"] for one in made])
    spent = 1000 * (time.process_time() - began) / len(images)
    levels = 255 * preprocess.unit_images(images).numpy()
    difference = "" if plain is None else f", {np.abs(levels - plain).mean():.2f} grey levels from the files"
    print(f"{settings or 'files'} {name}: {spent:.2f} ms an image{difference}", flush=True)
    return levels, spent


if __name__ == "__main__":
    main()
