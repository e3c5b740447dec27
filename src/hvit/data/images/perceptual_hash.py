"""Perceptual hashes of images: nearly the same for an image that was resized or compressed again."""

from __future__ import annotations

import numpy as np
from PIL import Image

_SIDE = 32
_KEPT = 12
DIGITS = 2 * _KEPT * _KEPT


def perceptual_hash(image: Image.Image) -> str:
    """The hash of an image of any size: 288 hexadecimal digits.

    The 144 lowest frequencies of a discrete cosine transform of the image in 32 x 32 pixels of grey, without the mean,
    as pHash (Zauner, 2010) takes them, but as numbers of 8 bits and not as signs only: those of weak frequencies, which
    compression changes, count little. Each is multiplied by its frequency, since those of photographs fall with it.
    """
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.float64)
    waves = np.cos(np.pi * np.outer(np.arange(_KEPT), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
    frequency = np.hypot(*np.meshgrid(np.arange(_KEPT), np.arange(_KEPT)))
    found = (waves @ (pixels - pixels.mean()) @ waves.T) * frequency
    largest = np.abs(found).max()
    scaled = np.rint(127 * found / largest) if largest > 1e-6 else np.zeros_like(found)
    return scaled.astype(np.int8).tobytes().hex()


def pictures_of(hashes: list[str]) -> np.ndarray:
    """Hashes as vectors (images, 145) float32; the angle between two says how far the pictures are apart.

    The last number is 1 for an image without a pattern, which is like others of the kind only.
    """
    values = np.frombuffer(bytes.fromhex("".join(hashes)), np.int8).reshape(len(hashes), -1).astype(np.float32)
    return np.concatenate([values, ~values.any(axis=1, keepdims=True)], axis=1)


def mirrored(pictures: np.ndarray) -> np.ndarray:
    """The vectors of the same images, left and right exchanged: the odd horizontal frequencies change their sign."""
    signs = np.tile(np.where(np.arange(_KEPT) % 2, -1, 1), _KEPT).astype(np.float32)
    return np.concatenate([pictures[:, :-1] * signs, pictures[:, -1:]], axis=1)
