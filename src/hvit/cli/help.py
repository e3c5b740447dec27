"""Writes `--help`: what a command does, an example, and its options in groups, inside the width of the terminal.

Texts are the sentences under the fields of a dataclass; tyro, which parses, writes none of this.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin, get_type_hints

from rich.text import Text

from hvit.cli.printing import out, waited
from hvit.markup import shown

if TYPE_CHECKING:
    from hvit.recipe import Recipe

EXAMPLES: Mapping[str, str] = {
    "demo": "hvit demo",
    "models": 'hvit models "nest*"',
    "recipes": "hvit recipes",
    "plan": "hvit plan hiera_large_imagenet_mae --gpus 64 --gpu h200",
    "train": "hvit train photos --data.root photos",
    "probe": "hvit probe auto --root photos",
    "resume": "hvit resume runs/photos",
    "shards": "hvit shards photos shards",
    "evaluate": "hvit evaluate runs/photos",
    "predict": "hvit predict runs/photos cat.jpg",
    "explain": "hvit explain runs/photos cat.jpg",
    "app": "hvit app runs/photos",
    "embed": "hvit embed teacher photos --out features.npy",
    "neighbours": "hvit neighbours features.npy",
    "export": "hvit export runs/photos --format onnx --out cat.onnx",
    "convert": "hvit convert runs/photos cat.pth --to timm",
    "push": "hvit push runs/photos anna/cats",
    "generate": "hvit generate runs/nest_gan_digits_32",
    "benchmark": "hvit benchmark nest_tiny_224 --against timm",
    "report": "hvit report runs/photos",
    "compare": "hvit compare runs/demo runs/demo-2",
    "experiments": "hvit experiments list",
    "experiments list": "hvit experiments list",
    "experiments run": "hvit experiments run aggregation --scale quick --budget 30",
    "experiments status": "hvit experiments status",
    "experiments table": "hvit experiments table aggregation",
    "completion": "hvit completion bash",
}
"""An example of every command, without those of single recipes."""

# Options that are in a group of their own in every command.
_GROUPS = {
    "output": (
        "out", "json", "csv", "parquet", "picture", "folder", "dry_run", "tensorboard", "private", "branch",
        "replace",
    ),
    "machine": ("device", "fast", "workers", "threads", "precision", "batch_size", "jobs", "part", "host", "port"),
}  # fmt: skip
_WIDEST, _NARROWEST = 100, 40
_COLUMN = 24  # where texts begin next to short options


@dataclass
class _Group:
    """Options under one heading."""

    title: str
    about: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)


def width() -> int:
    """Columns that help takes at most: those of the terminal or of COLUMNS, a hundred at most, 80 where neither is."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))


def paragraphs(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """A text in lines of `width`; empty lines part paragraphs."""
    wrap = textwrap.TextWrapper(
        width(), initial_indent=indent, subsequent_indent=indent if hanging is None else hanging, break_on_hyphens=False
    )
    lines: list[str] = []
    for part in re.split(r"\n\s*\n", text.strip()):
        lines += [""] * bool(lines) + wrap.wrap(" ".join(part.split()))
    return lines


def print_lines(lines: Sequence[str]) -> None:
    """Prints lines of help; those that begin in the first column and end with a colon are headings."""
    waited()
    for line in lines:
        is_heading = line.endswith(":") and line[:1].strip() != ""
        out.print(Text(shown(line), style="bold" if is_heading else ""), soft_wrap=True)


def print_help(kind: type, command: str, default: object, example: str) -> None:
    """Prints the help of a command: a dataclass of arguments, and what holds for options that are not given."""
    positional, groups = _arguments(kind, default)
    words = " ".join(name for name, _ in positional)
    lines = paragraphs(f"usage: {command} {words} [options]".replace("  ", " "), hanging="    ")
    lines += ["", *paragraphs(inspect.cleandoc(kind.__doc__ or ""))]
    if example:
        lines += ["", "example:", *paragraphs(example, "  ", "      ")]
    if positional:
        lines += ["", "arguments:"]
        for name, text in positional:
            lines += _row(name, text)
    for group in groups:
        if group.rows:
            lines += ["", f"{group.title}:", *paragraphs(group.about, "  ")]
            for name, text in group.rows:
                lines += _row(name, text)
    print_lines(lines)


def print_commands(usage: str, about: str, commands: Sequence[tuple[str, str]], end: str) -> None:
    """Prints the commands that there are, each with a sentence."""
    names = max(len(name) for name, _ in commands) + 4
    lines = [*paragraphs(usage), "", *paragraphs(about), ""]
    for name, text in commands:
        rows = paragraphs(text, " " * names)
        lines += [f"  {name}".ljust(names) + rows[0][names:], *rows[1:]]
    print_lines([*lines, "", *paragraphs(end)])


def print_of_recipes(verb: str, options: str, about: str) -> None:
    """Prints the help of a verb that takes a recipe, and the recipes."""
    from hvit.recipes import list_recipes

    print_lines(
        [
            *paragraphs(f"usage: hvit {verb} RECIPE {options}", hanging="    "), "",
            *paragraphs(about), "",
            "example:", *paragraphs(EXAMPLES[verb], "  "), "",
            *paragraphs(f"`hvit {verb} RECIPE --help` explains every option; `hvit recipes` describes the recipes."),
            "", "recipes:", *paragraphs(", ".join(list_recipes()), "  "),
        ]
    )  # fmt: skip


def example_of_recipe(verb: str, name: str, recipe: Recipe) -> str:
    """How a recipe is run, with the folder of the data where it needs one."""
    needs_folder = getattr(recipe.data, "root", None) == "" and recipe.data.kind in ("folder", "clips")
    return f"hvit {verb} {name}{' --data.root FOLDER' if needs_folder else ''} --out runs/first"


def _row(name: str, text: str) -> list[str]:
    """An option and its text, next to each other where the option is short."""
    if len(name) + 4 > _COLUMN:
        spaced = name if len(name) + 2 <= width() else name.replace("|", " | ")
        return [*paragraphs(spaced, "  ", "      "), *paragraphs(text, " " * 8)]
    lines = paragraphs(text, " " * _COLUMN)
    return [f"  {name}".ljust(_COLUMN) + lines[0][_COLUMN:], *lines[1:]] if lines else [f"  {name}"]


def _arguments(kind: type, default: object) -> tuple[list[tuple[str, str]], list[_Group]]:
    """The positional arguments with their texts, and the options in groups."""
    positional: list[tuple[str, str]] = []
    groups = {name: _Group(name) for name in ("options", *_GROUPS)}
    nested: list[_Group] = []

    def add(kind: type, value: object, prefix: str, own: _Group | None) -> None:
        for name, hint, marks, now, text in _fields(kind, value):
            if any("Positional" in str(mark) for mark in marks):
                metavar = _of_marks(marks, "metavar") or name.upper()
                several = " ..." if get_origin(_bare(hint)) is tuple else ""
                positional.append((f"[{metavar}{several}]" if now is not MISSING else f"{metavar}{several}", text))
            elif is_dataclass(now):
                if any(getattr(mark, "name", None) == "" for mark in marks):
                    add(type(now), now, prefix, own)
                    continue
                group = _Group(f"{prefix}{name}", inspect.cleandoc(type(now).__doc__ or ""))
                nested.append(group)
                add(type(now), now, f"{prefix}{name}.", group)
            else:
                group = own or next(
                    (groups[one] for one, members in _GROUPS.items() if name in members), groups["options"]
                )
                group.rows.append((_option(prefix, name, hint, now), _with_default(text, hint, now)))

    add(kind, default, "", None)
    groups["options"].rows.append(("-h, --help", "Print this help."))
    return positional, [*groups.values(), *nested]


def _fields(kind: type, value: object) -> Iterator[tuple[str, object, tuple[object, ...], object, str]]:
    """Name, type, marks, default and text of every field of a dataclass."""
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    for one in fields(kind):
        hint = hints[one.name]
        marks = getattr(hint, "__metadata__", ())
        now = getattr(value, one.name, one.default)
        if now is MISSING and one.default_factory is not MISSING:
            now = one.default_factory()
        yield one.name, hint, marks, now, _of_marks(marks, "help") or texts.get(one.name, "")


def _of_marks(marks: Sequence[object], name: str) -> str:
    """What the marks of a type say for tyro, such as its `help`; empty where they say nothing."""
    return next((value for mark in marks if (value := getattr(mark, name, None))), "")


@cache
def _texts(kind: type) -> dict[str, str]:
    """The sentences under the fields of a class and of those it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not is_dataclass(one):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        except (OSError, TypeError):  # made while the program runs: its texts are in its marks
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for before, after in pairwise(body):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[before.target.id] = " ".join(after.value.value.split())
    return found


def _bare(hint: object) -> object:
    """A type without marks and without None."""
    while hasattr(hint, "__metadata__"):
        hint = get_args(hint)[0]
    parts = [part for part in get_args(hint) if part is not type(None)]
    return _bare(parts[0]) if get_origin(hint) in (Union, UnionType) and len(parts) == 1 else hint


def _option(prefix: str, name: str, hint: object, now: object) -> str:
    """An option with what it takes, such as `--top-k N`."""
    flag = f"--{prefix}{name}".replace("_", "-")
    if _bare(hint) is bool:
        return f"{flag}, {f'--{prefix}no-{name}'.replace('_', '-')}" if now is True else flag
    return f"{flag} {_values(hint)}"


def _values(hint: object) -> str:
    """What an option takes, in the notation of usage lines."""
    hint = _bare(hint)
    parts, origin = get_args(hint), get_origin(hint)
    if origin is Literal:
        return "|".join(map(str, parts))
    if origin in (Union, UnionType):
        return "|".join(_values(part) for part in parts if part is not type(None))
    if origin is tuple:
        return f"{_values(parts[0])} ..." if Ellipsis in parts else " ".join(map(_values, parts))
    return {int: "N", float: "X", Path: "PATH", bool: "True|False"}.get(hint, "TEXT")  # pyright: ignore


def _with_default(text: str, hint: object, now: object) -> str:
    """The sentence under an option, and its default where the sentence does not say it."""
    if now is MISSING:
        return text
    says_it = re.search(r"\bdefault:", text, re.IGNORECASE) is not None
    if _bare(hint) is bool:
        return f"{text} Default: yes." if now and not says_it else text
    if now in (None, "", ()):
        return text if says_it else f"{text} Default: none."
    value = " ".join(map(str, now)) if isinstance(now, tuple) else str(now)
    if re.search(rf"\bdefault: {re.escape(value)}(?![\w/])", text):
        return text
    return f"{text} {'Here' if says_it else 'Default'}: {value}."
