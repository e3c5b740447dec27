"""Sets of samples of which only some have a label: the class of the others is -1, and their target is all zeros."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hvit.data.sets import ImageSet, Needed, Reduced, Sample, Stored, Target

NO_LABEL = -1


class Relabelled(ImageSet):
    """The samples of a set with other labels.

    images: the set. labels: (number of images,) int64; `NO_LABEL` for a sample without one.
    """

    def __init__(self, images: ImageSet, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels.astype(np.int64)
        self.views, self.sampling = images.views, images.sampling

    def _target(self, index: int, target: Target) -> Target:
        """The new label where there is one; else the target that was read, which may be of a file's replacement."""
        return target if self.labels[index] == self.images.labels[index] else int(self.labels[index])

    def read(self, index: int, draw: int) -> tuple[Sample, Target]:
        sample, target = self.images.read(index, draw)
        return sample, self._target(index, target)

    def read_enough(self, index: int, draw: int, needed: Needed) -> tuple[Sample | Reduced, Target]:
        sample, target = self.images.read_enough(index, draw, needed)
        return sample, self._target(index, target)

    def read_view(self, index: int, view: int, views: int) -> tuple[Sample, Target]:
        sample, target = self.images.read_view(index, view, views)
        return sample, self._target(index, target)

    def stored_pixels(self, indices: np.ndarray) -> np.ndarray | None:
        return self.images.stored_pixels(indices)

    def name(self, index: int) -> str:
        return self.images.name(index)

    def stored(self) -> Iterator[tuple[str, Stored]]:
        return self.images.stored()


class Joined(ImageSet):
    """The images of two sets, one after the other."""

    def __init__(self, first: ImageSet, second: ImageSet) -> None:
        self.parts = first, second
        self.labels = np.concatenate([first.labels, second.labels]).astype(np.int64)

    def _place(self, index: int) -> tuple[ImageSet, int]:
        first, second = self.parts
        return (first, index) if index < len(first) else (second, index - len(first))

    def read(self, index: int, draw: int) -> tuple[Sample, Target]:
        images, number = self._place(index)
        return images.read(number, draw)

    def read_enough(self, index: int, draw: int, needed: Needed) -> tuple[Sample | Reduced, Target]:
        images, number = self._place(index)
        return images.read_enough(number, draw, needed)

    def name(self, index: int) -> str:
        images, number = self._place(index)
        return images.name(number)

    def stored(self) -> Iterator[tuple[str, Stored]]:
        for number, images in enumerate(self.parts):
            for name, content in images.stored():
                yield (f"unlabelled/{name}" if number else name), content
