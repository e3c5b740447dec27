"""What the fields of a configuration hold: plain values of the annotated types, whatever library counted them."""

from __future__ import annotations

import math
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hvit.errors import UserError

_NAMES = {int: "a whole number", float: "a number", bool: "True or False", str: "text", NoneType: "None"}

_BEYOND = 2**63  # of torch's whole numbers
_LONGEST = 1_000  # entries of a tuple


class _Other(Exception):
    """The value is of another type."""


def check_fields(config: object) -> None:
    """Gives every field of a dataclass the plain Python value of its annotated type. Called in `__post_init__`.

    Numbers and arrays of numpy and torch become Python's, lists become tuples, whole numbers do for floats. Anything
    else of another type is refused (UserError), as JSON refuses it: 7.0, "7" and True are no whole numbers. So are
    whole numbers that torch has none of (64 bits), and tuples of more than 1,000 entries.
    """
    for name, kind in _kinds(type(config)).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, _converted(plain(value), kind))
        except _Other:
            raise UserError(f"{name} must be {_described(kind)}; got {_in_short(value)}") from None


def plain(value: Any) -> Any:
    """A value with Python's own numbers, strings and lists in place of numpy's and torch's."""
    if isinstance(value, list | tuple):
        return tuple(map(plain, value)) if isinstance(value, tuple) else list(map(plain, value))
    try:
        return value.tolist()  # what numbers, arrays and tensors of every library have
    except Exception:  # no such, or a tensor without memory
        return value


@cache
def _kinds(config: type) -> dict[str, object]:
    return get_type_hints(config)


def _converted(value: Any, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        for one in inner:
            try:
                return _converted(value, one)
            except _Other:
                continue
        raise _Other
    if origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif origin is tuple:
        return _converted_tuple(value, inner)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise _Other from None
        if math.isfinite(number):
            return number
    elif kind is int and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) < _BEYOND:
            return int(value)
    elif isinstance(value, kind) if kind is str else type(value) is kind:
        return value
    raise _Other


def _converted_tuple(value: object, inner: tuple[object, ...]) -> tuple[object, ...]:
    if not isinstance(value, list | tuple) or len(value) > _LONGEST:
        raise _Other
    kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
    if len(kinds) != len(value):
        raise _Other
    return tuple(_converted(one, kind) for one, kind in zip(value, kinds, strict=True))


def _described(kind: object) -> str:
    """A type in words, as an error message has it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_described(one) for one in inner)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple and inner[1:] == (...,):
        return f"a tuple, each entry {_described(inner[0])}"
    if origin is tuple:
        return f"a tuple of {len(inner)}, each entry {_described(inner[0])}"
    return _NAMES.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _in_short(value: object) -> str:
    """A value of any kind in one short line."""
    if isinstance(value, list | tuple) and len(value) > _LONGEST:
        return f"{len(value):,} entries"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a value of a user's own class, or a number of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}…"
