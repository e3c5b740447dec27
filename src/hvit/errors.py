"""The one exception for what a user typed or supplied."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints


class UserError(ValueError):
    """Something the user typed or supplied cannot be used; the message is the one sentence they read.

    The command line prints the message alone and ends with exit status 2. Our own mistakes are `assert`s.
    """


def check_choices(config: Any) -> None:
    """Refuses (UserError) a value that is none of the choices its dataclass field is annotated with (`Literal`).

    The command line and JSON check this by themselves; a configuration made in Python needs it.
    """
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name, None)
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise UserError(f"{name} must be one of {choices}; got {value!r}")
