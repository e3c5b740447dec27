"""The page put together: head and policy, the methods to choose from, and one card for each image.

Without its script, or printed, the page still shows the trees and all maps.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path

import numpy as np

from hvit.errors import UserError
from hvit.explain.captions import COLOURS, before_words, method_words, namer, without_words
from hvit.explain.drawing.block_tree import meaning_of
from hvit.explain.drawing.canvas import STRENGTH, heats
from hvit.explain.page.content import ExplainedClass, ExplainedImage
from hvit.explain.page.encode import heat_address, picture_address
from hvit.explain.page.stage import Stage, draw_paths, draw_squares, draw_tints, short
from hvit.explain.page.tree import draw_tree, factors
from hvit.explain.words import METHODS, logit_words, method_of, number_writer, percent
from hvit.files import write_text
from hvit.markup import MARK, Html, element

SHARP = 64  # pictures up to this many pixels are shown as squares, not smoothed
FRAME_HEIGHT = 760  # of a page inside a notebook, in pixels
OPEN_INDEX = 30  # with more images, the list of all of them is folded up


def write_page(explained: Sequence[ExplainedImage], path: str | Path, *, model: str = "") -> Path:
    """Writes one HTML file that explains images, and returns its path.

    explained: the images, in the order of the page. path: the file; missing folders are made, and an older file is
    replaced in one step. model: the name of the model, for the headline.
    Raises UserError for no image, for an image whose parts do not fit together, or a place that cannot be written.
    """
    return Page(explained, model).save(path)


@dataclass(frozen=True, eq=False)
class Page:
    """A page that explains images: save it as one HTML file, or let a notebook show it in a frame."""

    images: Sequence[ExplainedImage]
    """The images, in the order of the page."""
    model: str = ""
    """The name of the model, for the headline."""

    def save(self, path: str | Path) -> Path:
        """Writes the page and returns its path; see `write_page`."""
        write_text(path, render_page(self.images, model=self.model))
        return Path(path)

    def _repr_html_(self) -> str:
        """The page in a frame, for notebooks."""
        names = ", ".join(image.name for image in self.images)
        return page_frame(render_page(self.images, model=self.model), f"Explanation of {names}")


def render_page(explained: Sequence[ExplainedImage], *, model: str = "") -> str:
    """The page as HTML text; see `write_page`."""
    if not explained:
        raise UserError("a page of explanations needs one image or more, got none")
    stages = [Stage(number, image, image.checked()) for number, image in enumerate(explained)]
    trees = {tree.method for image in explained for tree in image.trees}
    methods = [method for method in METHODS if any(method in image.methods for image in explained)]
    methods.sort(key=lambda method: method not in trees)
    methods += dict.fromkeys(key for image in explained for key in image.methods if key not in METHODS)
    if not methods:
        raise UserError("a page of explanations needs trees or maps, got neither")
    style, script = style_and_script()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Why {model or 'the model'} decides"),
        element("style", Html(style)),
    )
    count = f"{len(explained):,} image{'s' * (len(explained) > 1)}"
    header = element(
        "header",
        element("p", MARK, "hvit explanations", class_="eyebrow"),
        element("h1", "Why ", element("bdi", model or "the model"), " decides"),
        element("p", f"{count} · {', '.join(method_of(method).title for method in methods)}", class_="summary"),
        index(stages) if len(stages) > 1 else Html(),
    )
    body = element(
        "body",
        shared_pictures(stages),
        element("main", header, toolbar(methods, trees), *map(card, stages)),
        element("script", Html(script)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def style_and_script() -> tuple[str, str]:
    """The style of the page and its script, which also serve cards that are added to a page later."""
    files = resources.files("hvit.explain.page")
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return style, script


def render_card(image: ExplainedImage) -> Html:
    """The card of one image with its picture, for a page that has the style and the script and adds cards itself.

    The page sends the event `hvit:cards` to its document when a card was added. Raises UserError as `write_page` does.
    """
    stage = Stage(0, image, image.checked())
    return Html(shared_pictures([stage]) + card(stage))


def policy(script: str) -> str:
    """A content security policy that runs this script and no other, and loads nothing."""
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def shared_pictures(stages: Sequence[Stage]) -> Html:
    """Every image once, for all the places that show it or parts of it."""
    images = [
        element(
            "image",
            id=f"picture-{stage.number}",
            href=picture_address(stage.pixels),
            class_="sharp" if max(stage.pixels.shape) <= SHARP else "smooth",
            **_whole(stage),
        )
        for stage in stages
    ]
    return element("svg", element("defs", *images), class_="pictures", aria_hidden="true")


def index(stages: Sequence[Stage]) -> Html:
    """A small picture of every image, to jump to it."""
    links = []
    for stage in stages:
        name = stage.image.name
        label = stage.small(), element("span", element("bdi", name))
        links.append(element("li", element("a", *label, href=f"#image-{stage.number}", title=name)))
    shown = {"open": ""} if len(stages) <= OPEN_INDEX else {}
    content = element("summary", "All images"), element("ol", *links)
    return element("nav", element("details", *content, **shown), aria_label="Images")


def toolbar(methods: Sequence[str], trees: Collection[str]) -> Html:
    """The choice of the method for all images, and how strongly maps are laid over them; trees: those with a tree."""
    choices = [
        element(
            "label",
            element(
                "input",
                type="radio",
                name="method",
                value=key,
                data_kind="tree" if key in trees else "map",
                **({"checked": ""} if not number else {}),
            ),
            element("span", method_of(key).title),
        )
        for number, key in enumerate(methods)
    ]
    slider = element("input", type="range", min=0, max=100, value=round(100 * STRENGTH), id="strength")
    scale = element("span", "least", element("i", class_="scale"), "most", class_="key")
    strength = element("div", element("label", "Map ", slider), scale, class_="strength")
    legend = element("legend", "Method")
    alone = " alone" * (set(methods) == set(trees))
    return element("form", element("fieldset", legend, *choices, class_="methods"), strength, class_=f"toolbar{alone}")


def card(stage: Stage) -> Html:
    """Everything about one image."""
    image = stage.image
    shown = [stage.use, element("image", class_="heat", **_whole(stage))]
    panels, readout = [], Html()
    if stage.trees:
        shown += [draw_tints(stage, number) for number in range(len(stage.trees)) if stage.trees[0].removal]
        shown += [draw_paths(stage), element("path", class_="shade"), element("rect", class_="spot")]
        hint = "Point at a block, in the image or in the tree."
        readout = element("p", hint, class_="readout", data_hint=hint)
        panels.append(element("div", tree_words(stage), draw_tree(stage), class_="panel tree-panel"))
    if any(one.maps for one in image.classes):
        panels.append(element("div", sheet(stage), class_="panel map-panel"))
    view = element("svg", *shown, viewBox=stage.view, role="img", aria_label=image.name, class_="stage")
    return element(
        "section",
        element("h2", element("bdi", image.name)),
        element(
            "div",
            element("div", view, readout, class_picker(stage), captions(stage), class_="left"),
            element("div", *panels, class_="right"),
            class_="columns",
        ),
        id=f"image-{stage.number}",
        class_="card",
        data_class="all" if stage.several else "0",
    )


def captions(stage: Stage) -> Html:
    """What the blocks of every class show, in sentences; nothing for trees of other methods."""
    if not stage.trees or stage.trees[0].removal is None:
        return Html()
    names = tuple(one.name for one in stage.image.classes)
    name_of = namer(names, list(stage.trees), tuple(stage.image.class_names))
    sentences = [
        element(
            "p",
            element("i", stage.label(number), class_=f"disc of-{number}") if stage.several else Html(),
            element("span", f"{COLOURS} ", class_="colours"),
            element("bdi", without_words(tree, name_of)),
            class_=f"caption of-{number}",
        )
        for number, tree in enumerate(stage.trees)
    ]
    first = f"{before_words(stage.trees[0], name_of)}."
    before = element("p", element("bdi", first[0].upper() + first[1:]), class_="before")
    info = element("details", element("summary", "How this is measured"), element("p", method_words(stage.trees[0])))
    return element("div", *sentences, before, info, class_="captions")


def class_picker(stage: Stage) -> Html:
    """The classes with their logits and probabilities; of several, one or all are to be chosen."""
    rows = [_class_row(stage, rank, one) for rank, one in enumerate(stage.image.classes)]
    if stage.several:
        choice = element("input", type="radio", name=f"class-{stage.number}", value="all", checked="")
        rows.insert(0, element("label", choice, element("span", "All classes", class_="name"), class_="class every"))
    return element("fieldset", element("legend", "Classes"), *rows, class_="classes")


def _class_row(stage: Stage, rank: int, one: ExplainedClass) -> Html:
    pieces = [
        element("i", stage.label(rank), class_=f"disc of-{rank}"),
        element("span", element("bdi", one.name), class_="name", title=one.name),
    ]
    if one.tree is not None:
        pieces.append(element("span", logit_words(one.tree.logit), class_="logit"))
    if one.probability is not None:
        filled = element("span", style=f"width:{100 * one.probability:.1f}%")
        pieces.append(element("span", percent(one.probability), class_="probability"))
        pieces.append(element("span", filled, class_=f"bar of-{rank}"))
    if not stage.several:
        return element("div", *pieces, class_="class")
    choice = element("input", type="radio", name=f"class-{stage.number}", value=rank)
    return element("label", choice, *pieces, class_="class")


def tree_words(stage: Stage) -> Html:
    """What the numbers of the tree are."""
    text = " ".join(meaning_of(stage.trees[0]))
    scaled = f" Values: {factors(stage)}." if factors(stage) else ""
    return element(
        "div", element("h3", method_of(stage.trees[0].method).title), element("p", text + scaled), class_="words"
    )


def sheet(stage: Stage) -> Html:
    """All methods (rows) for all classes (columns), each a button that shows it large."""
    image = stage.image
    heads = [
        element(
            "th", element("i", stage.label(rank), class_=f"disc of-{rank}"), " ", element("bdi", one.name), scope="col"
        )
        for rank, one in enumerate(image.classes)
    ]
    rows = []
    for key in image.methods:
        method = method_of(key)
        head = element("th", element("b", method.title), element("small", method.meaning), scope="row")
        cells = [element("td", _cell(stage, key, rank)) for rank in range(len(image.classes))]
        rows.append(element("tr", head, *cells))
    content = element("thead", element("tr", element("td"), *heads)), element("tbody", *rows)
    kind = "sheet" if stage.several else "sheet single"
    return element("table", *content, class_=kind, style=f"--count:{len(image.classes)}")


def _cell(stage: Stage, key: str, rank: int) -> Html:
    one = stage.image.classes[rank]
    if one.tree is not None and key == one.tree.method:
        tints = [draw_tints(stage, rank)] if one.tree.removal else []
        content = stage.small(*tints, draw_squares(stage, rank)), logit_words(stage.trees[rank].logit)
    elif key in one.maps:
        values = one.maps[key]
        low, high = float(np.min(values)), float(np.max(values))
        write, factor = number_writer([low, high])
        common = heats([other.maps[key] for other in stage.image.classes if key in other.maps])
        place = [other for other in stage.image.classes if key in other.maps].index(one)
        heat = element("img", src=heat_address(common[place], stage.shape), alt="", class_="heat")
        content = element("span", stage.small(), heat, class_="overlay"), f"{write(low)} to {write(high)} {factor}"
    else:
        return Html()
    picture, words = content
    return element(
        "button",
        picture,
        element("span", words, class_="range"),
        type="button",
        class_="small",
        aria_label=f"{method_of(key).title}, {one.name}",
        data_method=key,
        data_class=rank,
    )


def _whole(stage: Stage) -> dict[str, str]:
    """Attributes of what fills a stage."""
    width, height = map(short, stage.size)
    return {"width": width, "height": height, "preserveAspectRatio": "none"}


def page_frame(page: str, title: str) -> Html:
    """A whole page of HTML as a frame inside another page: its script runs, and reaches nothing outside of the frame.

    page: as HTML text. title: what the frame is, for those who do not see it.
    """
    style = f"width:100%;height:{FRAME_HEIGHT}px;border:0"
    # An attribute is escaped as a whole, so that nothing in the page can end it.
    return element("iframe", srcdoc=Html(page), sandbox="allow-scripts", title=title, style=style)
