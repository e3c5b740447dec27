"""What a report shows of a run of generation: samples, their distance to real images, and what goes wrong."""

from __future__ import annotations

from functools import partial

from hvit import pictures
from hvit.files import JsonObject
from hvit.markup import NOTHING, Html, element, percent, some_of, three_digits
from hvit.pictures import Line
from hvit.report.pieces import chart, number_in, object_in, picture, place, quiet, section, tile
from hvit.report.reading import Run
from hvit.run_names import INTERPOLATION, NEIGHBOURS, SAMPLES, SAMPLES_OVER_TIME

PICTURES = (SAMPLES, INTERPOLATION, SAMPLES_OVER_TIME, NEIGHBOURS)
"""The names of its own pictures."""
MOST_COLUMNS = 16  # as `hvit.snapshots.samples` lays its grids, whose import would wait for torch
_COPIES = 0.5  # samples that are so much nearer to training images than held-out ones are


def is_generation(run: Run) -> bool:
    """Whether the run trains a generator."""
    return object_in(run.recipe, "model").get("family") == "gan"


def generation_tiles(run: Run) -> list[Html]:
    """How far generated images are from real ones, under the true name of the distance, and how different they are."""
    evaluated = [row for row in run.of_kind("evaluate") if number_in(row, "distance") is not None]
    found = _found(run)
    distance = number_in(found, "distance")
    if distance is None:
        return [tile("Distance to real images", NOTHING, "not measured yet")]
    measure = (run.scores and run.scores.measure) or "Frechet distance"
    details = []
    if run.scores and run.scores.reference_count:
        details.append(f"from {run.scores.reference_count:,} {_hyphened(run.scores.split)} images")
    halves = number_in(found, "distance_of_halves")
    if halves is not None:
        details.append(f"between halves of the real ones {three_digits(halves)}")
    made = [tile(measure, three_digits(distance), " · ".join(details))]
    kernel = number_in(found, "kernel_distance")
    if kernel is not None:
        name = str(found.get("kernel_measure") or (run.scores and run.scores.kernel_measure) or "kernel distance")
        made.append(tile(name[:1].upper() + name[1:], f"{kernel:.3g}", "unbiased; from held-out images"))
    if evaluated:
        best = min(evaluated, key=lambda row: row["distance"])
        made.append(tile("Smallest on the way", three_digits(best["distance"]), f"at {place(best)}"))
    recognised, precision, recall = (number_in(found, key) for key in ("recognised", "precision", "recall"))
    if recognised is not None:
        made.append(tile("Recognised", percent(recognised), "of generated images, as the class that was asked for"))
    if precision is not None:
        detail = "of generated images lie among real ones"
        made.append(tile("Precision", percent(precision), detail + f" · recall {percent(recall)}"))
    diversity, distinctness = number_in(found, "diversity"), number_in(found, "distinctness")
    if diversity is not None:
        detail = "times the distance between two real images"
        detail += "" if distinctness is None else f" · to the nearest {distinctness:.2f}"
        made.append(tile("Diversity", f"{diversity:.2f}", detail))
    return made


def generation_warnings(run: Run) -> list[str]:
    """What is wrong with the newest state of the run, in sentences."""
    found = _found(run)
    sentences = [str(found["warning"])] if found.get("warning") else []
    if run.scores and run.scores.memorisation and run.scores.memorisation.ratio < _COPIES:
        sentences.append(
            "samples are much nearer to training images than held-out images are: the generator copies; look at the "
            "nearest training images below"
        )
    return [f"Warning: {sentence}." for sentence in sentences]


def generation_section(run: Run) -> Html:
    """Samples of the newest weights, and latent interpolations."""
    classes = run.scores.classes if run.scores else []
    labelled = bool(object_in(object_in(run.recipe, "model"), "generator").get("num_classes"))
    ordered = labelled and 2 <= len(classes) <= MOST_COLUMNS
    captions = {
        SAMPLES: "Samples, always of the same latents; none is chosen."
        + f" A column is a class: {', '.join(classes)}." * ordered,
        INTERPOLATION: "Interpolations from one latent to another, a row each: a generator that generalises "
        "changes images step by step, one that memorised them jumps." + " Every row keeps its class." * labelled,
    }
    missing = quiet("There are no pictures yet: the first come with the first evaluation.")
    return section("Samples", _pictured(run, captions) or missing)


def losses_section(run: Run) -> Html:
    """How losses, distance and diversity went, against the images that were seen, and where it was resumed."""
    batch = number_in(object_in(run.recipe, "loop"), "batch_size") or 1.0
    measure = (run.scores and run.scores.measure) or "Frechet distance"
    shown: tuple[tuple[str, tuple[Line, ...], pictures.Unit], ...] = (
        (measure, _DISTANCES, "distance"),
        ("Losses", _LOSSES, "loss"),
        ("Diversity, as multiples of real images", _DIVERSITIES, "value"),
        ("Precision, recall, recognised", _SHARES, "share"),
        ("Gradient penalty (R1)", _PENALTY, "loss"),
    )
    charts = []
    for title, lines, kind in shown:
        if any(number_in(row, line.key) is not None for row in run.rows for line in lines):
            draw = partial(pictures.draw_lines, run.rows, title, lines, batch, kind)
            charts.append(chart(draw, f"{title} against images seen"))
    if not charts:
        return section("Training", quiet("There are no curves yet."))
    resumed = ", ".join(f"{int(row['step']):,}" for row in run.of_kind("resume"))
    story = [f"was resumed at step {resumed}"] if resumed else []
    story += [f"finished at {place(row)}" for row in run.of_kind("finish")[-1:]]
    warned = [row for row in run.of_kind("evaluate") if row.get("warning")]
    sentences = [f"The run {' and '.join(story)}."] if story else []
    if warned:
        steps = some_of([f"{int(row['step']):,}" for row in warned], 6)
        sentences.append(f"It warned at step {steps}; the first time: {warned[0]['warning']}.")
    captions = {SAMPLES_OVER_TIME: "The same latents at some moments of the run."}
    return section(
        "Training", element("div", *charts, class_="charts"), *map(quiet, sentences), _pictured(run, captions)
    )


def memory_section(run: Run) -> Html:
    """Whether it memorises: samples with the training images that are nearest to them."""
    found = run.scores.memorisation if run.scores else None
    captions = {
        NEIGHBOURS: "Of 256 samples the eight that are nearest to a training image, above that image, with their "
        "distances in features; typical is that of a held-out image."
    }
    pictured = _pictured(run, captions)
    if found is None and not pictured:
        return Html()
    text = Html()
    if found is not None:
        how = (
            "Samples are much nearer: the generator copies what it was shown."
            if found.ratio < _COPIES
            else "Samples are not nearer, as they would be if it copied."
            if found.ratio >= 1
            else "Samples are a little nearer; copies would be far nearer."
        )
        text = element(
            "p",
            "A sample is at a distance of ",
            element("strong", three_digits(found.sample_to_training)),
            " from the nearest training image, a held-out image at ",
            element("strong", three_digits(found.held_out_to_training)),
            f" (medians, in the features of the distance above). {how}",
        )
    return section("Memorisation", text, pictured)


def _found(run: Run) -> JsonObject:
    """The scores of the finished run, or those of the newest evaluation."""
    if run.scores and run.scores.distance is not None:
        return run.scores.model_dump()
    return dict((run.of_kind("evaluate") or [{}])[-1])


def _pictured(run: Run, captions: dict[str, str]) -> Html:
    """The pictures that are there; empty where none is."""
    shown = [
        picture(run.picture(name), name.replace("_", " "), caption)
        for name, caption in captions.items()
        if name in run.pictures
    ]
    return element("div", *shown, class_="gallery pair" if len(captions) > 1 else "gallery") if shown else Html()


def _hyphened(split: str | None) -> str:
    return (split or "real").replace("held out", "held-out")


_DISTANCES = (
    Line("evaluate", "distance", 1, "generated images"),
    Line("evaluate", "distance_of_halves", 2, "halves of the real ones", "--"),
)
_LOSSES = (Line("train", "discriminate_loss", 0, "discriminator"), Line("train", "generate_loss", 1, "generator"))
_PENALTY = (Line("train", "penalise_loss", 0, "discriminator"),)
_DIVERSITIES = (
    Line("evaluate", "diversity", 1, "between two images"),
    Line("evaluate", "distinctness", 2, "to the nearest other", "--"),
)
_SHARES = (
    Line("evaluate", "recognised", 0, "recognised"),
    Line("evaluate", "precision", 1, "precision"),
    Line("evaluate", "recall", 2, "recall", "--"),
)
