"""Trains a tiny NesT on real handwritten digits with an ordinary PyTorch loop, and explains a prediction.

A model of hvit is a `torch.nn.Module` like any other: this script uses none of hvit's own training.

    python examples/classify_and_explain.py [PICTURE]

PICTURE: where the explanation is drawn; default: digit_explained.png in the current folder.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

import hvit


def main(picture: str = "digit_explained.png") -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the model is so small that more threads wait for each other longer than they work
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    labels = torch.tensor(digits)
    train_images, train_labels, test_images, test_labels = images[:1400], labels[:1400], images[1400:], labels[1400:]

    # Any field of a catalogue model can be changed by keyword: here three narrow levels for images of 8 x 8 pixels.
    model = hvit.create_model(
        "nest_micro_32", input_size=8, patch_size=1, in_channels=1, dims=(16, 32, 64), heads=(2, 4, 8), depths=(1, 1, 1)
    )
    steps = 120
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(train_images), (64,))
        loss = F.cross_entropy(model(train_images[chosen]), train_labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    model.eval()
    with torch.no_grad():
        predictions = model(test_images).argmax(dim=1)
    right = int((predictions == test_labels).sum())
    print(f"{right} of {len(test_labels)} digits that it never saw are classified correctly")

    image, digit = test_images[0], int(test_labels[0])
    tree = hvit.explain.gradcat(model, image, digit)
    way = " > ".join(hvit.explain.QUADRANTS[step] for step in tree.path)
    print(f"this {digit} has logit {tree.logit:.2f} for {digit}; most of the evidence: {way}")
    left, top, right_edge, bottom = tree.regions[-1]
    print(f"that is the square from ({left}, {top}) to ({right_edge}, {bottom}) in pixels")

    figure = hvit.explain.draw_trees(image[0].numpy(), [tree], class_names=[str(digit)])
    hvit.explain.save_figure(figure, picture)
    print(f"drawn in {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
