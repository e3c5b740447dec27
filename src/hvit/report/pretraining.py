"""What a report shows of a run of masked pretraining in place of classes and explanations."""

from __future__ import annotations

from hvit.markup import NOTHING, Html, element, percent
from hvit.report.pieces import number_in, object_in, picture, quiet, section, tile
from hvit.report.reading import Run
from hvit.run_names import FEATURE_MAP, RECONSTRUCTIONS

PICTURES = (RECONSTRUCTIONS, FEATURE_MAP)
"""The names of its own pictures."""


def is_pretraining(run: Run) -> bool:
    """Whether the run pretrains a masked autoencoder."""
    return object_in(run.recipe, "model").get("family") == "masked"


def pretraining_tiles(run: Run) -> list[Html]:
    """How much of what was masked is explained, and how well the features separate classes."""
    last = run.of_kind("evaluate")[-1:]
    if run.scores and run.scores.explained_variance is not None:
        found = run.scores.model_dump()
    else:
        found = dict(last[0]) if last else {}
    made = []
    for key, name, detail in (
        ("explained_variance", "Explained variance", "of masked patches, held out"),
        ("linear_probe", "Linear probe", f"of held-out {run.samples}, by features trained without labels"),
        ("nearest_neighbours", "Nearest neighbours", f"of held-out {run.samples}, by the vote of ten"),
    ):
        value = number_in(found, key)
        if value is not None:
            made.append(tile(name, percent(value), detail))
    return made or [tile("Explained variance", NOTHING, "not measured yet")]


def pretraining_section(run: Run) -> Html:
    """What the model reconstructs, and where its features put the images."""
    labelled = run.scores is not None and len(run.scores.classes) > 1
    captions = (
        f"Held-out {run.samples}, what the model sees of them, and what it reconstructs of the rest as it trains. "
        "A model of normalised patches gives neither their brightness nor their contrast; here the image's are used.",
        f"Held-out {run.samples}, placed so that those with similar features are near."
        + " The encoder was trained without the classes: where they gather, few labels will do." * labelled,
    )
    pieces = [
        picture(run.picture(name), name.replace("_", " "), caption)
        for name, caption in zip(PICTURES, captions, strict=True)
        if name in run.pictures
    ]
    shown = pieces or [quiet("There are no pictures yet: the first come with the first evaluation.")]
    return section("What it reconstructs", element("div", *shown, class_="gallery"))
