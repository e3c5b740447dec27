"""The verb `app` of the command line: a page to play with a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.inference import prepared
from hvit.cli.printing import note, say, wait_for
from hvit.errors import UserError
from hvit.run_names import fold_folder

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class AppArguments:
    """Serves a page to play with a classifier: drop images, see classes, explanations, what removing blocks does."""

    weights: tyro.conf.Positional[Path]
    """A run folder, a weights file in any known format, or hf:owner/name."""
    host: str = "127.0.0.1"
    """Address to listen on; another one than this machine's own lets others use the page, without a password."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    fast: bool = False
    """Prepare the model for this machine first: takes up to a minute, and makes every answer faster."""


def app(rest: list[str]) -> None:
    """serves a page to play with: drop images, see classes and why, hide blocks"""
    arguments = parse(AppArguments, "hvit app", rest)
    if not 0 <= arguments.port <= 65535:
        raise UserError(f"--port must be from 0 to 65535; got {arguments.port}")
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"hvit app needs {' and '.join(missing)}: pip install 'hvit[app]'")
    from hvit.app.server import address_of, is_loopback, listen, make_app, serve
    from hvit.app.state import Images
    from hvit.verbs import folds
    from hvit.verbs.classifier import open_classifier
    from hvit.verbs.run_baseline import usual_absent

    if folds.is_cross_validation(arguments.weights):
        raise UserError(
            f"{arguments.weights} is a cross-validation with a model for each fold, and a page shows one model: name "
            f"one of them, such as {arguments.weights / fold_folder(1)}"
        )
    wait_for(f"hvit app: opening {arguments.weights}")
    classifier = open_classifier(arguments.weights, arguments.device)
    if arguments.fast:
        classifier = prepared(classifier, 1)
    images = Images(classifier, usual_absent(arguments.weights, classifier))
    with listen(arguments.host, arguments.port) as listening:
        if not is_loopback(listening):
            note(
                f"warning: --host {arguments.host} lets everybody who reaches this machine use the page: it has no "
                "password, and what they send is computed here"
            )
        say(f"hvit app: {address_of(listening)}   (Ctrl-C ends it)")
        serve(make_app(images, [arguments.host]), listening)
