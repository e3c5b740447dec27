"""Which clips there are, in class folders or in the lists of Kinetics and Something-Something, and their classes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvit.data import layout
from hvit.data.clips.decoding import is_clip_name
from hvit.data.clips.videos import VIDEO_SUFFIXES
from hvit.data.hierarchy import Hierarchy, folders_around, nested_class_folders
from hvit.data.images.held import HeldClip
from hvit.data.images.listing import files_below, is_image_name, show
from hvit.data.layout import UNLABELLED, Layout, class_folders, counted, spelling, stray_samples, sub_folders
from hvit.data.regular_files import open_regular, system_reason
from hvit.errors import UserError

_LONGEST_LIST = 500_000_000
_MOST_CLASSES = 1_000_000
_LONGEST_NUMBER = 100  # digits
SSV2_LABELS = "something-something-v2-labels.json"


@dataclass(frozen=True)
class Listing:
    """Clips and their classes: sources (count,), labels (count,) int64. other: how many other files, of each kind."""

    sources: Sequence[Path | HeldClip]
    labels: np.ndarray
    other: Counter[str]

    def only(self, kept: np.ndarray) -> Listing:
        """Some of them. kept: indices in the order that is wanted."""
        return Listing([self.sources[index] for index in kept], self.labels[kept], self.other)


def find_layout(root: str, unwraps: bool) -> Layout:
    """The folders of the clips to train on and of the held-out ones (see `layout.find_layout`)."""
    return layout.find_layout(root, "clips", is_clip_name, unwraps, _may_be_class)


def _may_be_class(folder: Path) -> bool:
    """Whether clips lie in a folder; if not it may be a clip itself, its frames."""
    return bool(stray_samples(folder, is_clip_name) or sub_folders(folder))


def list_folders(folder: Path, hierarchy: Hierarchy | None = None) -> tuple[Listing, tuple[str, ...], tuple[str, ...]]:
    """The clips in class folders, the classes in alphabetical order, and notes.

    A clip is a video, a .npy file, or a folder that holds images and no other clip: its frames. hierarchy: where class
    folders lie in class folders, what learns which stands under which. Raises UserError if there are not two or more
    class folders, each with clips.
    """
    sources, labels, other = [], [], Counter()
    folders, notes = nested_class_folders(folder, hierarchy)
    for number, (name, members) in enumerate(folders.items()):
        found = 0
        for member in members:
            clips, rest = _clips_in(member)
            other.update(rest)
            if clips == [member]:
                raise UserError(
                    f"class folder {show(member)} holds images and no clips: the frames of a clip lie in a folder of "
                    "their own in the folder of its class (clips without classes: labels none; images: kind folder)."
                )
            sources += clips
            labels += [number] * len(clips)
            found += len(clips)
        if not found:
            raise UserError(
                f"class folder {show(folder / name)} holds no clip (a file ending in {', '.join(VIDEO_SUFFIXES)} or "
                ".npy, or a folder of frames): add some, or remove the folder."
            )
    stray = sum(len(stray_samples(place, is_clip_name)) for place in folders_around(folder, folders))
    if len(folders) < 2:
        raise UserError(
            f"{show(folder)} has {counted(len(folders), 'class folder')} and {counted(stray, 'clip')} in none: put the "
            "clips of each of two or more classes into a folder of its own; clips without classes need labels none."
        )
    if stray:
        other[f"clip{'s' if stray > 1 else ''} outside any class folder"] = stray
    return Listing(sources, np.array(labels), other), tuple(folders), notes


def list_clips(paths: Iterable[Path]) -> list[Path]:
    """The clips that some files and folders stand for, in order, none twice.

    A file stands for itself, a folder for every clip in it; a folder with nothing but images is one clip, its frames.
    Raises UserError where a path does not exist or a folder holds no clip.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(_clips_in_or_refuse(path)[0]))
        elif path.exists() or is_clip_name(path):
            found[path] = None
        else:
            raise UserError(f"there is no file {show(path)}")
    return list(found)


def list_unlabelled(folder: Path) -> tuple[Listing, tuple[str, ...], tuple[str, ...]]:
    """Every clip anywhere in a folder, without classes. Raises UserError if there is none."""
    clips, other = _clips_in_or_refuse(folder)
    return Listing(clips, np.zeros(len(clips), np.int64), other), (UNLABELLED,), ()


def _clips_in_or_refuse(folder: Path) -> tuple[list[Path], Counter[str]]:
    clips, other = _clips_in(folder)
    if not clips:
        raise UserError(
            f"{show(folder)} holds no clip: expected files ending in {', '.join(VIDEO_SUFFIXES)} or .npy, or folders "
            "of frames."
        )
    return clips, other


def has_class_folders(folders: Iterable[Path]) -> bool:
    """Whether each folder has the same two or more classes, each with clips in it, and no clip in none of them."""
    found = set()
    for folder in folders:
        children = class_folders(folder)[0]
        listed = [(child, _clips_in(child)[0]) for members in children.values() for child in members]
        filled = all(clips and clips != [child] for child, clips in listed)
        if len(children) < 2 or stray_samples(folder, is_clip_name) or not filled:
            return False
        found.add(tuple(map(spelling, children)))
    return len(found) == 1


def read_list(path: Path, root: Path, separator: str, frame_list: Path | None, names: dict[str, int]) -> Listing:
    """The clips of a list file: Kinetics' lines as SlowFast reads them, or Something-Something's JSON.

    A line is `path label`, `path frames label` or `path`, parted by `separator`; the path may hold the separator, too.
    The JSON is a list of {"id", "template"}; a template without its brackets is a class, and the clip is the video or
    the folder of frames in `root` of that id, or where `frame_list` (SlowFast's, one line a frame) says.
    root: what paths start from. names: the classes of templates. A clip without a label has label -1.
    Raises UserError, with the line, if the list is missing or not understood.
    """
    text = _read_text(path)
    if path.suffix.lower() == ".json":
        return _read_templates(path, text, root, frame_list, names)
    sources, labels = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            name, label = _parse_line(line.strip(), separator, root)
            if label is not None and not 0 <= label < _MOST_CLASSES:
                raise UserError(
                    f"{show(path)}, line {number}: a label is a class number from 0 to {_MOST_CLASSES - 1:,}, "
                    f"not {label}."
                )
            sources.append(root / name)
            labels.append(-1 if label is None else label)
    if not sources:
        raise UserError(f"{show(path)} lists no clip: expected lines such as `some/clip.mp4{separator}3`.")
    return Listing(sources, np.array(labels), Counter())


def read_class_names(path: Path) -> dict[str, int]:
    """Names of classes and their numbers: JSON, a list or {name: number}, or text with one name a line.

    Raises UserError if the file is missing, or the numbers are not 0, 1, 2 and so on.
    """
    text = _read_text(path)
    if path.suffix.lower() != ".json":
        listed: object = text.strip().splitlines()
    else:
        listed = _parse_json(path, text)
    if isinstance(listed, list):
        listed = {str(name): number for number, name in enumerate(listed)}
    try:
        names = {name: int(number) for name, number in listed.items()} if isinstance(listed, dict) else {}
    except (TypeError, ValueError, OverflowError):
        names = {}
    if not names or sorted(names.values()) != list(range(len(names))):
        raise UserError(
            f"{show(path)} does not name classes 0, 1, 2 and so on: expected one different name a line, or JSON such "
            'as {"name": 0}.'
        )
    return names


def _parse_line(line: str, separator: str, root: Path) -> tuple[str, int | None]:
    """The path and the label, if there is one, of a line of Kinetics' lists."""
    name, _, last = line.rpartition(separator)
    if not name or not _is_number(last):
        return line, None
    shorter, _, frames = name.rpartition(separator)
    # `path frames label`, unless the path itself ends in a number.
    has_frames = bool(shorter) and _is_number(frames) and not is_clip_name(Path(name))
    if has_frames and (is_clip_name(Path(shorter)) or not (root / name).exists()):
        name = shorter
    return name, int(last)


def _is_number(text: str) -> bool:
    return len(text) <= _LONGEST_NUMBER and text.strip().removeprefix("-").isdecimal()


def _read_templates(path: Path, text: str, root: Path, frame_list: Path | None, names: dict[str, int]) -> Listing:
    entries = _parse_json(path, text)
    try:
        if not isinstance(entries, list):
            raise TypeError("no list")
        pairs = [(str(entry["id"]), entry["template"].replace("[", "").replace("]", "")) for entry in entries]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f'{show(path)} is no list of Something-Something: expected [{{"id": ..., "template": ...}}, ...].'
        ) from error
    unknown = sorted({template for _, template in pairs} - set(names))
    if not pairs:
        raise UserError(f"{show(path)} lists no clip.")
    if unknown:
        raise UserError(
            f"{show(path)} has {counted(len(unknown), 'template')} that class_names does not name: "
            f"{'; '.join(show(template[:100]) for template in unknown[:3])}."
        )
    places = _read_frame_list(frame_list, root) if frame_list else _places(root)
    sources = [places.get(clip, root / clip) for clip, _ in pairs]
    return Listing(sources, np.array([names[template] for _, template in pairs]), Counter())


def _places(root: Path) -> dict[str, Path]:
    """Videos and folders of frames by their names without suffix."""
    try:
        with os.scandir(root) as entries:
            found = [Path(entry.path) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"cannot list {show(root)}, the data's root: {error.strerror}.") from error
    return {path.name if not is_clip_name(path) else path.stem: path for path in found}


def _read_frame_list(path: Path, root: Path) -> dict[str, Path]:
    """The folder in which the frames of each clip lie, from a list with one line a frame."""
    folders: dict[str, Path] = {}
    lines = _read_text(path).splitlines()
    if not lines or not lines[0].startswith("original_vido_id"):
        raise UserError(f"{show(path)} is no list of frames: its first line must start with original_vido_id.")
    for number, line in enumerate(lines[1:], 2):
        fields = line.split(" ")
        if len(fields) < 4:
            raise UserError(f"{show(path)}, line {number}: expected a clip, two numbers and the path of a frame.")
        folder = root / Path(fields[3]).parent
        if folders.setdefault(fields[0], folder) != folder:
            raise UserError(f"{show(path)}, line {number}: the frames of clip {fields[0]} lie in several folders.")
    return folders


def _clips_in(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The clips in a folder and its sub-folders in alphabetical order, and how many other files of each kind."""
    files = list(files_below(folder))
    clips = [file for file in files if is_clip_name(file)]
    pictured = {file.parent for file in files if is_image_name(file)}
    holders = {above for clip in (*clips, *pictured) for above in clip.parents}
    frames = pictured - holders
    other = Counter(
        file.suffix.lower() or "without suffix"
        for file in files
        if not is_clip_name(file) and not (file.parent in frames and is_image_name(file))
    )
    return sorted((*clips, *frames)), other


def _read_text(path: Path) -> str:
    """The text of a list, at most 2 GB. Raises UserError if it is no file, no text, or too large."""
    try:
        with open_regular(path) as file:
            content = file.read(_LONGEST_LIST + 1)
    except OSError as error:
        raise UserError(f"cannot read the list {show(path)}: {system_reason(error)}.") from error
    if len(content) > _LONGEST_LIST:
        raise UserError(f"cannot read the list {show(path)}: it is longer than {_LONGEST_LIST / 1e6:g} MB.")
    if b"\0" in content:
        raise UserError(f"cannot read the list {show(path)}: it is no text, for it holds null characters.")
    return content.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")


def _parse_json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise UserError(f"{show(path)} is no JSON: {reason}.") from error
