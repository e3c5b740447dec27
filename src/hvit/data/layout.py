"""Where the samples of a data set lie: the folder to train on, the held-out one, and the folders of their classes."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit.data.images.listing import show
from hvit.data.regular_files import entries_of, is_folder, state_of
from hvit.errors import UserError
from hvit.files import as_path

HELD_OUT_NAMES = ("val", "validation", "valid", "test")
TEST_NAME = "test"
"""The folder of the part that only the finished run is scored on, where there is another held-out one."""
UNLABELLED = "unlabelled"
"""The class of all samples of an unlabelled data set."""
LAYOUTS = "DIR/train/CLASS/… with DIR/val/CLASS/…, or DIR/CLASS/…"
_DEEPEST = 2  # folders around the one with the classes
_ONCE_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}
_NO_DATA = ("__macosx",)  # what macOS adds to archives


@dataclass(frozen=True)
class Layout:
    """The folder to train on, the held-out one if there is one, and sentences about what was found.

    test: the folder of a third part, next to a held-out one.
    """

    train: Path
    held_out: Path | None = None
    notes: tuple[str, ...] = ()
    test: Path | None = None


def find_layout(
    root: str, what: str, is_sample: Callable[[Path], bool], unwraps: bool, may_be_class: Callable[[Path], bool]
) -> Layout:
    """The train and held-out folders, or the folder of classes, in the data's root.

    what: "images" or "clips". is_sample: whether a file's name is that of one. unwraps: whether a folder that only
    holds another one (such as DIR/images/CLASS/…) is looked through, twice at most. may_be_class: whether the files
    in a folder may be those of a class.
    Raises UserError if there is no such folder, or held-out data only.
    """
    if not root:
        raise UserError(
            f"the folder of {what} is missing: give it as the data's root (--data.root DIR in train), "
            f"laid out as {LAYOUTS}."
        )
    top = folder = as_path(root)
    if not is_folder(folder):
        state = "does not exist" if state_of(folder) is None else "is not a folder"
        raise UserError(
            f"{show(folder)} {state}: the data's root (--data.root in train) must be a folder of {what} laid out as "
            f"{LAYOUTS}."
        )
    for depth in range(_DEEPEST + 1):
        if split := _find_split(folder):
            if not unwraps:
                return split
            parts = (split.train, split.held_out, split.test)
            train, held_out, test = (part and _unwrapped(part, is_sample, may_be_class) for part in parts)
            assert train is not None
            return Layout(train, held_out, split.notes, test)
        inner = _inner(folder, is_sample, may_be_class) if unwraps and depth < _DEEPEST else None
        if inner is None:
            break
        folder = inner
    return Layout(folder, None, () if folder == top else (f"The classes are the folders in {show(folder)}.",))


def sub_folders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, in alphabetical order. Raises UserError if it may not be listed."""
    paths = [Path(entry.path) for entry in entries_of(folder) if not entry.name.startswith(".")]
    return sorted(path for path in paths if path.name.lower() not in _NO_DATA and is_folder(path))


def stray_samples(folder: Path, is_sample: Callable[[Path], bool]) -> list[Path]:
    """The samples that lie in a folder itself."""
    paths = [Path(entry.path) for entry in entries_of(folder) if not entry.name.startswith(".")]
    return [path for path in paths if is_sample(path) and not is_folder(path)]


def class_folders(folder: Path) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """The folders of each class by its name, and sentences about it.

    Two folders are one class if their names are the same text that Unicode spells in two ways (é as one character, or
    as e and an accent); the class is called as the first of them is.
    """
    found: dict[str, list[Path]] = {}
    names: dict[str, str] = {}
    for child in sub_folders(folder):
        name = names.setdefault(spelling(child.name), show(child.name))
        found.setdefault(name, []).append(child)
    double = [name for name, folders in found.items() if len(folders) > 1]
    if not double:
        return found, ()
    return found, (f"{show(folder)} has folders whose names are the same text spelt in two ways: {some(double)}; each "
                   "pair is one class.",)  # fmt: skip


def spelling(name: str) -> str:
    """A name in the one spelling by which class names are compared."""
    return unicodedata.normalize("NFC", name)


def same_classes(train: Sequence[str], held_out: Sequence[str], train_folder: Path, held_out_folder: Path) -> list[int]:
    """For each class of the training set its place among those of the held-out set.

    Raises UserError naming the classes that only one of them has.
    """
    for names, others, folder, other_folder in (
        (train, held_out, train_folder, held_out_folder),
        (held_out, train, held_out_folder, train_folder),
    ):
        known = set(map(spelling, others))
        missing = sorted(name for name in names if spelling(name) not in known)
        if missing:
            raise UserError(
                f"{show(other_folder)} lacks {counted(len(missing), 'class', 'classes')} that {show(folder)} has: "
                f"{some(missing)}; both need the same class folders."
            )
    places = {spelling(name): place for place, name in enumerate(held_out)}
    return [places[spelling(name)] for name in train]


def unusable_test(
    layout: Layout, classes: Sequence[str], labelled: bool, names_in: Callable[[Path], Iterable[str]] | None = None
) -> tuple[str, ...]:
    """The sentence on why the test folder of a layout cannot be used, if it cannot.

    classes: of the training set. names_in: the classes whose folders lie in a folder; default: by its sub-folders.
    """
    if layout.test is None:
        return ()
    if not labelled:
        return (f"{show(layout.test)} is not used: its labels would not be.",)
    found = {spelling(name) for name in (names_in(layout.test) if names_in else class_folders(layout.test)[0])}
    if found != set(map(spelling, classes)):
        return (f"{show(layout.test)} is not used: its class folders are not those of {show(layout.train)}.",)
    return ()


def imbalance_notes(counts: dict[str, int], what: str, ratio: float = 5) -> tuple[str, ...]:
    """The sentence that names the smallest and the largest classes, if one has many times the samples of another.

    counts: samples that are trained on, by class. ratio: from which it is said.
    """
    if len(counts) < 2 or max(counts.values()) < ratio * min(counts.values()):
        return ()
    ordered = sorted(counts, key=counts.__getitem__)
    few = min(3, len(ordered) // 2)
    smallest, largest = ordered[:few], ordered[: -few - 1 : -1]
    listed = [", ".join(f"{name} {counts[name]:,}" for name in names) for names in (smallest, largest)]
    return (
        f"The classes are strongly imbalanced: the smallest have {listed[0]} training {what}, the largest {listed[1]}; "
        "accuracy is dominated by the large ones.",
    )


def alone_notes(classes: Sequence[str], noun: str) -> tuple[str, ...]:
    """The sentence about classes with a single sample, of which none can be held out."""
    if not classes:
        return ()
    have = "class has only one" if len(classes) == 1 else "classes have only one"
    return (f"{len(classes):,} {have} {noun}, which is trained on and not held out: {some(classes)}.",)


def ignored_notes(ignored: Counter[str], what: str) -> tuple[str, ...]:
    """The sentence about files that are no samples."""
    if not ignored:
        return ()
    kinds = [f"{count} {kind}" for kind, count in ignored.most_common()]
    return (f"Skipped, as no {what} or in no class's folder: {some(kinds)}.",)


def split_name(file: Path, folder: Path) -> str:
    """The name of a file, seen from a folder, from which it follows whether it is held out.

    Escaped as file names were when the first runs were made, so that these keep their splits.
    """
    return split_key(os.path.relpath(file, folder))


def split_key(relative: str) -> str:
    """As `split_name`, of the path as seen from the folder."""
    return relative.encode("utf-8", "backslashreplace").decode().translate(_ONCE_ESCAPED)


def counted(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def some(names: Sequence[str], most: int = 10) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return "; ".join(show(name) for name in names[:most]) + more


def _find_split(folder: Path) -> Layout | None:
    """The folders of the parts in a folder, and what else is not used; None if there are no such."""
    children = sub_folders(folder)
    named: dict[str, Path] = {}
    for child in children:
        name = child.name.lower()
        if name in ("train", *HELD_OUT_NAMES) and name in named:
            raise UserError(f"{show(folder)} has two {name} folders, {named[name].name} and {child.name}: keep one.")
        named[name] = child
    train = named.get("train")
    held_out = next((named[name] for name in HELD_OUT_NAMES if name in named), None)
    if train and (held_out or sub_folders(train)):
        test = named.get(TEST_NAME) if held_out != named.get(TEST_NAME) else None
        rest = sorted(child.name for child in children if child not in (train, held_out, test))
        notes = (f"Not used, next to {show(train.name)}: {some(rest)}.",) if rest else ()
        return Layout(train, held_out, notes, test)
    if held_out and not train and len(children) == 1:
        raise UserError(f"{show(folder)} has a {show(held_out.name)} folder but no train folder: expected {LAYOUTS}.")
    return None


def _inner(folder: Path, is_sample: Callable[[Path], bool], may_be_class: Callable[[Path], bool]) -> Path | None:
    """The only folder in a folder, if it holds others and no samples; None if the classes are in `folder` itself."""
    children = sub_folders(folder)
    if len(children) != 1 or stray_samples(folder, is_sample) or stray_samples(children[0], is_sample):
        return None
    return children[0] if any(map(may_be_class, sub_folders(children[0]))) else None


def _unwrapped(folder: Path, is_sample: Callable[[Path], bool], may_be_class: Callable[[Path], bool]) -> Path:
    for _ in range(_DEEPEST):
        inner = _inner(folder, is_sample, may_be_class)
        if inner is None:
            break
        folder = inner
    return folder
