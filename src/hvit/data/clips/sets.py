"""Clips of which a few frames are read at a time: from files, folders of frames, or arrays in memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from random import Random

import numpy as np

from hvit.data.clips.decoding import Source, probe, read_frames
from hvit.data.clips.videos import ClipFacts
from hvit.data.grey import GreyRange
from hvit.data.images.held import HeldClip
from hvit.data.images.listing import show
from hvit.data.sampling import Sampling
from hvit.data.sets import ImageSet, Stored, Target
from hvit.errors import UserError
from hvit.randomness import derive_seed


class ClipSet(ImageSet):
    """Clips of which a few frames are read each time they are needed.

    sources: videos, folders of frames, .npy files, arrays (frames, height, width, 1 or 3) uint8, or clips that a
    program holds. facts: what is known of each; None to look when it is read. learns: whether frames are chosen at
    random and another clip takes the place of one that cannot be read (training); if not, that is an error (held out,
    where a score on others would be wrong). views: in time and in space, in testing. frame_rate: of clips that do not
    say theirs. short_side: frames whose shorter side is longer are scaled down to it; 0 for never. folder: what the
    names of the clips start from. grey_range, page: how frames that are image files are read.
    """

    sampling: Sampling

    def __init__(
        self,
        sources: Sequence[Source],
        labels: np.ndarray,
        sampling: Sampling,
        *,
        facts: Sequence[ClipFacts | None] | None = None,
        learns: bool = False,
        seed: int = 0,
        views: tuple[int, int] = (1, 1),
        frame_rate: float = 30.0,
        short_side: int = 512,
        folder: Path | None = None,
        grey_range: GreyRange = "auto",
        page: int | None = None,
    ) -> None:
        self.labels, self.learns, self.seed = labels, learns, seed
        self.sampling = sampling  # pyright: ignore[reportIncompatibleVariableOverride]
        self.views, self.frame_rate, self.short_side = views, frame_rate, short_side
        paths = [os.fsencode(source) for source in sources if isinstance(source, Path)]
        # One array of names and one of facts: worker processes share them, where they would copy lists of objects.
        self._names = np.array(paths) if len(paths) == len(sources) else None
        self._sources = list(sources) if self._names is None else []
        unknown = ClipFacts(0, 0.0, 0.0, 0, 0)
        self._facts = np.array([astuple(fact or unknown) for fact in facts or [None] * len(sources)])
        self._folder, self._page = folder, page
        self._grey_range: GreyRange = grey_range
        self._failed: set[int] = set()

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """Every clip, named as seen from the folder of the set."""
        for index in range(len(self)):
            source = self.source(index)
            if isinstance(source, HeldClip):
                yield str(source), source.array() if source.rows.repeats else b""
            elif isinstance(source, np.ndarray):
                yield f"array {index}", source
            else:
                yield (os.path.relpath(source, self._folder) if self._folder else source.name), source

    def source(self, index: int) -> Source:
        """The file, folder or array of a clip."""
        return self._sources[index] if self._names is None else Path(os.fsdecode(self._names[index].item()))

    def facts(self, index: int) -> ClipFacts:
        """What is known of a clip. Raises UserError if it has to be looked at and cannot be read."""
        frames, rate, start, height, width = self._facts[index].tolist()
        if not frames:
            found = probe(self.source(index), self.frame_rate, page=self._page)
            self._facts[index] = astuple(found)
            return found
        return ClipFacts(int(frames), rate, start, int(height), int(width))

    def read(self, index: int, draw: int) -> tuple[np.ndarray, Target]:
        """Frames of one clip, and its class; in training, of one that cannot be read the next one and a warning.

        Returns (frames, height, width, channels) uint8. Of a held-out clip the frames are those of a single view.
        Raises UserError if no clip can be read any more, or a held-out one cannot.
        """
        if not self.learns:
            return self.read_view(index, 0, 1)
        random = Random(derive_seed(self.seed, "clip", draw))
        for candidate in (*range(index, len(self)), *range(index)):
            try:
                facts = self.facts(candidate)
                return self._frames(candidate, facts, self.sampling.at_random(facts.frames, facts.rate, random))
            except UserError as error:
                if candidate not in self._failed:
                    self._failed.add(candidate)
                    print(f"warning: {error} The next readable clip takes its place.", file=sys.stderr)
        raise UserError(
            f"none of the {len(self)} clips of the training set ({self.name(index)}, …) can be read any more."
        )

    def read_view(self, index: int, view: int, views: int) -> tuple[np.ndarray, Target]:
        """Frames of one of several views of a clip in time, and its class. Raises UserError if it cannot be read."""
        try:
            facts = self.facts(index)
            return self._frames(index, facts, self.sampling.of_view(facts.frames, facts.rate, view, views))
        except UserError as error:
            raise UserError(
                f"{error} It is a held-out clip, and a score without it would not be the one asked for: repair or "
                "remove it."
            ) from error

    def _frames(self, index: int, facts: ClipFacts, indices: np.ndarray) -> tuple[np.ndarray, Target]:
        source = self.source(index)
        frames = read_frames(source, indices, facts, self.short_side, self._grey_range, self._page)
        return frames, self.target(index)

    def name(self, index: int) -> str:
        """The file or folder of a clip, as it can be printed."""
        source = self.source(index)
        if isinstance(source, HeldClip):
            return str(source)
        return f"array {index}" if isinstance(source, np.ndarray) else show(source)
