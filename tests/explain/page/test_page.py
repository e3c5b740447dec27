"""Claims about the page of explanations: complete in itself, safe with any name, and alive in a real browser."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.errors import UserError
from hvit.explain import Tree
from hvit.explain.page import ExplainedClass, ExplainedImage, render_page, write_page
from hvit.explain.tree import greedy_path
from hvit.explain.words import TIMES
from hvit.markup import shown
from tests.explain.drawing.trees import grow_removed

HOSTILE = "\"'></script></style><script>window.hacked = 1</script><img src=x onerror=window.hacked=1>&amp;\u202e.png"
MAPS = ("cam", "gradcam", "gradcam++", "rollout")
VOID = ("meta", "img", "input")


def grow(depth: int, seed: int, size: tuple[int, int] = (96, 96), path: tuple[int, ...] | None = None) -> Tree:
    """A tree of random values; its path is the given one."""
    values = tuple(np.random.default_rng(seed).normal(size=(2**step, 2**step)) for step in range(1, depth + 1))
    for step in range(1, depth + 1) if path else ():
        row = sum(quadrant // 2 << step - 1 - place for place, quadrant in enumerate(path[:step]))
        column = sum(quadrant % 2 << step - 1 - place for place, quadrant in enumerate(path[:step]))
        values[step - 1][row, column] = 9.0
    return Tree(seed, 7.654, greedy_path(values), values, size)


def explain(
    name: str = "photo.jpg",
    classes: tuple[str, ...] = ("dog", "cat"),
    methods: tuple[str, ...] = MAPS,
    depth: int = 2,
    side: int = 96,
) -> ExplainedImage:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    paths = ((1, 2, 3, 0), (0, 0, 0, 0), (3, 3, 3, 3), (3, 1, 1, 1))
    explained = [
        ExplainedClass(
            one,
            0.7 / (number + 1),
            grow(depth, number, path=paths[number][:depth]) if depth else None,
            {method: np.eye(4)[number] * np.ones((4, 1)) for method in methods},
        )
        for number, one in enumerate(classes)
    ]
    return ExplainedImage(name, Image.fromarray(pixels), explained)


class Read(HTMLParser):
    """A page's tags with their attributes, and its text outside of style and script."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.code: dict[str, str] = {}
        self.feed(source)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.code[self.open[-1]] = data
        else:
            self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [fields[name] for _, fields in self.tags if name in fields]


def test_a_page_is_complete_in_itself() -> None:
    read = Read(render_page([explain(), explain("other.png")], model="nest_micro_32"))
    addresses = read.values("src") + read.values("href")
    assert len(addresses) > 20
    assert [one for one in addresses if not one.startswith(("data:image/", "#"))] == []
    assert "url(" not in read.code["style"]
    assert "@import" not in read.code["style"]
    identities = read.values("id")
    assert len(set(identities)) == len(identities)
    assert {one for one in addresses if one.startswith("#")} <= {f"#{one}" for one in identities}


def test_the_policy_allows_the_one_script_and_nothing_else() -> None:
    read = Read(render_page([explain()]))
    policy = next(fields["content"] for _, fields in read.tags if fields.get("http-equiv"))
    digest = base64.b64encode(sha256(read.code["script"].encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert [tag for tag, _ in read.tags].count("script") == 1


def test_no_name_becomes_markup() -> None:
    plain = Read(render_page([explain("a", ("b", "c"), ("m",)), explain()], model="d"))
    names = explain(HOSTILE, (HOSTILE, HOSTILE + "2"), (HOSTILE,))
    hostile = Read(render_page([names, explain()], model=HOSTILE))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert {name for _, fields in hostile.tags for name in fields} == {
        name for _, fields in plain.tags for name in fields
    }
    assert "".join(hostile.words).count(shown(HOSTILE)) > 10
    assert [value for value in hostile.values("style") + hostile.values("id") if "script" in value] == []


def test_every_block_has_its_place_and_a_value_for_each_class() -> None:
    explained = explain(depth=3)
    nodes = [fields for _, fields in Read(render_page([explained])).tags if fields.get("role") == "treeitem"]
    places = {fields["aria-label"].split(":")[0]: fields for fields in nodes}
    tree = explained.trees[0]
    assert len(nodes) == len(places) == 1 + 4 + 16 + 2 * 4
    words = ("top left", "top right", "bottom left", "bottom right")
    unit = 400 / 96
    for node in tree.nodes():
        place = ", ".join(words[step] for step in node.path)
        if node.depth < 3 or node.path[:2] in [one.path[:2] for one in explained.trees]:
            left, top, width, height = map(float, places[place]["data-box"].split())
            expected = [edge * unit for edge in node.region]
            assert [left, top, left + width, top + height] == pytest.approx(expected, abs=0.11)
            values = [f"{one.value(node.path):z.2f}".replace("-", "\N{MINUS SIGN}") for one in explained.trees]
            assert f": dog {values[0]}, cat {values[1]}" in places[place]["aria-label"]
    on_path = [name for name, fields in places.items() if "the path of dog" in fields["aria-label"]]
    assert on_path == ["top right", "top right, bottom left", "top right, bottom left, bottom right"]


def test_no_value_of_the_tree_stands_on_another() -> None:
    for depth in (1, 2, 3, 4):
        for classes in (("a",), ("a", "b", "c", "d")):
            nodes = [
                fields
                for _, fields in Read(render_page([explain(classes=classes, depth=depth, methods=())])).tags
                if fields.get("role") == "treeitem"
            ]
            rows: dict[str, list[float]] = {}
            lines = []
            for fields in nodes:
                numbers = dict(part.split(":") for part in fields["style"].replace("--", "").split(";"))
                rows.setdefault(numbers["y"], []).append(float(numbers["x"]))
                lines.append(float(numbers["v"]))
            assert len(rows) == depth + 1
            for centres in rows.values():
                assert min(np.diff(sorted(centres)), default=99) >= 43 - 0.1
                assert 20 <= min(centres) <= max(centres) <= 724 - 20
            assert min(np.diff(lines)) > 20, "the lines of the narrow tree follow each other"


def test_values_far_smaller_than_others_still_differ() -> None:
    values = np.array([[3.0, 1.0], [1.0, 1.0]]), np.arange(16.0).reshape(4, 4) * 1e-5
    tree = Tree(0, 6.0, (0, 3), values, (96, 96))
    read = Read(render_page([ExplainedImage("a", np.zeros((96, 96)), [ExplainedClass("dog", tree=tree)])]))
    labels = {fields["aria-label"].split(";")[0] for _, fields in read.tags if fields.get("role") == "treeitem"}
    assert {"whole image: dog 6.00", "top left: dog 3.00"} <= labels
    assert {
        f"top left, top right: dog 0.10 ({TIMES} 10⁻⁴)",
        f"top left, bottom left: dog 0.40 ({TIMES} 10⁻⁴)",
    } <= labels
    assert f"Values: sixteenths {TIMES} 10⁻⁴." in "".join(read.words).replace("\N{NO-BREAK SPACE}", " ")


def picture_of(address: str) -> Image.Image:
    kind, content = address.split(",")
    assert re.fullmatch(r"data:image/(png|jpeg);base64", kind)
    return Image.open(BytesIO(base64.b64decode(content)))


def test_the_picture_is_what_the_model_saw() -> None:
    for side, lossless in ((8, True), (96, True), (224, False)):
        explained = explain(side=side, depth=0)
        smooth = Image.fromarray(np.linspace(0, 255, side).astype(np.uint8)[None].repeat(side, 0)).convert("RGB")
        read = Read(render_page([ExplainedImage("a", smooth, explained.classes)]))
        address = next(fields["href"] for tag, fields in read.tags if tag == "image" and "href" in fields)
        difference = np.abs(np.asarray(picture_of(address), int) - np.asarray(smooth, int))
        assert difference.max() <= (0 if lossless else 4)


def test_heat_is_brightest_and_densest_where_the_map_is_largest() -> None:
    values = np.zeros((3, 7))
    values[1, 5] = 2.0
    wide = np.zeros((60, 140, 3), np.uint8)
    read = Read(render_page([ExplainedImage("a", wide, [ExplainedClass("b", maps={"cam": values})])]))
    heat = np.asarray(picture_of(next(fields["src"] for tag, fields in read.tags if tag == "img")).convert("RGBA"), int)
    row, column = np.unravel_index(heat[..., :3].sum(-1).argmax(), heat.shape[:2])
    assert (row * 3 // heat.shape[0], column * 7 // heat.shape[1]) == (1, 5)
    assert heat[row, column, 3] > 200
    assert heat[0, 0, 3] < 80
    assert heat.shape[1] / heat.shape[0] == pytest.approx(140 / 60, rel=0.05)


def test_a_constant_map_is_shown_as_the_least() -> None:
    # Enlarging leaves rounding errors, which must not be stretched to the full range of colours.
    explained = ExplainedImage("a", np.zeros((8, 8)), [ExplainedClass("b", maps={"cam": np.full((2, 2), 3.0)})])
    read = Read(render_page([explained]))
    heat = picture_of(next(fields["src"] for tag, fields in read.tags if tag == "img")).convert("RGBA")
    assert heat.getextrema()[3][1] < 80
    assert "3.00 to 3.00" in "".join(read.words)


def test_a_page_of_many_images_stays_small() -> None:
    one, ten = (len(render_page([explain()] * count)) for count in (1, 10))
    assert (ten - one) / 9 < 100_000


def test_what_does_not_fit_together_is_refused_with_a_sentence() -> None:
    picture, tree = np.zeros((96, 96)), grow(2, 0)

    def refused(match: str, *classes: ExplainedClass, image: Any = picture) -> None:
        with pytest.raises(UserError, match=match):
            render_page([ExplainedImage("a.png", image, classes)])

    with pytest.raises(UserError, match="one image or more"):
        render_page([])
    refused("1 to 4 classes, got 0")
    refused("1 to 4 classes, got 5", *[ExplainedClass("b", tree=tree)] * 5)
    refused("trees or maps, got neither", ExplainedClass("b", 0.5))
    refused("all of its classes or for none", ExplainedClass("b", tree=tree), ExplainedClass("c"))
    refused("same image", ExplainedClass("b", tree=tree), ExplainedClass("c", tree=grow(3, 0)))
    refused("the model saw 96 x 96", ExplainedClass("b", tree=tree), image=np.zeros((96, 48)))
    refused("from 0 to 1, got 70", ExplainedClass("b", 70, tree=tree))
    refused("map cam of class b must hold finite numbers", ExplainedClass("b", maps={"cam": np.full((2, 2), np.nan)}))
    refused(r"got an array of shape \(4,\)", ExplainedClass("b", maps={"cam": np.zeros(4)}))
    refused("both a tree and a map of gradcat", ExplainedClass("b", tree=tree, maps={"gradcat": np.zeros((2, 2))}))
    refused("before normalisation", ExplainedClass("b", tree=tree), image=np.full((96, 96), -1.0))


def test_a_page_is_written_whole_with_any_letters(tmp_path: Path) -> None:
    path = write_page([explain("half a pair \udcff, a null \0, naïve 犬")], tmp_path / "new folder" / "why.html")
    assert path == tmp_path / "new folder" / "why.html"
    assert "naïve 犬" in path.read_text(encoding="utf-8")
    assert [one.name for one in path.parent.iterdir()] == ["why.html"]


# In a real browser.


def test_a_tree_of_block_shapley_comes_first_with_captions_and_coloured_blocks() -> None:
    trees = [grow_removed(seed, clear=1) for seed in range(2)]
    maps = [{"gradcat": np.eye(4), "cam": np.eye(3)} for _ in trees]
    classes = [ExplainedClass(f"animal {rank}", 0.5, trees[rank], maps[rank]) for rank in range(2)]
    source = render_page([ExplainedImage("a.png", np.zeros((224, 224)), classes, [f"kind {n}" for n in range(9)])])
    read = Read(source)
    methods = [fields["value"] for tag, fields in read.tags if tag == "input" and fields.get("name") == "method"]
    assert methods == ["block_shapley", "gradcat", "cam"]
    words = " ".join(read.words)
    assert "Blocks in blue made this answer more likely, blocks in red less." in words
    assert "Without the framed block the model would say kind 3 (40.0 %)." in words
    assert "Before seeing the image: kind 7 (88.0 %)." in words
    assert "Shapley values: blocks are replaced by the image's mean colour" in words
    assert source.count('class="for"') + source.count('class="against"') == 2 * 2 * 16


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of explanations; at the end nothing may have gone wrong in it, or have been asked of the network."""
    complaints: list[str] = []
    contexts = []

    def opened(explained: list[ExplainedImage], width: int = 1440, height: int = 1000, **options: Any) -> Any:
        path = write_page(explained, tmp_path / "page.html", model="nest_micro_32")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # of busy machines
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append("a dialog"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def lit(page: Any) -> tuple[list[str], str | None]:
    """Names of the blocks of the tree that are lit, and the outline on the image."""
    names = [one.get_attribute("data-place") for one in page.locator(".node.lit").all()]
    return names, page.locator(".shade").first.get_attribute("d")


def hit(page: Any, place: str) -> Any:
    return page.locator(f'.node[data-place="{place}"] .hit').first


def visible(place: Any, selector: str) -> list[str]:
    """The classes of all elements that can be seen."""
    return place.locator(selector).evaluate_all(
        "all => all.filter(one => one.checkVisibility()).map(one => one.getAttribute('class'))"
    )


def boxes(page: Any, selector: str) -> list[dict[str, float]]:
    return page.locator(selector).evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")


def test_a_block_of_the_tree_lights_its_region_on_the_image(show: Callable[..., Any]) -> None:
    page = show([explain()])
    assert lit(page) == ([], None)
    hit(page, "top right, bottom left").hover()
    assert lit(page) == (["top right, bottom left"], "M0 0H400V400H0ZM200 100h100v100h-100Z")
    readout = page.locator(".readout").inner_text()
    assert readout.startswith("top right, bottom left: dog 9.00, cat ")
    page.locator("h1").hover()
    assert lit(page) == ([], None)
    assert page.locator(".readout").inner_text() == "Point at a block, in the image or in the tree."


def test_a_region_of_the_image_lights_its_block_in_the_tree(show: Callable[..., Any]) -> None:
    page = show([explain(depth=3)])
    box = page.locator(".stage").bounding_box()

    def at(x: float, y: float) -> list[str]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        return lit(page)[0]

    assert at(0.9, 0.9) == ["bottom right, bottom right"], "the smallest block that is shown"
    assert at(0.74, 0.49) == ["top right, bottom left, bottom right"], "deeper, next to a path"
    page.mouse.move(box["x"] - 10, box["y"])
    assert lit(page) == ([], None)


def test_a_class_shows_its_path_alone_and_all_classes_all(show: Callable[..., Any]) -> None:
    page = show([explain(), explain("other.png")])
    first, second = page.locator(".card").all()

    def ways(card: Any) -> list[str]:
        return visible(card, ".way.wide")

    both = ["way wide of-0", "way wide of-1"]
    assert sorted(ways(first)) == sorted(both * 2)
    first.locator(".class", has_text="cat").click()
    assert ways(first) == ["way wide of-1"] * 2
    widths = first.locator(".edge.wide").evaluate_all("all => all.map(one => getComputedStyle(one).strokeWidth)")
    quadrants = grow(2, 1, path=(0, 0)).values[0].ravel()
    expected = [0.6 + 5.4 * max(value, 0) / 9 for value in quadrants]
    assert [float(widths[5 * place].removesuffix("px")) for place in range(4)] == pytest.approx(expected, abs=0.01)
    assert first.locator(".paths .of-0").first.is_hidden()
    assert first.locator(".paths .of-1").first.is_visible()
    assert sorted(ways(second)) == sorted(both * 2), "the other image is as it was"
    first.get_by_text("All classes").click()
    assert sorted(ways(first)) == sorted(both * 2)


def test_methods_are_switched_for_all_images(show: Callable[..., Any]) -> None:
    page = show([explain(), explain("other.png")])
    shown = page.locator(".stage .heat")
    assert visible(page, ".panel") == ["panel tree-panel"] * 2
    page.locator(".methods").get_by_text("Grad-CAM", exact=True).click()
    assert visible(page, ".panel") == ["panel map-panel"] * 2
    source = page.get_by_role("button", name="Grad-CAM, dog").first.locator("img").get_attribute("src")
    assert [one.get_attribute("href") for one in shown.all()] == [source] * 2
    assert page.locator(".paths").first.is_hidden()

    page.get_by_role("button", name="CAM, cat").first.click()
    assert page.get_by_role("radio", name="CAM", exact=True).is_checked()
    assert page.locator(".card").first.get_by_role("radio", name="cat").is_checked()
    assert page.locator('.small[aria-pressed="true"]').first.get_attribute("aria-label") == "CAM, cat"
    assert shown.first.get_attribute("href") != source

    page.locator(".methods").get_by_text("GradCAT").click()
    assert visible(page, ".panel") == ["panel tree-panel"] * 2
    assert page.locator(".card").nth(1).get_by_role("radio", name="All classes").is_checked(), "as before the maps"
    assert page.locator(".card").first.get_by_role("radio", name="cat").is_checked(), "as chosen among the maps"


def test_a_slider_sets_how_strongly_maps_cover_the_image(show: Callable[..., Any]) -> None:
    page = show([explain(depth=0)])
    heat = page.locator(".stage .heat")
    strength = "one => Number(getComputedStyle(one).opacity)"
    assert heat.evaluate(strength) == 0.75
    page.get_by_label("Map").fill("20")
    assert heat.evaluate(strength) == 0.2


def test_the_keyboard_reaches_everything(show: Callable[..., Any]) -> None:
    page = show([explain()])

    def press(*keys: str) -> str:
        for key in keys:
            page.keyboard.press(key)
        return page.evaluate("document.activeElement.dataset.place ?? document.activeElement.value")

    assert press("Tab") == "gradcat"
    assert press("ArrowRight") == "cam"
    assert visible(page, ".panel") == ["panel map-panel"]
    assert press("ArrowLeft") == "gradcat"
    assert press("Tab") == "all"
    assert press("ArrowDown") == "0"
    assert page.locator(".card").get_attribute("data-class") == "0"
    assert press("Tab") == "whole image"
    assert press("ArrowDown", "ArrowRight", "ArrowDown") == "top right, top left"
    assert lit(page) == (["top right, top left"], "M0 0H400V400H0ZM200 0h100v100h-100Z")
    rings = page.locator(".ring").evaluate_all("all => all.map(one => getComputedStyle(one).strokeWidth)")
    assert [width for width in rings if width != "2px"] == ["3px"], "the focus can be seen, and is more than a light"
    assert press("ArrowLeft") == "top left, bottom right", "its neighbour across the families"
    assert press("ArrowDown") == "top left, bottom right", "a leaf has no children"
    assert press("ArrowUp") == "top left"
    assert press("End") == "bottom right, bottom right"
    assert press("Home") == "whole image"
    press("Tab")
    assert lit(page) == ([], None)
    assert press("Shift+Tab") == "whole image", "the tree is one stop and remembers its place"


def test_on_a_narrow_screen_the_tree_is_a_list(show: Callable[..., Any]) -> None:
    page = show([explain(classes=("a", "b", "c", "d"), depth=4)], width=360, height=800)
    tree = page.get_by_role("tree")
    assert tree.get_attribute("aria-orientation") == "vertical"
    assert all(before["bottom"] <= after["top"] for before, after in pairwise(boxes(page, ".node .hit")))
    page.locator(".node").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert lit(page)[0] == ["top left, top left, top left"]
    page.keyboard.press("ArrowLeft")
    assert lit(page)[0] == ["top left, top left"]


@pytest.mark.parametrize("width", [320, 360, 768, 900, 1280])
def test_no_screen_has_to_be_scrolled_sideways(width: int, show: Callable[..., Any]) -> None:
    names = ("a class of a very long name " * 5, "averylongnamewithoutaspace" * 5, "c", "d")
    page = show([explain("photo_" * 60 + ".jpg", names, depth=3), explain()], width=width)
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(sideways) <= 0
    page.locator(".methods").get_by_text("Rollout").click()
    assert page.evaluate(sideways) <= 0
    content = "[...document.querySelectorAll('.right')].map(one => one.scrollWidth - one.clientWidth)"
    assert max(page.evaluate(content)) <= 0


def test_hostile_names_do_nothing_but_stand_there(show: Callable[..., Any]) -> None:
    page = show([explain(HOSTILE, (HOSTILE, "dog"), (HOSTILE, "cam")), explain()])
    assert page.locator("h2").first.inner_text() == shown(HOSTILE)
    hit(page, "top left").hover()
    assert shown(HOSTILE) in page.locator(".readout").first.inner_text()
    page.locator(".methods").get_by_text(shown(HOSTILE)).click()
    page.locator(".small").nth(2).click()
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1


def test_the_policy_stops_a_script_that_came_in_all_the_same(browser: Any, tmp_path: Path) -> None:
    path = write_page([explain()], tmp_path / "page.html")
    changed = path.read_text(encoding="utf-8").replace("</main>", "<script>window.hacked = 1</script></main>")
    path.write_text(changed.replace("<h2>", "<h2 onclick='window.hacked = 1'>"), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.locator("h2").click()
    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in text for text in said)
    context.close()


def test_light_and_dark_follow_the_reader(show: Callable[..., Any]) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = show([explain()], color_scheme=scheme)
        shot = Image.open(BytesIO(page.locator(".card").screenshot())).convert("L")
        corner = np.asarray(shot.crop((8, 8, 40, 20)))
        assert corner.std() < 1
        brightness[scheme] = corner.mean()
        assert np.asarray(shot).std() > 20, "there is something to see"
    assert brightness["light"] > 250
    assert brightness["dark"] < 50


def test_without_its_script_the_page_shows_trees_and_maps(show: Callable[..., Any]) -> None:
    page = show([explain()], java_script_enabled=False)
    assert visible(page, ".panel") == ["panel tree-panel", "panel map-panel"]
    assert visible(page, ".toolbar") == []


def test_print_leaves_the_controls_out_and_fits_the_paper(show: Callable[..., Any]) -> None:
    page = show([explain(), explain("other.png")], width=725)
    page.emulate_media(media="print")
    assert visible(page, ".toolbar, nav, .readout") == []
    assert len(visible(page, ".tree-panel")) == 2
    assert max(box["right"] for box in boxes(page, ".node .hit")) <= 725


def test_a_link_of_the_list_leads_to_its_image(show: Callable[..., Any]) -> None:
    page = show([explain(f"{number}.png", methods=()) for number in range(12)])
    page.get_by_role("navigation").get_by_title("9.png").click()
    top = "[...document.querySelectorAll('h2')].find(one => one.innerText == '9.png').getBoundingClientRect().y"
    page.wait_for_function(f"() => {top} >= 0 && {top} < 300")
