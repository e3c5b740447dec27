"""The verb that generates images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import notes, print_json_lines, say, wait_for, waited

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class GenerateArguments:
    """Draws samples of a generator, and interpolations between latents, as pictures."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file of a generator."""
    num: int = 64
    """Number of samples; a larger number begins with the same samples."""
    classes: tuple[str, ...] = ()
    """Classes to generate, in turn: by name, or '#8' for class number 8 (plain 8 too, unless class names are numbers);
    default: all classes of the generator."""
    seed: int = 0
    """Seed of the latents; the same seed gives the same samples."""
    columns: int | None = None
    """Number of columns in the grid; default: such that a column has one class."""
    interpolations: int = 8
    """Number of interpolations from one latent to another, a row each."""
    each: bool = False
    """Also write every sample to its own file, at its original size."""
    out: Path = Path("generated")
    """Folder for the pictures."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    json: bool = False
    """Print a JSON object with the files written and the class of every sample."""


def generate(rest: list[str]) -> None:
    """draws samples, and interpolations between latents"""
    arguments = parse(GenerateArguments, "hvit generate", rest)
    from hvit.progress import FilesDone
    from hvit.verbs import generate

    wait_for(f"hvit generate: opening {arguments.weights}")
    sampler = generate.open_sampler(arguments.weights, arguments.device)
    waited()
    with FilesDone(arguments.num, notes, ("generating", "generated", "samples")) as done:
        made = generate.generate(
            sampler, arguments.out, arguments.num, arguments.seed, arguments.classes, arguments.columns,
            arguments.interpolations, arguments.each, done.step,
        )  # fmt: skip
    if arguments.json:
        print_json_lines([{"weights": str(arguments.weights), **made}])
        return
    size = " x ".join(map(str, made["size"]))
    lines = [f"{made['count']:,} samples of {size} by {made['model']}, seed {made['seed']}"]
    chosen = list(dict.fromkeys(made["classes"]))
    if chosen:
        lines[0] += f", of {', '.join(chosen[:12])}{', …' if len(chosen) > 12 else ''}"
    some = "" if made["shown"] == made["count"] else f" (the first {made['shown']:,})"
    lines.append(f"  {made['samples']}{some}")
    lines += [f"  {made['interpolations']}"] if made["interpolations"] else []
    lines += [f"  {made['files'][0]} to {Path(made['files'][-1]).name}"] if made["files"] else []
    for line in lines:
        say(line)
