"""Builds torchvision's Faster R-CNN on the levels of a model: a feature pyramid without hooks or reshape callbacks.

Trains it for some steps on one made-up picture with two bright boxes, and tells where it then sees boxes.

    python examples/detect_with_levels.py [MODEL] [INPUT_SIDE] [STEPS]

MODEL: a name that `hvit models` lists; left out, hiera_micro_64. For real pictures take a published size, its weights
(`hvit.create_model(name, weights=FILE, input_size=SIDE)`) and a data set with boxes.
"""

from __future__ import annotations

import sys
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

import hvit


class Pyramid(nn.Module):
    """A model's levels under torchvision's feature pyramid network."""

    out_channels = 64

    def __init__(self, name: str, side: int) -> None:
        super().__init__()
        self.encoder = hvit.create_model(name, input_size=side)
        self.pyramid = FeaturePyramidNetwork(list(self.encoder.level_dims), self.out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images: (batch, channels, side, side). Returns planes (batch, channels, rows, columns), fine to coarse."""
        planes = [grid.permute(0, 3, 1, 2) for grid in self.encoder.levels(images)]
        return self.pyramid(OrderedDict((str(level), plane) for level, plane in enumerate(planes)))


def make_detector(name: str, side: int) -> FasterRCNN:
    """Faster R-CNN for one kind of object; the model takes one input size, to which pictures are brought."""
    backbone = Pyramid(name, side)
    levels = [str(level) for level in range(len(backbone.encoder.level_dims))]
    anchors = AnchorGenerator(
        sizes=tuple((side // 8 * 2**level,) for level in range(len(levels))),
        aspect_ratios=((0.5, 1.0, 2.0),) * len(levels),
    )
    return FasterRCNN(
        backbone,
        num_classes=2,
        fixed_size=(side, side),
        rpn_anchor_generator=anchors,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
    )


def main(name: str = "hiera_micro_64", side: str = "64", steps: str = "16") -> None:
    torch.manual_seed(0)
    size = int(side)
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.5, 0.6, 0.95, 0.9]]) * size
    image = 0.1 * torch.rand(3, size, size)
    for left, top, right, bottom in boxes.int().tolist():
        image[:, top:bottom, left:right] += 0.8
    target = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}

    detector = make_detector(name, size)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    for step in range(int(steps)):
        loss = sum(detector([image], [target]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step:3}: loss {loss.item():.3f}")

    detector.eval()
    with torch.no_grad():
        found = detector([image])[0]
    print("true boxes:", [[round(side) for side in box] for box in boxes.tolist()])
    for box, score in list(zip(found["boxes"].tolist(), found["scores"].tolist(), strict=True))[:2]:
        print(f"found {[round(side) for side in box]} with score {score:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
