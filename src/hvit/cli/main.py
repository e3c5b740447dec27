"""The entry point of the command line: which verb, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from hvit.cli.app import app
from hvit.cli.benchmark import benchmark
from hvit.cli.compare import compare
from hvit.cli.completion import completion
from hvit.cli.convert import convert
from hvit.cli.embed import embed, neighbours
from hvit.cli.experiments import experiments
from hvit.cli.explain import explain
from hvit.cli.export import export
from hvit.cli.generate import generate
from hvit.cli.help import print_commands
from hvit.cli.inference import evaluate, predict
from hvit.cli.listing import models, recipes
from hvit.cli.plan import plan
from hvit.cli.printing import encode_anything, readable, wait_for, waited
from hvit.cli.probe import probe
from hvit.cli.push import push
from hvit.cli.runs import demo, report, resume, train
from hvit.cli.shards import shards
from hvit.errors import RESUMABLE, Unfinished, UserError, did_you_mean
from hvit.interrupts import Ended, raising_ended
from hvit.machine import keep_freed_memory
from hvit.markup import quoted


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb.

    Exit status: 0 done, 2 something given cannot be used, 75 stopped before it was done and can go on, 130 interrupted.
    """
    # Read when torch is loaded. Threads that sleep while they wait cost nothing on a quiet machine, and more than
    # double the speed of training on one whose cores are busy with something else (docs/results/speed.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    given = list(sys.argv[1:] if arguments is None else arguments)
    encode_anything()
    try:
        try:
            _run(given)
        finally:  # what cannot be written is noticed here, and not when Python ends
            sys.stdout.flush()
    except UserError as error:
        _end(f"hvit: {error}", RESUMABLE if isinstance(error, Unfinished) else 2)
    except KeyboardInterrupt:
        _end("hvit: interrupted", 130)
    except Ended as error:
        _end(f"hvit: {error}", RESUMABLE)
    except BrokenPipeError:  # the reader of our output has gone, as in `hvit models | head -3`
        _drop_output()
    except OSError as error:  # of a path that is too long, or in a folder that may not be entered
        place = f"cannot use {error.filename}: " if error.filename else ""
        _drop_output()
        _end(f"hvit: {place}the system says: {error.strerror or error}", 2)
    finally:
        waited()


def _drop_output() -> None:
    """Lets what is left of the output go nowhere, so that Python does not fail to write it when it ends."""
    with suppress(OSError, ValueError):  # of a stream that is no file
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> None:
    """Runs what the words of a command say. Raises UserError for a verb that does not exist."""
    if not given or given[0] in ("-h", "--help", "help"):
        _print_help()
        return
    verb, *rest = given
    if verb in ("-V", "--version"):
        from importlib.metadata import version

        print(version("hvit"))
        return
    if verb not in VERBS:
        near = did_you_mean(_VERB_SYNONYMS.get(verb, verb), VERBS)
        known = near or f"; verbs are {', '.join(VERBS)};"
        raise UserError(f"there is no verb {quoted(verb)}{known} `hvit --help` explains them")
    for word in rest:
        if "\0" in word:
            raise UserError(f"an argument holds a null character, which no name of a file can have: {quoted(word)}")
    with raising_ended():
        if not {"-h", "--help"} & set(rest):
            wait_for(f"hvit {verb}: loading")
        VERBS[verb](rest)


def _end(sentence: str, status: int) -> None:
    with suppress(OSError):  # the terminal may be gone
        waited()
        print(readable(sentence), file=sys.stderr, flush=True)
    sys.exit(status)


_VERB_SYNONYMS = {
    "test": "evaluate", "eval": "evaluate", "validate": "evaluate", "score": "evaluate", "infer": "predict",
    "classify": "predict", "inference": "predict", "sample": "generate", "fit": "train", "pretrain": "train",
    "finetune": "train", "run": "train", "continue": "resume", "list": "models", "gradcam": "explain", "cam": "explain",
    "visualize": "explain", "example": "demo", "start": "demo", "completions": "completion",
    "features": "embed", "embeddings": "embed", "duplicates": "neighbours", "similar": "neighbours",
    "neighbors": "neighbours", "webdataset": "shards", "shard": "shards", "tar": "shards",
    "serve": "app", "bench": "benchmark", "speed": "benchmark",
    "gradio": "app", "ui": "app", "upload": "push", "publish": "push", "share": "push",
    "estimate": "plan", "budget": "plan", "cost": "plan", "scale": "plan",
}  # fmt: skip


VERBS: dict[str, Callable[[list[str]], None]] = {
    verb.__name__: verb
    for verb in (
        demo,
        models,
        recipes,
        plan,
        train,
        probe,
        resume,
        shards,
        evaluate,
        predict,
        explain,
        export,
        convert,
        push,
        app,
        generate,
        embed,
        neighbours,
        benchmark,
        report,
        compare,
        experiments,
        completion,
    )
}


def _print_help() -> None:
    print_commands(
        "usage: hvit VERB ...",
        "hvit: hierarchical vision transformers for images and clips.",
        [(name, (verb.__doc__ or "").strip()) for name, verb in VERBS.items()],
        "`hvit VERB --help` explains a verb. Start with: hvit demo",
    )
