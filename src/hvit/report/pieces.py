"""The pieces that every section of a report is made of: tiles, charts, galleries, and values out of what was read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from matplotlib.figure import Figure

from hvit import pictures
from hvit.files import JsonObject
from hvit.markup import SPACE, Html, breakable, element, inline, join, percent, three_digits
from hvit.metrics import classification
from hvit.report.reading import Sample
from hvit.run_names import EXPLANATION

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def whole_page(title: str, *content: object) -> str:
    """A page of the reports as HTML text, with its style inside; its policy forbids to load anything."""
    style = resources.files("hvit.report").joinpath("page.css").read_text(encoding="utf-8")
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(style)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', element('main', *content)), lang='en')}\n"


def section(title: str, *content: object) -> Html:
    """A section under its title."""
    return element("section", element("h2", title), *content)


def quiet(text: str) -> Html:
    """A remark in a softer colour."""
    return element("p", text, class_="quiet")


def tile(name: str, value: str, detail: str) -> Html:
    """A number of the headline, with its name above and a line of detail below."""
    size = "value" if len(value) <= 9 else "value long"
    return element(
        "div", element("dt", name), element("dd", breakable(value), class_=size), element("dd", detail, class_="detail")
    )


_REMS_PER_INCH = 8  # letters of nine points are at most as large as those of the page


def chart(draw: Callable[[pictures.Theme], Figure], description: str) -> Html:
    """One chart, in the colours of the reader's theme."""
    figures = [draw(theme) for theme in (pictures.LIGHT, pictures.DARK)]
    light, dark = map(pictures.figure_to_svg, figures)
    kind, widest = "image/svg+xml", f"max-width: {_REMS_PER_INCH * figures[0].get_figwidth():.0f}rem"
    source = element("source", srcset=inline(dark.encode(), kind), media="(prefers-color-scheme: dark)")
    image = element("img", src=inline(light.encode(), kind), alt=description, style=widest)
    return element("picture", source, image, class_="chart")


def picture(both: tuple[bytes, bytes | None], name: str, caption: object) -> Html:
    """A PNG file, or the one for dark pages, with its caption below; side by side with others it is as high as they."""
    content, dark = both
    image = element("img", src=inline(content, "image/png"), alt=name)
    if dark is not None:
        scheme = {"srcset": inline(dark, "image/png"), "media": "(prefers-color-scheme: dark)"}
        image = element("picture", element("source", **scheme), image)
    width, height = (int.from_bytes(content[place : place + 4], "big") for place in (16, 20))  # of every PNG
    ratio = width / height if height else 1.0
    # On a phone the words in a wide one are readable only where it is scrolled.
    kind = {"class_": "sheet"} if ratio > 1.5 and width > 1000 else {}
    return element("figure", image, element("figcaption", caption), style=f"flex: {ratio:.3f} 1 0", **kind)


def gallery(shown: Mapping[str, tuple[bytes, bytes | None]], captions: Mapping[str, Html] | None = None) -> Html:
    """Pictures by their names, which are their captions where there are no others."""
    figures = []
    for name, content in shown.items():
        words = name.removeprefix(EXPLANATION).replace("_", " ")
        words = f"image {words}" if words.isdecimal() else words
        figures.append(picture(content, words, (captions or {}).get(name, words)))
    return element("div", *figures, class_="gallery")


def verdict(sample: Sample) -> Html:
    """The caption of a held-out sample: its name, its class, and what it was predicted as, right or wrong."""
    mark = element("span", "right" if sample.right else "wrong", class_="badge" + " done" * sample.right)
    if sample.confidence is None and not sample.right:  # numbers and sets of classes are nearer or further
        mark = Html()
    name = f"image {sample.sample}" if sample.sample.isdecimal() else sample.sample
    words = (
        "true class ",
        element("strong", element("bdi", sample.class_)),
        ", predicted ",
        element("strong", element("bdi", sample.predicted)),
        "" if sample.confidence is None else f" ({percent(sample.confidence)})",
    )
    return join([element("bdi", name, class_="sample"), " ", mark, " ", element("span", *words, class_="answer")])


def cards(samples: Sequence[Sample], pictures: Mapping[str, bytes]) -> Html:
    """Small pictures of samples side by side, each with its verdict; few pixels stay squares."""
    figures = [
        element(
            "figure",
            element("img", src=inline(pictures[sample.picture], "image/png"), alt=sample.sample, class_="sharp"),
            element("figcaption", verdict(sample)),
        )
        for sample in samples
        if sample.picture in pictures
    ]
    return element("div", *figures, class_="cards")


def interval(share: float, count: int) -> str:
    """The 95 % interval of a share of so many."""
    low, high = classification.wilson_interval(round(share * count), count)
    return f"95{SPACE}% interval {100 * low:.1f} to {percent(high)}"


def object_in(fields: Mapping[str, object], key: str) -> JsonObject:
    """The object under a key; an empty one where there is none."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def number_in(row: Mapping[str, object], key: str) -> float | None:
    """The finite number under a key; None where there is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def place(row: JsonObject) -> str:
    """Where in the run a line of the journal stands."""
    epoch = number_in(row, "epoch")
    return f"step {int(row['step']):,}" + (f" (epoch {three_digits(epoch)})" if epoch is not None else "")
