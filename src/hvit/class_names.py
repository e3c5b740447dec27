"""Which class a person means: the one lookup of classifiers, of clips and of generators."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from hvit.errors import UserError
from hvit.markup import quoted, shown

_LISTED = 20


def find_class(wanted: str, names: Sequence[str], count: int) -> int:
    """The number of the class that is called `wanted`.

    A name is always a name. `#8` is class number 8, counted from 0; so is a plain `8`, unless a class of the model has
    a number for its name: then numbers without `#` are names. A name may be given as it is printed, with its control
    characters escaped, and in any Unicode form.

    names: of the classes in the order of their numbers; empty where the weights have none. count: how many classes.
    Raises UserError for a class that the model does not have, and for a name that several of its classes have.
    """
    for spelling in (str, _normalised, shown):
        found = [number for number, name in enumerate(names) if spelling(name) == spelling(wanted)]
        if len(found) > 1:
            numbers = ", ".join(f"#{number}" for number in found[:_LISTED])
            raise UserError(f"{len(found)} classes are called {quoted(wanted)}; give one by its number: {numbers}")
        if found:
            return found[0]
    named_by_numbers = any(map(_is_number, names))
    number = re.fullmatch(r"#0*(\d{1,9})" if named_by_numbers else r"#?0*(\d{1,9})", wanted, re.ASCII)
    if number and int(number[1]) < count:
        return int(number[1])
    some = ", ".join(map(quoted, names[:_LISTED])) + (", ..." if len(names) > _LISTED else "")
    by_number = f"{'#' * named_by_numbers}0 to {'#' * named_by_numbers}{count - 1} by number"
    raise UserError(
        f"there is no class {quoted(wanted)}; classes are {f'{some}, or {by_number}' if names else by_number}"
    )


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_number(name: str) -> bool:
    """Whether a name reads as a number, such as 8, 07, -1 or 2.5."""
    try:
        float(name)
    except ValueError:
        return False
    return any(character.isdigit() for character in name)
