"""`hvit predict` with an exported model: a command line that loads nothing but what runs the model."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hvit.errors import UserError, did_you_mean
from hvit.interrupts import Ended, raising_ended
from hvit.markup import quoted, shown
from hvit.runtime.open import is_exported

_WITH_VALUE = ("--top-k", "--batch-size", "--views", "--device", "--csv", "--tiles", "--overlap")
_OPTIONS = (*_WITH_VALUE, "--fast", "--json", "--help")


def takes(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for predictions of an exported model."""
    return arguments[:1] == ["predict"] and is_exported(_first_positional(arguments[1:]))


def main(arguments: Sequence[str]) -> None:
    """Runs `predict MODEL FILES`. Exit status as of every verb: 0 done, 2 something cannot be used, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        with raising_ended():
            given = _parser().parse_args(arguments[1:])
            if given.device not in ("auto", "cpu"):
                raise UserError(f"exported models run on the CPU, not on --device {quoted(given.device)}: omit it")
            refuse_options(["--fast"] * given.fast)
            if given.tiles is None and given.overlap:
                raise UserError("--overlap is of tiles: give --tiles SIZE, too")
            how = How(given.top_k, given.batch_size, given.json, given.csv, given.tiles, given.overlap, given.views)
            run(given.model, given.files, how)
            sys.stdout.flush()
    except UserError as error:
        _end(f"hvit: {error}", 2)
    except KeyboardInterrupt:
        _end("hvit: interrupted", 130)
    except Ended as error:
        _end(f"hvit: {error}", 2)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True)
class How:
    """How answers are made and written."""

    top_k: int = 5
    """Number of classes per image."""
    batch_size: int = 16
    """Number of images, or tiles, in a batch."""
    as_json: bool = False
    """Whether a JSON object is printed for each image."""
    csv: Path | None = None
    """The CSV file to write."""
    tiles: int | None = None
    """Side in pixels of tiles that images are cut into; None: the image as a whole."""
    overlap: int = 0
    """Pixels that neighbouring tiles share."""
    views: int = 5
    """Number of temporal views of a clip, whose probabilities are averaged."""


def run(model: Path, files: Sequence[Path], how: How) -> None:
    """Prints the most probable classes of images or clips; ends with status 2 if one cannot be read."""
    if min(how.top_k, how.batch_size, how.views) < 1:
        raise UserError(
            f"--top-k, --batch-size and --views must be 1 or more; got {how.top_k}, {how.batch_size} and {how.views}"
        )
    from hvit.data.clips.lists import list_clips
    from hvit.data.images.listing import list_images
    from hvit.data.images.tiles import check_tiles
    from hvit.runtime.answers import answer_line, json_line
    from hvit.runtime.clips import predict_clips
    from hvit.runtime.open import open_exported
    from hvit.runtime.predict import predict, predict_tiles, preparation
    from hvit.runtime.predictions_csv import written

    if how.tiles is not None:
        check_tiles(how.tiles, how.overlap)
    exported = open_exported(model)
    takes_clips = preparation(exported).takes_clips
    if takes_clips and how.tiles is not None:
        raise UserError("--tiles is for images, and this model takes clips: omit it")
    given = list_clips(files) if takes_clips else list_images(files)
    failed = []

    def refused(sentence: str) -> None:
        failed.append(sentence)
        print(shown(f"hvit: {sentence}"), file=sys.stderr, flush=True)

    if takes_clips:
        answers = predict_clips(exported, given, how.top_k, how.views, refused)
    elif how.tiles is None:
        answers = predict(exported, given, how.top_k, how.batch_size, refused)
    else:
        answers = predict_tiles(exported, given, how.top_k, how.batch_size, refused, how.tiles, how.overlap)
    for answer in answers if how.csv is None else written(answers, how.csv):
        print(json_line(answer) if how.as_json else shown(answer_line(answer)), flush=True)
    if failed:
        sys.stdout.flush()
        sys.exit(2)


def refuse_options(options: Iterable[str]) -> None:
    """Refuses (UserError) options that are for weights."""
    for option in options:
        raise UserError(f"{option} is for weights, and this model is exported: omit it")


class _Parser(argparse.ArgumentParser):
    """Refuses with one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        unknown = message.removeprefix("unrecognized arguments: ").split()
        near = did_you_mean(unknown[0], _OPTIONS) if unknown and unknown[0].startswith("--") else ""
        raise UserError(f"{message}{near or ';'} `hvit predict MODEL.onnx --help` lists the options")


def _parser() -> _Parser:
    parser = _Parser(
        prog="hvit predict", allow_abbrev=False,
        description="Predicts the most probable classes of images, or of clips, with an exported model.",
    )  # fmt: skip
    parser.add_argument("model", type=Path, help="an exported model: .onnx (onnxruntime) or .xml (OpenVINO)")
    parser.add_argument(
        "files", type=Path, nargs="+", help="images or clips, or folders of them; a folder of frames is a clip"
    )
    parser.add_argument("--top-k", type=int, default=5, help="number of classes per image (default: 5)")
    parser.add_argument("--batch-size", type=int, default=16, help="number of images in a batch (default: 16)")
    parser.add_argument("--views", type=int, default=5, help="temporal views of a clip that are averaged (default: 5)")
    parser.add_argument("--device", default="auto", help="auto or cpu: exported models run on the CPU")
    parser.add_argument("--fast", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--csv", type=Path, help="CSV file to write, with a row for each image or clip")
    parser.add_argument("--tiles", type=int, help="side in pixels of tiles that images are cut into, and averaged over")
    parser.add_argument("--overlap", type=int, default=0, help="pixels that neighbouring tiles share (default: 0)")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each image or clip")
    return parser


def _first_positional(words: Sequence[str]) -> str:
    """The first word that is no option and no value of one."""
    before = ""
    for word in words:
        if not word.startswith("-") and before not in _WITH_VALUE:
            return word
        before = word
    return ""


def _end(sentence: str, status: int) -> NoReturn:
    with suppress(OSError):
        print(shown(sentence), file=sys.stderr, flush=True)
    sys.exit(status)
