"""Pictures and how they are prepared, for tests of what models see."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from hvit.data.preprocess import Preprocess


def plain(side: int = 32, channels: int = 3, crop: float = 1.0) -> Preprocess:
    return Preprocess((side, side), (0.0,) * channels, (1.0,) * channels, crop=crop)


def picture(width: int = 32, height: int = 32, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def as_picture(tensor: Tensor) -> np.ndarray:
    return (tensor * 255).round().byte().permute(1, 2, 0).numpy()


def clip_preprocess(frames: int = 4, side: int = 32, channels: int = 3, **fields: Any) -> Preprocess:
    return Preprocess((frames, side, side), (0.4,) * channels, (0.3,) * channels, **({"crop": 1.0} | fields))


def moving_picture(frames: int = 4, height: int = 40, width: int = 50, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, channels), dtype=np.uint8)


def still(image: Image.Image, frames: int = 4) -> np.ndarray:
    """A clip that shows the same picture all the time."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return np.stack([pixels] * frames)
