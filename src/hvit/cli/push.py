"""The verb `push` of the command line: a run as a model of the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import print_json_lines, print_plan, say, wait_for, waited
from hvit.errors import UserError
from hvit.files import JsonObject

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class PushArguments:
    """Publishes a finished run on the Hugging Face Hub: weights, configuration, and a model card made from the run.

    Log in once with `hf auth login`, or set the variable HF_TOKEN. Nothing in the files names this machine, its folders
    or its user.
    """

    run: tyro.conf.Positional[Path]
    """The folder of a finished run."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")]
    """The repository: your name on the hub, or an organisation's, and the name of the model."""
    license: str | None = None
    """Licence of the weights, as the hub names it (apache-2.0, mit, cc-by-nc-4.0, other, ...); default: the card says
    that none is stated."""
    private: bool = False
    """Make a new repository private."""
    branch: str | None = None
    """Branch to write to, made where it is not there; default: main."""
    replace: bool = False
    """Write over another model that hvit published in the repository; its history keeps the old files."""
    folder: Path | None = None
    """Write the files into this folder, and nothing to the hub."""
    dry_run: bool = False
    """Print what would be published, and write nothing."""
    json: bool = False
    """Print the result as JSON."""


def push(rest: list[str]) -> None:
    """publishes a run on the Hugging Face Hub, with a model card"""
    arguments = parse(PushArguments, "hvit push", rest)
    from hvit.verbs import push

    if arguments.dry_run and arguments.folder is not None:
        raise UserError("--dry-run writes nothing, and --folder writes a folder: omit one of them")
    wait_for(f"hvit push: reading {arguments.run}")
    request = push.PushRequest(
        arguments.run, arguments.name, arguments.license, arguments.private, arguments.branch, arguments.replace
    )
    if arguments.dry_run:
        made = push.describe(request)
    elif arguments.folder is not None:
        made = push.write_folder(request, arguments.folder)
    else:
        made = push.push(request, wait_for)
    waited()
    if arguments.json:
        print_json_lines([made])
        return
    print_plan(_lines(made))
    say(_end(made, arguments))


def _lines(made: JsonObject) -> dict[str, str]:
    """What is published, in lines a person reads."""
    files = ", ".join(f"{name} ({size:,} bytes)" for name, size in made["files"].items())
    return {
        "repository": f"{made['repository']}, branch {made['branch']}{', private if new' * made['private']}",
        "licence": made["licence"] or "none is stated; --license names one",
        "files": files,
    }


def _end(made: JsonObject, arguments: PushArguments) -> str:
    if arguments.dry_run:
        return "Nothing was written."
    if arguments.folder is not None:
        return f"{arguments.folder}: written; `hvit predict {arguments.folder} IMAGES` opens it"
    return f"{made['url']}: published; `hvit predict hf:{made['repository']} FILES` opens it anywhere"
