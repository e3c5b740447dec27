"""What the page shows: images, their classes, and why each class, by any of the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hvit.errors import UserError
from hvit.explain.drawing.canvas import PALETTE, Picture, picture_pixels
from hvit.explain.drawing.layout import check_trees
from hvit.explain.tree import Tree
from hvit.explain.words import METHODS


@dataclass(frozen=True, eq=False)
class ExplainedClass:
    """Why a model gives an image one class: a tree of blocks, maps of places, or both."""

    name: str
    """The class as a reader knows it; any letters."""
    probability: float | None = None
    """Of the class, 0 to 1."""
    tree: Tree | None = None
    """From `block_shapley` or `gradcat`."""
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Finite numbers (rows, columns) over the whole image, by method: "cam", "gradcam", "gradcam++", "rollout", ..."""


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """An image with one to four explained classes."""

    name: str
    """Such as the file's; any letters."""
    picture: Picture
    """What the model saw, before normalisation, as in `draw_trees`; any resolution of the same proportions."""
    classes: Sequence[ExplainedClass]
    """The most probable first."""
    class_names: Sequence[str] = ()
    """The names of all classes of the model, for what it predicts without blocks; default: their numbers."""

    @property
    def trees(self) -> list[Tree]:
        """The trees of its classes; empty if they have none."""
        return [one.tree for one in self.classes if one.tree is not None]

    @property
    def methods(self) -> list[str]:
        """The tree first, then the maps, in the order of `METHODS`; unknown ones last."""
        found = {name: None for one in self.classes for name in one.maps}
        own = {tree.method for tree in self.trees}
        known = [name for name in METHODS if name in found or name in own]
        return sorted(known, key=lambda name: name not in own) + [name for name in found if name not in METHODS]

    def checked(self) -> np.ndarray:
        """The picture's colours (height, width, 3), from 0 to 1; raises UserError if the parts do not fit together."""
        pixels = picture_pixels(self.picture)
        if not 1 <= len(self.classes) <= len(PALETTE):
            raise UserError(f"{self.name}: the page shows 1 to {len(PALETTE)} classes, got {len(self.classes)}")
        if self.trees:
            if len(self.trees) < len(self.classes):
                raise UserError(f"{self.name}: give a tree for all of its classes or for none")
            check_trees(pixels.shape[:2], self.trees)
        for one in self.classes:
            if one.probability is not None and not 0 <= one.probability <= 1:
                raise UserError(f"{self.name}: a probability must be from 0 to 1, got {one.probability}")
            for method, values in one.maps.items():
                if one.tree is not None and method == one.tree.method:
                    raise UserError(f"{self.name}: class {one.name} has both a tree and a map of {method}; give one")
                if np.ndim(values) != 2 or not np.size(values) or not np.isfinite(values).all():
                    raise UserError(
                        f"{self.name}: the map {method} of class {one.name} must hold finite numbers "
                        f"(rows, columns), got an array of shape {np.shape(values)}"
                    )
        return pixels
