"""The structure of the package in numbers: `python -m tests.architecture [--source DIR] [--trace]` prints them.

Files are the modules of `src/hvit`. An arrow is one module importing another one of them, wherever the import stands
(at the top, inside a function, or for types only). A circle is a set of modules that import each other.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import glossary_words

SOURCE = Path(__file__).resolve().parents[1] / "src"
PACKAGE = "hvit"

# Runs two steps of a small recipe and prints every file of the package that a function was entered in before the
# optimizer's first step, in the order of the first entry.
TRACE = """
import sys, pathlib
source, out = sys.argv[1:3]
sys.path.insert(0, source)
import torch
from hvit.cli import main
entered, done = {}, []
def follow(frame, event, argument):
    path = frame.f_code.co_filename
    if path.startswith(source) and not done and path not in entered and frame.f_code.co_flags & 1:  # a function
        caller = frame.f_back
        while caller and not caller.f_code.co_filename.startswith("<frozen importlib"):
            caller = caller.f_back
        if caller is None:  # not while some module is imported
            entered[path] = path[len(source) + 1:]
step = torch.optim.AdamW.step
def first_step(self, *arguments, **options):
    done.append(True)
    return step(self, *arguments, **options)
torch.optim.AdamW.step = first_step
sys.setprofile(follow)
try:
    options = ["--loop.max-steps", "2", "--loop.workers", "0", "--loop.device", "cpu", "--out", out]
    main(["train", "nest_micro_digits", *options])
except SystemExit:
    pass
sys.setprofile(None)
print("\\n".join(entered.values()), file=sys.stderr)
"""


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Every module of the package with its file; a package goes by its own name."""
    found = {}
    for path in sorted((source / PACKAGE).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: Path = SOURCE) -> dict[str, set[str]]:
    """For every module the modules of the package that it imports, anywhere in its file."""
    known = modules(source)
    return {name: _imports_of(path, known) - {name} for name, path in known.items()}


def _imports_of(path: Path, known: Mapping[str, Path]) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inside & known.keys()) or {node.module}
            if not inside <= known.keys():
                names.add(node.module)
    return names & known.keys()


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of modules each of which reaches all others of its set (strongly connected components of two or more)."""
    reached = {name: _reached(name, arrows) for name in arrows}
    groups = {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in arrows
        if name in reached[name]
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += arrows[name]
    return seen


def longest(source: Path = SOURCE, count: int = 5) -> list[tuple[int, str]]:
    """The longest files with their numbers of lines, longest first."""
    lines = [(len(path.read_text(encoding="utf-8").splitlines()), name) for name, path in modules(source).items()]
    return sorted(lines, reverse=True)[:count]


def trace(source: Path, out: Path) -> list[str]:
    """The files of the package whose functions run between `hvit train` and the optimizer's first step."""
    command = [sys.executable, "-c", TRACE, str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stderr.splitlines() if line.startswith(PACKAGE) and line.endswith(".py")]


def main() -> None:
    """Prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SOURCE, help="the folder that holds the package")
    parser.add_argument("--trace", type=Path, metavar="RUN", help="train two steps into a new folder and list files")
    arguments = parser.parse_args()
    arrows = imports(arguments.source)
    packages = {name.rpartition(".")[0] for name in arrows}
    print(f"files    {len(arrows)}")
    print(f"packages {len(packages - {''})}")
    print(f"arrows   {sum(map(len, arrows.values()))}")
    print(f"lines    {sum(count for count, _ in longest(arguments.source, len(arrows)))}")
    found = circles(arrows)
    print(f"circles  {len(found)}")
    for circle in found:
        print("         " + ", ".join(circle))
    print("longest  " + ", ".join(f"{name} {count}" for count, name in longest(arguments.source)))
    most = sorted(((len(targets), name) for name, targets in arrows.items()), reverse=True)[:5]
    print("imports most: " + ", ".join(f"{name} {count}" for count, name in most))
    words = glossary_words.counts(arguments.source.resolve().parent)
    places = {place: sum(row[place] for row in words.values()) for place in glossary_words.PLACES}
    print("words that the glossary replaces: " + ", ".join(f"{place} {count}" for place, count in places.items()))
    if arguments.trace:
        files = trace(arguments.source.resolve(), arguments.trace)
        print(f"files entered between `hvit train` and the optimizer's first step: {len(files)}")
        print("         " + ", ".join(files))


if __name__ == "__main__":
    main()
