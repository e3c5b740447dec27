"""How unlike the training images an image is: the distance of its features to the nearest ones of training images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hvit.errors import UserError
from hvit.files import read_whole, replacing

MOST_KEPT = 1_000
"""Training images whose features are kept, evenly from all over the set."""
NEIGHBOURS = 5
FAR = 0.99
"""Share of held-out images that are nearer from which an image is called unlike the training images."""
_LARGEST = 512 * 2**20  # bytes
_PORTION = 1024


@dataclass(frozen=True)
class NearestTraining:
    """Features of training images, and how far held-out images are from them.

    training: (images, dim) float16, of length 1. held_out: (images,) float32, the distances of held-out images, sorted.
    """

    training: np.ndarray
    held_out: np.ndarray

    @staticmethod
    def of(training: np.ndarray, held_out: np.ndarray) -> NearestTraining:
        """From features (images, dim) of both."""
        kept = np.linspace(0, len(training) - 1, min(MOST_KEPT, len(training))).round().astype(int)
        bank = NearestTraining(_directions(training[kept]).astype(np.float16), np.zeros(0, np.float32))
        return NearestTraining(bank.training, np.sort(bank.distances(held_out)).astype(np.float32))

    def distances(self, features: np.ndarray) -> np.ndarray:
        """The mean distance (one minus the cosine) of features (images, dim) to the five nearest training images.

        Source: Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors".
        """
        bank, count = self.training.astype(np.float32), min(NEIGHBOURS, len(self.training))
        found = []
        for start in range(0, len(features), _PORTION):
            alike = _directions(features[start : start + _PORTION]).astype(np.float32) @ bank.T
            found.append(1 - np.partition(alike, len(bank) - count, axis=1)[:, len(bank) - count :].mean(axis=1))
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def shares_nearer(self, distances: np.ndarray) -> np.ndarray:
        """For each distance the share of held-out images that are nearer, from 0 to 1."""
        return np.searchsorted(self.held_out, distances, side="left") / max(1, len(self.held_out))

    def save(self, path: Path) -> str:
        """Writes a file, and returns its checksum."""
        content = save({"training": self.training, "held_out": self.held_out})
        with replacing(path) as file:
            file.write(content)
        return hashlib.sha256(content).hexdigest()

    @staticmethod
    def load(path: Path, checksum: str) -> NearestTraining:
        """Reads a file. Raises UserError for one with another checksum, or that holds anything else."""
        content = read_whole(path, _LARGEST)
        if hashlib.sha256(content).hexdigest() != checksum:
            raise UserError(f"{path} does not belong to the weights next to it: restore it, or remove it")
        try:
            stored = load(content)
            found = NearestTraining(stored["training"], stored["held_out"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged: restore it, or remove it") from error
        shapes = (found.training.ndim, found.held_out.ndim)
        kinds = (found.training.dtype.kind, found.held_out.dtype.kind)
        if shapes != (2, 1) or kinds != ("f", "f") or not len(found.training):
            raise UserError(f"{path} is damaged: restore it, or remove it")
        return found


def _directions(features: np.ndarray) -> np.ndarray:
    points = features.astype(np.float64)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
