"""Recipes, run folders and command lines, changed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_mutations import (
    CONTROL,
    MARKUP,
    ODD_TEXTS,
    as_json,
    changed_bytes,
    changed_pickle,
    changed_tree,
    changed_zip,
    odd_value,
)
from fuzz_watch import FORBIDDEN, Escaped
from PIL import Image

from hvit.cli.main import main
from hvit.data.images.folders import FolderData
from hvit.models import catalogue
from hvit.models.build import build_network
from hvit.models.create import create_model
from hvit.models.weights.save import save_weights
from hvit.recipe import read_recipe
from hvit.recipes import get_recipe, list_recipes
from hvit.verbs import train

_QUICK = (
    "nest_micro_digits", "vit_micro_digits", "resnet_micro_digits", "nest_micro_folder", "mvitv2_micro_digits",
    "hiera_micro_digits", "mae_hiera_micro_digits", "nest_gan_digits", "hiera_micro_moving_digits",
)  # fmt: skip


def call(arguments: list[str]) -> None:
    """Runs a verb in this process. Raises SystemExit as it does, and Escaped where its output gives orders."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    finally:
        text = out.getvalue() + err.getvalue()
        wrong = sorted({letter for letter in text if ord(letter) in FORBIDDEN or 0xD800 <= ord(letter) < 0xE000})
        if wrong:
            raise Escaped(f"{arguments} printed {wrong}")


def photo_folder(folder: Path) -> Path:
    """Two classes of six small images each."""
    colours = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(6):
            pixels = colours.integers(0, 80, (24, 30, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def small_run(folder: Path) -> Path:
    """A finished run of two steps on photos beside it, with two checkpoints; trained once."""
    if folder.exists():
        return folder
    photos = photo_folder(folder.parent / "photos")
    recipe = get_recipe("nest_micro_folder")
    model = replace(recipe.model, input_size=(16, 16), patch_size=(2, 2), dims=(4, 8), heads=(1, 1), depths=(1, 1))
    loop = replace(
        recipe.loop, epochs=1, batch_size=4, max_steps=2, workers=0, device="cpu", checkpoint_steps=1, evaluate_steps=1
    )
    train.train(replace(recipe, model=model, data=FolderData(root=str(photos)), loop=loop), folder)
    return folder


class Recipes:
    """recipe.json of every named recipe, and fields of the command line: planned, or trained for a step."""

    def __init__(self, folder: Path) -> None:
        self.photos = photo_folder(folder / "given" / "photos")
        self.names = list_recipes()
        self.quick = [name for name in _QUICK if name in self.names]
        self.trees = {name: json.loads(json.dumps(asdict(get_recipe(name)))) for name in self.names}  # pyright: ignore
        self.small = json.loads((small_run(folder / "given" / "run") / "recipe.json").read_bytes())

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        if draw.random() < 0.02:
            return self.training(draw, folder)
        name = draw.choice(self.quick if draw.random() < 0.7 else self.names)
        if draw.random() < 0.3:
            fields = [part for _ in range(draw.choice((1, 1, 2, 3))) for part in self.field(draw, name)]
            return lambda: call(["train", name, *fields, "--dry-run"])
        tree = self.trees[name]
        if tree["data"]["kind"] in ("folder", "clips"):
            tree = tree | {"data": tree["data"] | {"root": str(self.photos)}}
        if draw.random() < 0.3:
            part, other = draw.choice(list(tree)), self.trees[draw.choice(self.quick)]
            tree = tree | {part: other[part]}
        tree = changed_tree(draw, tree)
        text = as_json(tree).encode()
        (folder / "recipe.json").write_bytes(changed_bytes(draw, text) if draw.random() < 0.1 else text)

        def plan() -> None:
            recipe = read_recipe(folder)
            if recipe.data.kind in ("digits", "moving_digits", "folder"):
                train.plan(replace(recipe, loop=replace(recipe.loop, device="cpu")))

        return plan

    def training(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        """A step of a small model, with changes in how it is trained."""
        tree = {name: value for name, value in self.small.items() if name != "model"}
        part = draw.choice(("augment", "optimize", "loop", "data"))
        tree[part] = changed_tree(draw, tree[part])
        if isinstance(tree["loop"], dict):
            tree["loop"] |= {"max_steps": 1, "workers": 0, "compile": False}
        (folder / "recipe.json").write_text(as_json(tree | {"model": self.small["model"]}))
        return lambda: train.train(read_recipe(folder), folder / "run")  # pyright: ignore[reportReturnType]

    def field(self, draw: random.Random, name: str) -> list[str]:
        """An option of the command line with an odd value."""
        path, branch = [], self.trees[name]
        while isinstance(branch, dict):
            path.append(draw.choice(list(branch)))
            branch = branch[path[-1]]
        option = "--" + ".".join(path).replace("_", "-")
        if option.startswith("--data.root") and draw.random() < 0.5:
            return [option, str(self.photos)]
        return [option, *as_arguments(draw, draw.choice((branch, odd_value(draw), odd_value(draw))))]


def as_arguments(draw: random.Random, value: Any) -> list[str]:
    """A value as words of a command line."""
    words = [str(one) for one in value[:20]] if isinstance(value, list) else [str(value)]
    return [word.replace("\0", "")[:20_000] for word in words]


class Runs:
    """The files of a run folder: a journal, plan, checkpoint, score or weights file changed, replaced or gone."""

    def __init__(self, folder: Path) -> None:
        made = small_run(folder / "given" / "run")
        self.photos = made.parent / "photos"
        self.files = {
            str(path.relative_to(made)): path.read_bytes() for path in sorted(made.rglob("*")) if path.is_file()
        }
        self.image = self.photos / "red" / "0.png"

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        here = folder / "run"
        files = dict(self.files)
        if draw.random() < 0.3:  # stopped before its end
            for name in [name for name in files if "000002" in name or name in ("scores.json", "report.html")]:
                del files[name]
        names = [name for name in files if name.endswith((".json", ".jsonl", ".checkpoint", ".safetensors", ".png"))]
        odd: list[str] = []
        for _ in range(draw.choice((1, 1, 2))):
            name = draw.choice(names)
            way = draw.randrange(12)
            if way == 0:
                files.pop(name, None)
            elif way == 1:
                files[name] = b""
            elif way == 2:
                odd.append(name)
            elif name in files:
                files[name] = self.change(draw, name, files[name])
        for name, content in files.items():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_bytes(content)
        for name in odd:
            _put_something_else(draw, here / name)
        action = draw.choice(("report",) * 5 + ("resume", "resume", "resume", "evaluate", "predict"))
        more = [str(self.image)] if action == "predict" else []

        def use() -> None:
            call([action, str(here), *more])
            if action == "report" and MARKUP in (here / "report.html").read_text(encoding="utf-8"):
                raise Escaped("report.html holds markup of a file")

        return use

    def change(self, draw: random.Random, name: str, content: bytes) -> bytes:
        if draw.random() < 0.2 or content not in (b"", self.files[name]):
            return changed_bytes(draw, content)
        if name.endswith(".json"):
            return as_json(changed_tree(draw, json.loads(content or b"{}"))).encode()
        if name.endswith(".jsonl"):
            lines = [json.loads(line) for line in content.splitlines()]
            tree = changed_tree(draw, lines)
            return b"\n".join(as_json(one).encode() for one in (tree if isinstance(tree, list) else [tree])) + b"\n"
        if name.endswith(".checkpoint"):
            return _changed_checkpoint(draw, content)
        return changed_bytes(draw, content, [(0, 400)])


def _changed_checkpoint(draw: random.Random, content: bytes) -> bytes:
    """A checkpoint with a right checksum, and another state."""
    if not content:
        return draw.randbytes(100)
    magic = content.index(b"\n") + 1
    payload = content[magic + 32 :]
    if draw.random() < 0.5:
        state = torch.load(io.BytesIO(payload), weights_only=True)
        state = changed_tree(draw, state)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
    else:
        payload = draw.choice((changed_zip, changed_pickle, changed_bytes))(draw, payload)
    return content[:magic] + hashlib.sha256(payload).digest() + payload


def _put_something_else(draw: random.Random, path: Path) -> None:
    """A folder, a link to nothing, to itself or to a device, a pipe, or a hole of 8 GB in the place of a file."""
    content = path.read_bytes()[:1000] if path.is_file() else b""
    path.unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    kind = draw.randrange(6)
    if kind == 0:
        path.mkdir(parents=True)
    elif kind == 1:
        path.symlink_to("nowhere")
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        os.mkfifo(path)
    elif kind == 4:
        path.write_bytes(content)
        os.truncate(path, 2**33)
    else:
        path.symlink_to("/dev/zero")


class Arguments:
    """Command lines of every verb, with odd words in them."""

    def __init__(self, folder: Path) -> None:
        self.given = folder / "given"
        small_run(self.given / "run")
        torch.manual_seed(0)
        generator = replace(catalogue.entry("conv_generator_digits_32").config, dims=(16, 16, 8, 8))  # pyright: ignore
        save_weights(build_network(generator), self.given / "generator.safetensors")
        clips = create_model("hiera_micro_16x64", num_classes=2)
        classes = [MARKUP, CONTROL.replace("\ud800", "")]
        save_weights(clips, self.given / "clips.safetensors", classes=classes)
        np.save(self.given / "clip.npy", np.zeros((20, 40, 48, 3), np.uint8))

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        here = folder / "given"
        shutil.copytree(self.given, here)
        photos, clip, clips = str(here / "photos"), str(here / "clip.npy"), str(here / "clips.safetensors")
        image, weights, generator = f"{photos}/red/0.png", str(here / "run"), str(here / "generator.safetensors")
        lines = [
            ["models", "nest*"], ["models", "hiera*", "--json"], ["recipes", "*digits*"], ["recipes", "--json"],
            ["train", draw.choice(list_recipes()), "--seed", "3"],
            ["train", "nest_micro_folder", "--data.root", photos, "--loop.batch-size", "4"],
            ["train", "nest_micro_digits", "--weights", weights, "--out", "x"],
            ["resume", weights, "--root", photos], ["report", weights], ["evaluate", weights, "--json"],
            ["evaluate", weights, "--data", "folder", "--root", photos, "--device", "cpu"],
            ["predict", weights, image, "--top-k", "2", "--batch-size", "3", "--json"],
            ["predict", clips, clip, "--views", "2"],
            ["explain", weights, image, "--classes", "red", "--level", "0", "--beam", "2"],
            ["explain", weights, image, "--methods", "gradcat", "cam", "--top-k", "2", "--out", "why", "--json"],
            ["explain", clips, clip, "--top-k", "1"],
            ["generate", generator, "--num", "3", "--seed", "1", "--columns", "2", "--interpolations", "1", "--each"],
            ["plan", draw.choice(list_recipes()), "--gpus", "8", "--gpu", "h100", "--images", "1000"],
            ["predict", weights, image, "--csv", "answers.csv"], ["predict", weights, photos, "--tiles", "16"],
            ["predict", weights, photos, "--parquet", "answers", "--batch-size", "2"],
            ["embed", weights, photos, "--out", "features.npy"], ["embed", weights, image, "--level", "0", "--json"],
            ["neighbours", weights, image], ["neighbours", "features.npy", photos, "--num", "2"],
            ["shards", photos, "shards", "--size", "20kB", "--order", "listed"],
            ["probe", weights, "--root", photos, "--per-class", "2", "--dry-run"],
            ["convert", weights, "out.pth", "--to", "official"], ["convert", weights, "out", "--to", "transformers"],
            ["export", weights, "--format", "torch", "--out", "out.pt2", "--compare", "2"],
            ["push", weights, "anna/cats", "--folder", "card"], ["push", weights, "anna/cats", "--dry-run"],
            ["compare", weights, weights], ["experiments", "status", "--scale", "quick"],
            ["experiments", "table", "aggregation", "--seeds", "1"], ["completion", "bash"],
        ]  # fmt: skip
        words = draw.choice(lines)
        values = (image, weights, photos, generator, clips, clip, ".", "recipe")
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            self.change(draw, words, values)
        words = [word.replace("\0", "")[:20_000] for word in words]
        if "demo" in words[:1] or "--fast" in words:  # minutes, and what the machine allows
            words = ["demo", "--odd"]
        if words[:1] == ["train"]:
            words.append("--dry-run")
        return lambda: call(words)

    def change(self, draw: random.Random, words: list[str], values: tuple[str, ...]) -> None:
        place, way = draw.randrange(len(words) or 1), draw.randrange(8)
        place = max(place, 1) if len(words) > 1 and draw.random() < 0.9 else place
        if way == 0 and words:
            del words[place]
        elif way == 1:
            words.insert(place, draw.choice(words or ["x"]))
        elif way in (2, 3):
            options = (
                "--json", "--help", "--device", "--root", "--data", "--classes", "--top-k", "--beam", "--level",
                "--num", "--views", "--out", "--methods", "--", "-1", "--batch-size", "--seed", "--columns",
                "--interpolations", "--csv", "--parquet", "--tiles", "--overlap", "--budget", "--check", "--places",
                "--size", "--per-class", "--compare", "--precision", "--gpus", "--price", "--map", "--distance",
            )  # fmt: skip
            words[len(words) :] = [draw.choice(options), *as_arguments(draw, odd_value(draw))]
        elif way == 4:
            words[place : place + 1] = [draw.choice(values)]
        else:
            words[place : place + 1] = as_arguments(draw, odd_value(draw)) or [draw.choice(ODD_TEXTS)]
