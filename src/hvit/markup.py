"""Text that is safe to show, and HTML that cannot be injected into: text becomes HTML, escaped, in `element` only."""

from __future__ import annotations

import base64
import html
import unicodedata
from collections.abc import Iterable, Sequence

NOTHING = "—"
"""What stands where there is no value."""

SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit
DARK_PICTURES = "dark"
"""The folder, next to pictures, of the same pictures for dark pages."""


# Joiners that emoji, and scripts such as Persian and Hindi, are spelt with.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def shown(text: str) -> str:
    """Text of any origin as it can be printed, drawn and encoded anywhere, such as names of files and of classes.

    Control characters (terminal commands, line breaks), marks that change the direction of what follows, invisible
    format characters and lone surrogates, which no encoding has, are written as Python writes them: `\\x1b`, `\\u202e`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _is_unsafe(character) else character for character in text)


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def quoted(text: str, limit: int = 100) -> str:
    """Text of any origin in quotation marks, as a sentence repeats it: escaped, of long text only both ends."""
    safe = shown(text)
    if len(safe) > limit:
        safe = f"{safe[: limit // 2]} ... {safe[-limit // 4 :]}"
    return f"'{safe}'"


def some_of(names: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """The first few of some names, as they can be shown, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(shown(name[:200]) for name in names[:most]) + more


class Html(str):
    """Finished HTML. Any other string is text, and is escaped where `element` takes it in."""


# The nested quadrants that NesT is named after.
MARK = Html(
    '<svg class="mark" viewBox="0 0 16 16" aria-hidden="true"><path d="M1 1h14v14H1zM8 1v14M1 8h14M11.5 1v7M8 4.5h7" '
    'fill="none" stroke="currentColor" stroke-width="1.3"/></svg>'
)


def element(tag: str, *children: object, **attributes: object) -> Html:
    """An HTML or SVG element. `class_` stands for the attribute `class`, `aria_label` for `aria-label`.

    Children that are not `Html`, and the values of all attributes, are escaped; what is not `Html` is first made safe
    to show (`shown`).
    """
    names = (name.rstrip("_").replace("_", "-") for name in attributes)
    written = (f' {name}="{html.escape(_safe(value))}"' for name, value in zip(names, attributes.values(), strict=True))
    opening = f"<{tag}{''.join(written)}>"
    if tag in ("img", "input", "meta", "source"):
        return Html(opening)
    return Html(f"{opening}{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Html:
    """Pieces of a page one after the other; those that are not `Html` are escaped."""
    return Html("".join(child if isinstance(child, Html) else html.escape(_safe(child)) for child in children))


def _safe(value: object) -> str:
    return value if isinstance(value, Html) else shown(str(value))


def breakable(name: str) -> Html:
    """A name of a program, escaped, that may go on in the next line after a dot or an underscore."""
    return Html(html.escape(shown(name)).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def inline(content: bytes, kind: str) -> str:
    """An address that is the file itself, so that the page needs no other file. kind: such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def percent(share: float | None) -> str:
    """A fraction as a percentage with one decimal, a dash where there is none."""
    return NOTHING if share is None else f"{100 * share:.1f}{SPACE}%"


def three_digits(value: float) -> str:
    """A number with three digits, or as a whole one where it has more: 0.123, 45.7, 1,230; never as 1.23e+03."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def short_number(number: int) -> str:
    """A large count with three digits and its unit: 612,042 is 612 k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{SPACE}{letter}"
    return str(number)


def duration(seconds: float) -> str:
    """A time in the two units a reader would use: 1 min 12 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600:,}{SPACE}h {whole % 3600 // 60}{SPACE}min"


def times(number: int) -> str:
    """How often: once, twice, 3 times."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")
