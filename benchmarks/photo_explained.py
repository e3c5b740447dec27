"""One photo explained by GradCAT and block Shapley, and which of the two names the quadrant that the answer depends on.

    python benchmarks/photo_explained.py RUN --of-class church               crops of the photo, a line each, and counts
    python benchmarks/photo_explained.py RUN --of-class church --picture FILE    the picture of the first page

The photo is scikit-learn's sample image china.jpg, by danielbuechele under CC BY 2.0
(https://www.flickr.com/photos/danielbuechele/6061409035/). A crop counts if the model says the class. The first step of
each method is compared with the quadrant that lowers the class most where the crop's mean colour takes its place.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import hvit
from hvit.verbs.classifier import Method, open_classifier
from hvit.verbs.explain import explain

SIDES, STRIDE = (427, 400, 360), 30


def crops(photo: Image.Image) -> list[tuple[tuple[int, int, int], Image.Image]]:
    """Square crops of three sizes: (side, left, top) and the image."""
    width, height = photo.size
    found = []
    for side in SIDES:
        for left in range(0, width - side + 1, STRIDE):
            for top in sorted({0, (height - side) // 2, height - side}):
                found.append(((side, left, top), photo.crop((left, top, left + side, top + side))))
    return found


@torch.no_grad()
def without_each(model: Any, image: torch.Tensor, of_class: int) -> list[float]:
    """The probability of the class without each quadrant of an image (1, channels, height, width)."""
    changed = []
    for quadrant in range(4):
        (row, column), half = divmod(quadrant, 2), image.shape[-1] // 2
        one = image.clone()
        place = (..., slice(row * half, (row + 1) * half), slice(column * half, (column + 1) * half))
        one[place] = image.mean((2, 3), keepdim=True)
        changed.append(one)
    return model(torch.cat(changed)).softmax(1)[:, of_class].tolist()


def picture(run: str, photo: Image.Image, of_class: str, path: Path) -> None:
    """Both trees of the left square of the photo, one below the other, on white."""
    sheets = []
    with TemporaryDirectory() as folder:
        square = Path(folder) / "photo.png"
        photo.crop((0, 0, photo.height, photo.height)).save(square)
        classifier = open_classifier(run)
        number = list(classifier.classes).index(of_class)
        methods: tuple[Method, ...] = ("gradcat", "block_shapley")
        for method in methods:
            out = Path(folder) / method
            list(explain(classifier, [square], [number], 1, (method,), out, print))
            sheets.append(Image.open(out / f"photo_{method}.png").convert("RGB"))
    whole = Image.new("RGB", (sheets[0].width, sum(one.height for one in sheets) + 30), "white")
    whole.paste(sheets[0], (0, 0))
    whole.paste(sheets[1], (0, sheets[0].height + 30))
    small = whole.resize((1400, round(whole.height * 1400 / whole.width)), Image.Resampling.LANCZOS)
    small.quantize(192, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder or weights of a NesT, MViT, MViTv2 or Hiera")
    parser.add_argument("--of-class", required=True, help="the class to explain, by name")
    parser.add_argument("--picture", type=Path, help="PNG file to write instead")
    arguments = parser.parse_args()
    photo = Image.fromarray(load_sample_image("china.jpg"))
    if arguments.picture:
        picture(arguments.run, photo, arguments.of_class, arguments.picture)
        return
    classifier = open_classifier(arguments.run)
    number = list(classifier.classes).index(arguments.of_class)
    model: Any = classifier.model.eval()
    hits = {"block Shapley": 0, "GradCAT": 0}
    count = 0
    for place, crop in crops(photo):
        image = classifier.preprocess.tensor(crop)[None]
        with torch.no_grad():
            shares = model(image).softmax(1)[0]
        if int(shares.argmax()) != number:
            continue
        without = without_each(model, image, number)
        trees = {
            "block Shapley": hvit.explain.block_shapley(model, image[0], number)[0][0],
            "GradCAT": hvit.explain.gradcat(model, image[0], number),
        }
        count += 1
        steps = {method: tree.path[0] for method, tree in trees.items()}
        for method, step in steps.items():
            hits[method] += without[step] == min(without)
        print(place, f"{shares[number]:.3f}", steps, [round(one, 2) for one in without], flush=True)
    print(f"{count} crops: " + ", ".join(f"{method} {hit}" for method, hit in hits.items()))


if __name__ == "__main__":
    main()
