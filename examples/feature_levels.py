"""Shows the feature grids of a model, fine to coarse, and builds one dense map of an image from them.

Every model gives its levels in the same form, so that detection necks, segmentation heads and probes need no hooks.

    python examples/feature_levels.py [MODEL] [INPUT_SIDE]

MODEL: a name that `hvit models` lists; left out, nest_tiny_224. INPUT_SIDE: another input size in pixels.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F

import hvit


def main(name: str = "nest_tiny_224", side: str = "") -> None:
    fields = {"input_size": int(side)} if side else {}
    model = hvit.create_model(name, **fields).eval()
    height, width = model.config.input_size
    image = torch.rand(1, model.config.in_channels, height, width)
    with torch.no_grad():
        grids = model.levels(image)

    print(f"{name} on {height} x {width} pixels")
    for level, grid in enumerate(grids, start=1):
        _, rows, columns, dim = grid.shape
        print(f"level {level}: {rows:3} x {columns:3} positions of width {dim:3}, one every {height // rows} pixels")

    # All levels side by side at the resolution of the finest, as a segmentation head would take them.
    finest = grids[0].shape[1:3]
    planes = [F.interpolate(grid.permute(0, 3, 1, 2), size=finest, mode="bilinear") for grid in grids]
    dense = torch.cat(planes, dim=1)
    print(f"together: {tuple(dense.shape)} (batch, channels, rows, columns)")


if __name__ == "__main__":
    main(*sys.argv[1:3])
