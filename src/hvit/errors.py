"""The one exception for what a user typed or supplied, and what they may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, get_args, get_origin, get_type_hints


class UserError(ValueError):
    """Invalid input from the user; the message is one sentence with the value, what is allowed and what to do.

    The command line prints the message and ends with exit status 2. Internal mistakes raise AssertionError instead.
    """


RESUMABLE = 75
"""Exit status of a command that was stopped before it was done and can go on: EX_TEMPFAIL of sysexits.h."""


class Unfinished(UserError):
    """Something ended before it was done, and can go on from what is saved; the exit status is `RESUMABLE`."""


class Stopped(Unfinished):
    """Something ended before it was done because the user wished it to; what was done is saved, as the message says."""


def check_choices(config: object) -> None:
    """Refuses (UserError) a value that is none of the choices its dataclass field is annotated with (`Literal`).

    The command line and JSON check this by themselves; a configuration made in Python needs it.
    """
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name, None)
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise UserError(f"{name} must be one of {choices}; got {value!r}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that does not exist: `; did you mean 'NAME'?`, empty if none is near."""
    # Long ones are no typing mistakes, and comparing them takes long.
    near = get_close_matches(given.lower(), list(known), 1, 0.6) if len(given) <= 100 else []
    return f"; did you mean {near[0]!r}?" if near else ""
