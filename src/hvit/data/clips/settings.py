"""The options of your own clips: where they lie, how they are listed, split and sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit.data.clips.packaged import PACKAGED
from hvit.data.folds import check_folds
from hvit.data.grey import GreyRange
from hvit.data.sets import check_own_data
from hvit.data.tables.settings import LabelOptions, check_label_options
from hvit.errors import UserError


@dataclass(frozen=True)
class ClipData(LabelOptions):
    """Your own clips, in class folders or in the lists of Kinetics or Something-Something: videos, folders of frames,
    or .npy arrays."""

    kind: Literal["clips"] = "clips"
    """Which data set: clips."""
    root: str = ""
    """The folder: DIR/train/CLASS/… with DIR/val/CLASS/… (or validation, valid, test), or DIR/CLASS/… to be split; with
    lists, where their paths start from."""
    train_list: str = ""
    """A list of the training clips, instead of class folders: lines of path and label, as in Kinetics, or the JSON
    of Something-Something."""
    held_out_list: str = ""
    """A list of the held-out clips; default: a share of the training clips is held out."""
    separator: str = " "
    """Separator of path and label in a line of a list; the last one counts, so that paths may contain it."""
    class_names: str = ""
    """A file with the names of the classes: one a line, or JSON with their numbers, as Something-Something's labels."""
    train_frames: str = ""
    """With Something-Something's JSON: SlowFast's list of frames of the training clips, where their folders have
    other names than the clips."""
    held_out_frames: str = ""
    """The same for the held-out clips."""
    labels: Literal["folders", "none", "auto"] = "folders"
    """Where classes come from. folders: the sub-folder of a clip; none: all clips anywhere in the folder are one
    unlabelled data set, enough for masked pretraining; auto: the sub-folders if there are any, else none."""
    val_fraction: float = 0.2
    """Share of each class that is held out when there is no val folder and no held-out list."""
    split_seed: int = 0
    """Another number holds out other clips. Apart from the run's seed, so that runs stay comparable."""
    sampling: Literal["span", "segments"] = "span"
    """Which frames are used. span: neighbouring frames; segments: one of each equal segment of the whole clip."""
    stride: int = 4
    """With sampling span: frames from one to the next, at the target frame rate."""
    target_fps: float = 30.0
    """With sampling span: frames per second to which clips of other rates are converted."""
    frame_rate: float = 30.0
    """Frames per second of folders of frames and of arrays, which do not state theirs."""
    temporal_views: int = 1
    """Number of temporal views in evaluation; their probabilities are averaged."""
    spatial_views: Literal[1, 3] = 1
    """Number of spatial views in evaluation: 1 (the centre), or 3 (both ends and the middle of the longer side)."""
    view_starts: Literal["offset", "share"] = "offset"
    """Where temporal views start: offset for the first at the beginning and the last at the end, a single one in the
    middle; share for equal steps from the beginning."""
    short_side: int = 512
    """Frames whose shorter side is longer are scaled down to it as they are read, which saves memory; 0 for never."""
    check: Literal["auto", "decode", "header", "none"] = "auto"
    """How clips are checked before training: decoded in full, by their headers and first frames, or not at all; auto
    decodes up to 500 and looks at headers beyond."""
    unreadable: Literal["skip", "stop"] = "skip"
    """What to do about clips that the check finds unreadable: name and skip them, or name them and stop."""
    grey_range: GreyRange = "auto"
    """Black and white of frames that are images with more than 8 bits a channel: auto, full, percentile, or two numbers
    such as 0 4095 (as for images)."""
    page: int | None = None
    """Which page of frames that are TIFF files with several is read, from 1; none to refuse such files."""
    cache: str = ""
    """The file that remembers what the check found; empty for .hvit_clips.json in the data's root, none for no file."""
    folds: int = 0
    """Parts for cross-validation, stratified by class: each is held out once, in a run of its own; 0: none. The clips
    of a val folder are among them, those of a test folder are not."""
    fold: int = 0
    """Which of the folds this run holds out, from 1; 0: all of them, one run after the other."""
    group: str = ""
    """What stays in one fold, such as all clips of a patient: a file of lines name,group, or a regular expression that
    finds the group in the path from the data's root; default: nothing."""
    num_per_class: int | None = None
    """Number of training clips per class; default: all."""
    fraction: float | None = None
    """Share of the training clips of each class (0 to 1); default: all."""

    def __post_init__(self) -> None:
        check_own_data(self)
        check_folds(self)
        check_label_options(self)
        if self.table and self.train_list:
            raise UserError("table and train_list both list the clips: give only one")
        for name in ("stride", "temporal_views"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("target_fps", "frame_rate"):
            if not 0 < getattr(self, name) <= 1000:
                raise UserError(f"{name} must be above 0 and at most 1000, not {getattr(self, name)}.")
        if self.short_side < 0:
            raise UserError(f"short_side must be 0 or more, not {self.short_side}.")
        if not self.separator:
            raise UserError("separator must not be empty: choose what parts path and label, such as a space.")
        if self.sampling == "segments" and self.temporal_views > 1:
            raise UserError(
                f"temporal_views must be 1, not {self.temporal_views}, with sampling segments: all views in time would "
                "be the same."
            )
        if not self.train_list and (self.held_out_list or self.train_frames or self.held_out_frames):
            raise UserError("held_out_list, train_frames and held_out_frames need train_list.")
        if self.train_list.startswith(PACKAGED) and not self.root:
            raise UserError(
                f"{self.train_list} is a list of hvit's own: give the folder of its clips as the data's root."
            )
        if (self.train_frames or self.held_out_frames) and not self.train_list.lower().endswith(".json"):
            raise UserError("train_frames and held_out_frames are for lists in Something-Something's JSON only.")
