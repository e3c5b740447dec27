"""The verb `convert` of the command line: weights between hvit and other libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import print_json_lines, say, wait_for

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class ConvertArguments:
    """Converts weights to hvit, or from hvit to other libraries, and runs both models before the file is written."""

    source: tyro.conf.Positional[Path]
    """A run folder, a weights file in any known format, or hf:owner/name."""
    destination: tyro.conf.Positional[Path]
    """The file to write; for transformers a folder."""
    to: Literal["hvit", "timm", "transformers", "torchvision", "official"]
    """Library that opens the result; official: the code of the model's authors."""
    json: bool = False
    """Print the result as JSON."""


def convert(rest: list[str]) -> None:
    """converts weights between hvit and other libraries"""
    arguments = parse(ConvertArguments, "hvit convert", rest)
    from hvit.verbs import convert

    wait_for(f"hvit convert: converting {arguments.source}")
    made = convert.convert(arguments.source, arguments.destination, arguments.to)
    if arguments.json:
        print_json_lines([made])
        return
    say(f"{made['file']}: {made['model']} for {made['to']}, {made['tensors']} tensors; {made['checked']}")
