"""Classes of several levels, such as genus above species: which class stands under which, and whether that is so."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from hvit.data.images.listing import show
from hvit.data.layout import class_folders, some, spelling
from hvit.errors import UserError
from hvit.labels import LabelLevel, finest


class Hierarchy:
    """Collects which class stands under which. names: of the levels, coarse to fine."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._above: list[dict[str, str]] = [{} for _ in names[1:]]
        self._clashes: dict[tuple[int, str], tuple[str, str]] = {}

    def add(self, chain: Sequence[str]) -> None:
        """The classes of one sample, a name for each level; "" where one is not known."""
        chain = [spelling(name) for name in chain]
        for depth, (parent, child) in enumerate(pairwise(chain)):
            if parent and child and (known := self._above[depth].setdefault(child, parent)) != parent:
                self._clashes.setdefault((depth, child), (known, parent))

    def levels(self, classes: Sequence[str]) -> tuple[LabelLevel, ...]:
        """The levels above the finest classes, and these. Raises UserError for a class under two others, or none."""
        if self._clashes:
            (depth, _), _ = min(self._clashes.items())
            found = [f"{child} ({one} and {other})"
                     for (place, child), (one, other) in sorted(self._clashes.items()) if place == depth]  # fmt: skip
            raise UserError(
                f"a {self.names[depth + 1]} stands under one {self.names[depth]}, and here under two: "
                f"{some(found, 5)}; correct them, or give the classes different names"
            )
        members, found = list(map(spelling, classes)), [finest(self.names[-1], classes)]
        for depth in reversed(range(len(self.names) - 1)):
            if lost := sorted({child for child in members if child not in self._above[depth]}):
                raise UserError(
                    f"no {self.names[depth]} is given for the {self.names[depth + 1]} {some(lost, 5)}: every class "
                    f"needs one at each level"
                )
            members = [self._above[depth][child] for child in members]
            order = sorted(set(members))
            number = {name: place for place, name in enumerate(order)}
            of = tuple(number[name] for name in members)
            found.append(LabelLevel(self.names[depth], tuple(order), of))
        return tuple(reversed(found))


def nested_class_folders(
    folder: Path, hierarchy: Hierarchy | None, entered: Callable[[Path, os.stat_result], object] | None = None
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """As `class_folders`; with a hierarchy of folders in folders as deep as it, of which the finest are the classes.

    The hierarchy learns which class stands under which. entered: called with each folder and its state before it is
    listed. Raises UserError where folders are less deep.
    """
    if hierarchy is None:
        if entered is not None:
            entered(folder, folder.stat())
        return class_folders(folder)
    found: dict[str, list[Path]] = {}
    notes: tuple[str, ...] = ()

    def look(place: Path, chain: tuple[str, ...]) -> None:
        nonlocal notes
        if entered is not None:
            entered(place, place.stat())
        folders, more = class_folders(place)
        notes += more
        if not folders:
            raise UserError(
                f"{show(place)} has no sub-folders, and label_levels ({', '.join(hierarchy.names)}) asks for folders "
                f"in folders, {len(hierarchy.names)} deep"
            )
        for name, members in folders.items():
            own = (*chain, name)
            if len(own) < len(hierarchy.names):
                for member in members:
                    look(member, own)
            else:
                hierarchy.add(own)
                found.setdefault(name, []).extend(members)

    look(folder, ())
    return dict(sorted(found.items())), notes


def folders_around(folder: Path, folders: Mapping[str, Sequence[Path]]) -> list[Path]:
    """The folder that holds class folders, and those between it and them."""
    found = {folder: None}
    for place in {member.parent for members in folders.values() for member in members}:
        found.update(dict.fromkeys(above for above in (place, *place.parents) if above.is_relative_to(folder)))
    return list(found)
