"""Objects with exact masks: cut-outs pasted on photos, as a folder to train on and to measure explanations on.

    python benchmarks/pasted_objects.py --stamps STAMPS --photos PHOTOS --out DIR cat=animals/cat ball=sports/soccer.png
    hvit train nest_micro_folder --data.root DIR/images --crop 1 --augment.crop none
    hvit explain runs/nest_micro_folder DIR/images/val --check 50 --places DIR/masks/val

STAMPS has cut-outs, PNG files with a transparent background, such as those of Debian's package
tuxpaint-stamps-default below /usr/share/tuxpaint/stamps (GPL 2; nothing of it is shipped here). A class is a name and
its cut-outs in STAMPS, files or folders, NAME=PATH,PATH. PHOTOS has the backgrounds, in folders train and val. Written
are

    DIR/images/{train,val}/CLASS/NUMBER.jpg     square canvases: a photo with one cut-out
    DIR/masks/val/CLASS/NUMBER.png              where the cut-out is, white on black

The longer side of a cut-out is from 0.3 to 0.6 of the canvas, its place is anywhere inside, and half of them are
mirrored. The same cut-outs are in train and val, on other photos, elsewhere and in other sizes: what is asked is where
a model finds what it knows, not how well it recognises what it has never seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from hvit.data.open import read_image
from hvit.data.preprocess import Preprocess
from hvit.explain.localization.mosaics import Scenes
from hvit.randomness import derive_seed

CANVAS = 128
SIDES = (0.3, 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="+", help="NAME=PATH,PATH, a class and its cut-outs, files or folders")
    parser.add_argument("--stamps", type=Path, required=True, help="folder of the cut-outs")
    parser.add_argument("--photos", type=Path, required=True, help="folder of the backgrounds, with train and val")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=300, help="canvases of a class to train on")
    parser.add_argument("--val", type=int, default=25, help="canvases of a class to measure on")
    arguments = parser.parse_args()
    for split, count in (("train", arguments.train), ("val", arguments.val)):
        photos = images_below(arguments.photos / split)
        for given in arguments.classes:
            name, _, paths = given.partition("=")
            stamps = [cut_out(file) for path in paths.split(",") for file in images_below(arguments.stamps / path)]
            for number in range(count):
                random = Random(derive_seed(0, f"pasted/{split}/{name}", number))
                canvas, mask = paste(random.choice(stamps), background(random.choice(photos), random), random)
                save(canvas, arguments.out / "images" / split / name / f"{number:04}.jpg")
                if split == "val":
                    save(mask, arguments.out / "masks" / split / name / f"{number:04}.png")
            print(f"{split}/{name}: {count} canvases of {len(stamps)} cut-outs on {len(photos)} photos", flush=True)


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder and its folders, in the order of their names; of a file, itself."""
    files = [folder] if folder.is_file() else folder.rglob("*")
    found = sorted(file for file in files if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    assert found, f"{folder} has no images"
    return found


def cut_out(file: Path) -> Image.Image:
    """A cut-out without the empty margin around it, its longer side as long as the canvas: RGBA."""
    with Image.open(file) as opened:
        image = opened.convert("RGBA")
    box = image.getchannel("A").getbbox()
    assert box, f"{file} is empty"
    image = image.crop(box)
    return ImageOps.contain(image, (CANVAS, CANVAS), Image.Resampling.LANCZOS)


def background(file: Path, random: Random) -> Image.Image:
    """A square of a photo, of at least half of its shorter side, as large as the canvas."""
    photo = read_image(file, 3, "auto")
    side = round(min(photo.size) * random.uniform(0.5, 1))
    left, top = (random.randint(0, length - side) for length in photo.size)
    return photo.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC, (left, top, left + side, top + side))


def paste(stamp: Image.Image, photo: Image.Image, random: Random) -> tuple[Image.Image, Image.Image]:
    """A photo with a cut-out (RGBA) somewhere inside, and where it covers more than half of a pixel: grey, 255."""
    share = random.uniform(*SIDES) * photo.width / max(stamp.size)
    size = max(1, round(stamp.width * share)), max(1, round(stamp.height * share))
    stamp = stamp.resize(size, Image.Resampling.LANCZOS)
    if random.random() < 0.5:
        stamp = ImageOps.mirror(stamp)
    place = random.randint(0, photo.width - size[0]), random.randint(0, photo.height - size[1])
    canvas, mask = photo.copy(), Image.new("L", photo.size)
    canvas.paste(stamp, place, stamp.getchannel("A"))
    mask.paste(Image.fromarray(np.where(np.asarray(stamp.getchannel("A")) > 127, 255, 0).astype(np.uint8)), place)
    return canvas, mask


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=92)  # of JPEG; PNG has none


class PastedScenes(NamedTuple):
    """Images with one object each, and where it is."""

    scenes: Scenes
    masks: np.ndarray
    """bool (count, height, width)."""


def read_pasted(folder: Path, classes: Sequence[str], preprocess: Preprocess, count: int) -> PastedScenes:
    """The first images of every class in turns, `count` in all, as a model sees them.

    folder: as `main` writes it. The boxes are those around the masks.
    """
    of_classes = [images_below(folder / "images" / "val" / name) for name in classes]
    turns = [(label, file) for files in zip(*of_classes, strict=False) for label, file in enumerate(files)][:count]
    images, masks = [], []
    for _, file in turns:
        mask = Image.open(folder / "masks" / file.relative_to(folder / "images").with_suffix(".png"))
        images.append(np.asarray(preprocess.shown(read_image(file, 3, "auto"))))
        masks.append(np.asarray(preprocess.shown(mask).convert("L")) > 127)
    boxes = [[box_of(mask)] for mask in masks]
    labels = np.array([[label] for label, _ in turns], dtype=np.int64)
    return PastedScenes(Scenes(np.stack(images), labels, np.array(boxes, dtype=np.int64)), np.stack(masks))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is true in a mask (height, width), right and bottom exclusive."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


if __name__ == "__main__":
    main()
