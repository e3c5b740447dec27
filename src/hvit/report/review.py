"""What a report shows of a review of the data: copies, labels that are probably wrong, and a map of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from hvit.errors import UserError
from hvit.files import read_object, read_whole
from hvit.markup import Html, element, inline, join, percent
from hvit.report.pieces import picture, quiet, section
from hvit.run_names import REVIEW, REVIEW_FILE

_LARGEST_PICTURE = 4 * 2**20
_LARGEST_REVIEW = 32 * 2**20
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z_0-9]+\.jpg$")]


class Found(BaseModel):
    """An image: its name, its part of the data, its class."""

    file: str
    part: str = ""
    class_: Annotated[str, Field(alias="class")] = ""


class FoundPair(BaseModel):
    """Two images that are nearly the same."""

    kind: str
    distance: float
    across_parts: bool
    first: Found
    second: Found
    pictures: list[Name] = []


class FoundLabel(Found):
    """An image whose label is probably wrong. explanation: its pictures for light and for dark pages."""

    predicted: str
    probability: float
    picture: Name | None = None
    explanation: list[Name] = []


class Review(BaseModel):
    """The list that `hvit neighbours RUN` writes."""

    images: Count
    num_pairs: Count
    across_parts: Count
    num_label_errors: Count
    model: str | None = None
    pairs: list[FoundPair] = []
    label_errors: list[FoundLabel] = []
    notes: list[str] = []


def review_sections(run: Path) -> list[Html]:
    """Sections on the run's data; none where it was not reviewed. Raises UserError for a damaged review."""
    path = run / REVIEW / REVIEW_FILE
    if not path.is_file():
        return []
    advice = f"write it anew with `hvit neighbours {run}`"
    try:
        review = Review.model_validate(read_object(path, _LARGEST_REVIEW))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}; {advice}") from error
    folder = path.parent
    words = f"The {review.images:,} images of the data were compared by the features of {review.model or 'a model'}."
    pieces = [quiet(words), _pairs(review, folder), *map(quiet, review.notes), _labels(review, folder)]
    light, dark = (_content(folder / name, _PNG) for name in ("map.png", "map_dark.png"))
    if light is not None:
        words = "Each point is an image; near points have similar features."
        pieces.append(element("div", picture((light, dark), "map of the images", words), class_="gallery"))
    return [section("What is in the data", *pieces)]


def _pairs(review: Review, folder: Path) -> Html:
    if not review.num_pairs:
        return element("p", "No two images are nearly the same.")
    count = element("strong", f"{review.num_pairs:,}")
    text = [count, " pairs of images are nearly the same" if review.num_pairs > 1 else " pair of images is the same"]
    if review.across_parts:
        text.append(
            f", {review.across_parts:,} of them in different parts of the data, which makes scores on held-out images "
            "too good"
        )
    figures = []
    for pair in review.pairs:
        both = pair.first, pair.second
        images = [_image(folder, name, one.file) for name, one in zip(pair.pictures, both, strict=False)]
        kind = element("strong", pair.kind)
        words = kind, f" (distance {pair.distance:.3f}): ", _name(both[0]), " and ", _name(both[1])
        figures.append(element("figure", element("div", *images, class_="two"), element("figcaption", *words)))
    return join([element("p", *text, "."), element("div", *figures, class_="cards")])


def _labels(review: Review, folder: Path) -> Html:
    if not review.num_label_errors:
        return Html() if review.notes else element("p", "No label stands out as probably wrong.")
    many = review.num_label_errors > 1
    text = element(
        "p", element("strong", f"{review.num_label_errors:,}"),
        " labels are probably wrong; look at them again." if many else " label is probably wrong; look at it again.",
    )  # fmt: skip
    figures = []
    for one in review.label_errors:
        words = (
            _name(one), ": labelled ", element("strong", element("bdi", one.class_)), ", looks like ",
            element("strong", element("bdi", one.predicted)),
            f"; the label has a probability of {percent(one.probability)}",
        )  # fmt: skip
        pieces = [_image(folder, one.picture, one.file) if one.picture else Html(), element("figcaption", *words)]
        figures.append(element("figure", *pieces))
    opened = [_explanation(one, folder) for one in review.label_errors if one.explanation]
    return join([text, element("div", *figures, class_="cards"), *opened])


def _explanation(one: FoundLabel, folder: Path) -> Html:
    """What can be opened below the cards: the evidence for the label, and for what the image looks like."""
    light, *rest = (_content(folder / name, _JPEG) for name in one.explanation[:2])
    if light is None:
        return Html()
    image = element("img", src=inline(light, "image/jpeg"), alt=f"explanation of {one.file}")
    if rest and rest[0] is not None:
        scheme = {"srcset": inline(rest[0], "image/jpeg"), "media": "(prefers-color-scheme: dark)"}
        image = element("picture", element("source", **scheme), image)
    title = "Evidence for ", element("bdi", one.class_), " and for ", element("bdi", one.predicted), " in ", _name(one)
    return element("details", element("summary", *title), element("figure", image, class_="sheet"))


def _name(one: Found) -> Html:
    words = f"{one.part}: {one.file}" if one.part and one.part not in Path(one.file).parts else one.file
    return element("bdi", words, class_="sample")


def _image(folder: Path, name: str, alt: str) -> Html:
    content = _content(folder / name, _JPEG)
    return element("img", src=inline(content, "image/jpeg"), alt=alt) if content is not None else Html()


def _content(path: Path, beginning: bytes) -> bytes | None:
    """A picture of the review; None where there is none. Links are not followed."""
    if not path.is_file() or path.is_symlink():
        return None
    content = read_whole(path, _LARGEST_PICTURE)
    return content if content.startswith(beginning) else None
