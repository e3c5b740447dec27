"""The app's page: one address for the page, four for its style and scripts, of which two are the explanation page's."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources

from hvit.app.state import Images
from hvit.explain.page.assemble import style_and_script, toolbar
from hvit.markup import MARK, Html, breakable, element, short_number
from hvit.models import catalogue

POLICY = (
    "default-src 'none'; img-src data:; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FIRST_SHOWN = 5  # classes


def _own(name: str) -> Callable[[], str]:
    return lambda: resources.files("hvit.app").joinpath(name).read_text(encoding="utf-8")


FILES: dict[str, tuple[Callable[[], str], str]] = {
    "/page.css": (lambda: style_and_script()[0], "text/css"),
    "/page.js": (lambda: style_and_script()[1], "text/javascript"),
    "/app.css": (_own("app.css"), "text/css"),
    "/app.js": (_own("app.js"), "text/javascript"),
}
"""Address -> what gives the content, and its type."""


def render_app(images: Images) -> str:
    """The page as HTML text."""
    classifier, limits = images.classifier, images.limits
    model = catalogue.name_of(classifier.model.config)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{model} · hvit app"),
        Html('<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">'),
        Html('<link rel="stylesheet" href="/app.css">'),
    )
    header = element(
        "header",
        element("p", MARK, "hvit app", class_="eyebrow"),
        element("h1", "What does ", element("bdi", breakable(model)), " see?"),
        element("p", _summary(images), class_="summary"),
    )
    size = f"{short_number(limits.most_bytes)}B"
    kept = (
        f"Up to {size} each. The last {limits.most_images} stay in this machine's memory; nothing is written or sent."
    )
    drop = element(
        "label",
        element("input", type="file", multiple="", accept="image/*", id="files"),
        element("b", "Drop images here, or choose files"),
        element("small", kept),
        class_="drop",
    )
    tools = element(
        "div",
        element("button", "Show all", type="button", id="all"),
        element("button", "Swap hidden and shown", type="button", id="swap"),
        class_="tools",
    )
    view = element(
        "div",
        element("div", class_="picture"),
        element("p", class_="hint", id="hint", aria_live="polite"),
        tools,
        class_="view",
    )
    search = element(
        "input", type="search", id="search", placeholder="Find a class", aria_label="Find a class", autocomplete="off"
    )
    result = element(
        "div",
        element("div", class_="remarks", role="status"),
        *([search] if len(images.names) > _FIRST_SHOWN else []),
        element("div", class_="rows", role="group", aria_label="Classes"),
        element("p", class_="hint", id="count"),
        class_="result",
    )
    answer = element(
        "section",
        element("h2", element("bdi", id="name")),
        element("div", view, result, class_="answer"),
        class_="card",
        id="answer",
        hidden="",
    )
    main = element(
        "main",
        header,
        drop,
        element("div", class_="problems", role="alert"),
        element("ol", class_="strip", aria_label="Images"),
        answer,
        toolbar(images.methods, {"block_shapley"}),
        element("div", id="explanation", aria_live="polite"),
        data_first=_FIRST_SHOWN,
        data_names=json.dumps(images.names),
        data_kind_of_answer=classifier.labels.kind,
        data_most_bytes=limits.most_bytes,
        data_most_images=limits.most_images,
        data_too_large=f"it is larger than {size}",
    )
    scripts = Html('<script src="/page.js"></script><script src="/app.js"></script>')
    return f"<!doctype html>\n{element('html', head, element('body', main, scripts), lang='en')}\n"


def _summary(images: Images) -> str:
    """What is known of the answers."""
    classifier = images.classifier
    count, kind = len(images.names), classifier.labels.kind
    if kind == "regression":
        return f"{count:,} number{'s' * (count > 1)} for every image"
    words = [f"{count:,} classes"]
    if kind == "single":
        temperature = classifier.confidence.temperature
        words.append("probabilities are not calibrated" if temperature == 1.0 else
                     f"calibrated probabilities (temperature {temperature:.2f})")  # fmt: skip
    return " · ".join(words)
