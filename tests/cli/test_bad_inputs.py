"""What is no input of a verb ends with one sentence and status 2: every verb, every kind of path, every number.

A row of `COMMANDS` is a command with a place (X) for one kind of value, such as the path of weights; every kind has its
values in `values_of`. The fast test gives each command some of them, so that each is given to some command; the slow
one gives all of them to all. A new verb needs a row, or more, and a new kind of damage a value.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from hvit.cli.arguments import options_of
from hvit.cli.completion import ARGUMENTS
from hvit.models.build import build
from hvit.models.nest.config import NestConfig
from hvit.models.weights.save import save_weights

Run = Callable[..., tuple[int, str, str]]
TRAIN = "train nest_micro_folder --loop.max-steps 1 --loop.workers 0 --loop.batch-size 4 --out o --dry-run"
# kind of value -> commands with a place for it; {run}, {photos} and {image} are valid ones.
COMMANDS = {
    "weights": (
        "evaluate X", "predict X {image}", "explain X {image}", "embed X {image}",
        "export X --format torch --out o.pt2", "convert X o.pth --to official",
        "convert X o.safetensors --to hvit", "push X anna/cats --dry-run",
        "app X", "generate X", "benchmark X --seconds 0.01", "report X", "compare X {run}", "resume X",
        f"{TRAIN} --data.root {{photos}} --weights X", "probe X --root {photos} --dry-run", "neighbours X",
    ),
    "images": (
        "predict {run} X", "predict {run} X --parquet o", "explain {run} X --methods cam --top-k 1",
        "embed {run} X --out o.npy", "export {run} --format torch --out o.pt2 --images X",
        "explain {run} {photos} --check 10 --methods cam --places X", "neighbours {run} X",
    ),
    "data": (
        f"{TRAIN} --data.root X", f"{TRAIN} --data.root {{photos}} --data.table X", f"{TRAIN} --data.shards X",
        "evaluate {run} --root X", "evaluate {run} --data folder --root X", "shards X o", "resume {run} --root X",
        "probe {run} --root X --dry-run", "embed {run} --root X --out o.npy",
    ),
    "out": (
        "predict {run} {image} --csv X", "predict {run} {image} --parquet X",
        "explain {run} {image} --methods cam --top-k 1 --out X", "embed {run} {image} --out X",
        "convert {run} X --to official", "convert {run} X --to hvit", "push {run} anna/cats --folder X",
        "shards {photos} X", f"{TRAIN.removesuffix(' --dry-run')} --data.root nowhere --out X",
    ),
}  # fmt: skip
# A command for every verb that has options with numbers.
NUMBERED = {
    "plan": "nest_micro_digits", "predict": "{run} {image}", "explain": "{run} {image}", "generate": "nowhere",
    "embed": "{run} {image}", "neighbours": "nowhere", "benchmark": "nowhere",
    "export": "nowhere --format torch --out o.pt2", "app": "nowhere", "probe": "nowhere --root {photos}",
}  # fmt: skip
NUMBERS = ("0", "-1", "nan", "inf", "1e99", "9" * 30, "9" * 500, "", "1.5", "x")


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory, colour_run: Path, photo_folder: Path) -> Path:
    """A folder of files and folders that are not what their names say."""
    here = tmp_path_factory.mktemp("damaged")
    image, weights = (photo_folder / "red" / "0.png").read_bytes(), (colour_run / "weights.safetensors").read_bytes()
    for ending in ("png", "safetensors", "json", "onnx", "xml", "tar", "parquet", "csv", "mp4", "gif", "npy", "pth"):
        (here / f"empty.{ending}").touch()
        (here / f"text.{ending}").write_text("no such file\nat all\n")
        (here / f"bytes.{ending}").write_bytes(np.random.default_rng(1).bytes(3000))
    (here / "cut.png").write_bytes(image[: len(image) // 2])
    (here / "cut.safetensors").write_bytes(weights[: len(weights) // 2])
    (here / "missing.csv").write_text("path,label\nnowhere.png,a\nneither.png,b\n")
    (here / "header.csv").write_text("path,label\n")
    (here / "nothing" / "a").mkdir(parents=True)
    (here / "one" / "a").mkdir(parents=True)
    (here / "one" / "a" / "x.png").write_bytes(image)
    (here / "cut" / "a").mkdir(parents=True)
    (here / "cut" / "b").mkdir()
    for name in "ab":
        (here / "cut" / name / "x.png").write_bytes(image[:200])
    shutil.copytree(colour_run, here / "run")
    (here / "run" / "recipe.json").write_text('{"na')
    (here / "run" / "weights.safetensors").write_bytes(weights[:100])
    os.mkfifo(here / "pipe")
    (here / "circle").symlink_to("circle")
    (here / "dangling").symlink_to("nowhere")
    return here


def values_of(kind: str, damaged: Path, image: Path) -> list[str]:
    """Everything that is given in the place of a kind of value."""
    if kind == "out":
        return [
            "/dev/null", "/proc/x/y.npy", f"{image}/under.npy", str(damaged / "pipe"), str(damaged / "circle"),
            "x" * 300 + ".npy", "", ".", str(image.parent),
        ]  # fmt: skip
    names = [
        "",
        "nowhere",
        "nowhere/deep.png",
        "/dev/null",
        "/proc/self/mem",
        "~nobody_here",
        "http://x.org/a.png",
        "-",
    ]
    files = [str(path) for path in sorted(damaged.iterdir())]
    return [*names, *files, *([str(image)] if kind == "weights" else [])]


def check(hvit: Run, words: Iterable[str]) -> int:
    """Runs a command and checks how it ends; returns its status."""
    words = list(words)
    status, out, err = hvit(*words)
    assert status in (0, 2), (words, out, err)
    assert "Traceback" not in out + err, words
    if status == 2:
        last = err.splitlines()[-1]
        assert last.startswith("hvit: "), (words, err)
        assert 20 < len(last) < 1500, (words, last)
    assert not list(Path().rglob("*.unfinished")), words
    return status


def filled(command: str, value: str, run: Path, photos: Path) -> list[str]:
    places = {"{run}": str(run), "{photos}": str(photos), "{image}": str(photos / "red" / "0.png"), "X": value}
    return [places.get(word, word) for word in command.split()]


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_path_that_cannot_be_used_is_one_sentence(
    hvit: Run, kind: str, damaged: Path, colour_run: Path, photo_folder: Path
) -> None:
    values = values_of(kind, damaged, photo_folder / "red" / "0.png")
    commands = COMMANDS[kind]
    for number, value in enumerate(values):
        check(hvit, filled(commands[number % len(commands)], value, colour_run, photo_folder))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_no_path_of_any_kind_breaks_a_verb(
    hvit: Run, kind: str, damaged: Path, colour_run: Path, photo_folder: Path
) -> None:
    for command in COMMANDS[kind]:
        for value in values_of(kind, damaged, photo_folder / "red" / "0.png"):
            check(hvit, filled(command, value, colour_run, photo_folder))


SMALL = NestConfig(input_size=(16, 16), patch_size=(2, 2), num_classes=2, dims=(4, 8), heads=(2, 4), depths=(1, 1))
LOST: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "has no weights.safetensors (yet): `hvit resume"),
    "empty": (lambda file: file.write_bytes(b""), "weights.safetensors is empty"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:-9]), "weights.safetensors is damaged"),
    "folder": (lambda file: (file.unlink(), file.mkdir()), "weights.safetensors is a folder"),
    "nothing": (lambda file: (file.unlink(), file.symlink_to("nowhere")), "weights.safetensors is a link"),
    "text": (lambda file: file.write_text("weights" * 99), "weights.safetensors is no weights file"),
    "other": (lambda file: save_weights(build(SMALL), file), "are of another model than its recipe.json says"),
}
"""What can be wrong with the weights of a run, and the words for it."""
READ_WEIGHTS = (
    *(
        command
        for command in COMMANDS["weights"]
        if command.split()[0] not in ("report", "compare", "resume", "neighbours")
    ),
    f"{TRAIN} --data.root {{photos}} --distill.teachers X",
)


@pytest.mark.parametrize("how", LOST)
def test_a_run_whose_weights_are_lost_or_damaged_is_one_sentence(
    hvit: Run, how: str, tmp_path: Path, colour_run: Path, photo_folder: Path
) -> None:
    harm, words = LOST[how]
    shutil.copytree(colour_run, tmp_path / "run")
    harm(tmp_path / "run" / "weights.safetensors")
    for command in READ_WEIGHTS:
        status, out, err = hvit(*filled(command, "run", colour_run, photo_folder))
        assert status == 2, (command, out, err)
        does_not_fit = how == "other" and "run (hvit) does not fit this model: " in err
        assert words in err.splitlines()[-1] or does_not_fit, (command, err)
    if how == "folder":
        status, _, err = hvit("resume", "run")
        assert (status, "weights.safetensors" in err.splitlines()[-1]) == (2, True), "it is not replaced"
    if how == "truncated":
        assert hvit("report", "run")[0] == 0, "which needs none"
        assert hvit("resume", "run")[0] == 0, "what a run has trained is written from its checkpoint"
        assert hvit("predict", "run", photo_folder / "red" / "0.png")[0] == 0


def _numeric_options() -> list[tuple[str, str]]:
    """Every option of a verb that takes a number."""

    def takes_number(hint: object) -> bool:
        return hint in (int, float) or any(takes_number(part) for part in get_args(hint))

    return [
        (verb, f"--{name.replace('_', '-')}")
        for verb in NUMBERED
        if isinstance(kind := ARGUMENTS[verb], type)
        for name, (hint, _) in options_of(kind, None).items()
        if takes_number(hint)
    ]


def test_a_number_that_cannot_be_used_is_one_sentence(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    """Numbers that no option allows; each option gets one of them."""
    never = [number for number in NUMBERS if number not in ("0", "1.5")]
    for count, (verb, option) in enumerate(_numeric_options()):
        words = filled(f"{verb} {NUMBERED[verb]} {option} X", never[count % len(never)], colour_run, photo_folder)
        check(hvit, words)


@pytest.mark.slow
def test_no_number_breaks_a_verb(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    for verb, option in _numeric_options():
        for number in NUMBERS:
            check(hvit, filled(f"{verb} {NUMBERED[verb]} {option} X", number, colour_run, photo_folder))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "{run}", ""), "hvit predict got an empty word where a name is wanted; is a variable of the shell"),
        (("predict", "{run}", "{image}", "--csv", ""), "--csv got an empty word where a name is wanted"),
        (("predict", "{run}", "--json", ""), "hvit predict got an empty word"),
        (("predict", "{run}", "https://x.org/a.png"), "is a URL: only shards are read from another machine"),
        (
            ("predict", "{image}", "{run}"),
            "is no weights file; known are safetensors, torch (.pth, .pt, .bin) and Flax",
        ),
        (("predict", "{image}", "{run}"), "; weights or a run folder come first, and images after them"),
        (("report", "{image}"), "0.png is a file: give the folder of a run"),
        (("shards", "nowhere", "out"), "nowhere does not exist: give a folder with a sub-folder a class, or a table"),
        (("shards", "~nobody_here", "out"), "~nobody_here does not exist"),
        (("embed", "~nobody_here", "{image}"), "there is no weights file ~nobody_here"),
        (("explain", "{run}", "{image}", "--check", "10"), "--check needs 10 images or more; got 1"),
        (("predict", "{run}", "{image}", "--top-k", "9" * 30), "--top-k takes whole numbers below 2^63; got '999"),
        (("train", "nest_micro_digits", "--weights", "circle", "--out", "o"), "circle is a link that leads to itself"),
    ],
)
def test_frequent_mistakes_have_sentences_of_their_own(
    hvit: Run, colour_run: Path, photo_folder: Path, words: tuple[str, ...], sentence: str
) -> None:
    Path("circle").symlink_to("circle")
    status, out, err = hvit(*(filled(word, "", colour_run, photo_folder)[0] if word else "" for word in words))
    assert (status, out) == (2, "")
    assert sentence in err


def test_odd_images_are_answered(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    """Every mode, side and name of an image that a camera, a scanner or a person makes."""
    base = Image.open(photo_folder / "red" / "0.png")
    Path("images").mkdir()
    for name in ("with space.png", "unicöde ☃.png", "new\nline.png", "-dash.png"):
        base.save(Path("images", name))
    for name, size in (("one.png", (1, 1)), ("wide.png", (10_000, 1)), ("tall.png", (1, 10_000))):
        Image.new("RGB", size, (200, 3, 9)).save(Path("images", name))
    base.convert("CMYK").save("images/cmyk.jpg")
    base.convert("P").save("images/palette.png")
    base.convert("RGBA").save("images/alpha.png")
    base.convert("P").save("images/moving.gif", save_all=True, append_images=[base.rotate(90).convert("P")])
    Image.fromarray(np.arange(1920, dtype=np.uint16).reshape(40, 48) * 30).save("images/deep.png")
    turned = Image.Exif()
    turned[274] = 6
    base.save("images/turned.jpg", exif=turned)
    status, out, err = hvit("predict", colour_run, "images", "--json")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == len(list(Path("images").iterdir())) == 13
