"""The page of a run: one function a section, each from what was read to HTML.

The page loads nothing from anywhere: styles and pictures are inside it, and its content security policy forbids the
rest. It follows the reader's light or dark theme.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from hvit import pictures
from hvit.markup import MARK, NOTHING, SPACE, Html, breakable, duration, element, join, percent, short_number, times
from hvit.metrics import classification
from hvit.report import generation, pretraining
from hvit.report.checked import checks_words
from hvit.report.confidence import confidence_section
from hvit.report.delivery import delivery_sentences
from hvit.report.distillation import distillation_section
from hvit.report.generation import generation_section, is_generation, losses_section, memory_section
from hvit.report.labelled import counts_words, is_labelled, label_section, label_tiles, last_label_score, level_tiles
from hvit.report.pieces import (
    cards,
    chart,
    gallery,
    interval,
    number_in,
    object_in,
    place,
    quiet,
    section,
    tile,
    verdict,
    whole_page,
)
from hvit.report.pretraining import is_pretraining, pretraining_section
from hvit.report.reading import ModelFacts, Mosaic, Run
from hvit.report.review import review_sections
from hvit.run_names import EXPLANATION, MISTAKE

SHOWN_CLASSES = 30  # with more, the table of all classes is folded up behind the hardest ones


def render_page(run: Run) -> str:
    """The whole page of a run as HTML text."""
    name = str(run.recipe.get("name", run.folder))
    if is_generation(run):
        kind_sections = (generation_section(run), losses_section(run), memory_section(run))
    elif is_pretraining(run):
        kind_sections = (curves_section(run), pretraining_section(run))
    else:
        kind_sections = (
            curves_section(run), distillation_section(run),
            label_section(run) if is_labelled(run) else classes_section(run), confidence_section(run),
            mistakes_section(run), explanations_section(run),
        )  # fmt: skip
    sections = (
        headline(run, name),
        *kind_sections,
        *review_sections(run.path),
        pictures_section(run),
        plan_section(run),
        reproduce_section(run, name),
    )
    return whole_page(f"{name} · hvit run report", *sections)


def headline(run: Run, name: str) -> Html:
    """What was run on which data, whether it finished, and the few numbers everyone looks for."""
    finished = bool(run.of_kind("finish"))
    badge = element("span", "finished" if finished else "not finished", class_="badge" + " done" * finished)
    notes = list(run.notes)
    if not run.rows:
        notes.insert(0, "Nothing has been recorded yet: the run has not taken a step.")
    elif not finished:
        end = f"This run has not finished: its journal ends at {place(run.rows[-1])}."
        notes.insert(0, f"{end} It was stopped, or is still running.")
    if run.rows and run.scores is None and not run.of_kind("evaluate"):
        notes.append("It has not been evaluated on held-out data yet.")
    if is_generation(run):
        notes = [*generation.generation_warnings(run), *notes]
    return element(
        "header",
        element("p", MARK, "hvit run report", badge, class_="eyebrow"),
        element("h1", name),
        element("p", run.recipe.get("summary", ""), class_="summary"),
        element("dl", *tiles(run), class_="tiles"),
        *(element("p", note, class_="note") for note in notes),
    )


def tiles(run: Run) -> list[Html]:
    """The headline's numbers: what was reached, time, model and data, each with a line of detail."""
    scores = run.scores
    evaluated = [row for row in run.of_kind("evaluate") if number_in(row, "top1") is not None]
    made = []
    if is_generation(run):
        made += generation.generation_tiles(run)
    elif is_pretraining(run):
        made += pretraining.pretraining_tiles(run)
    elif scores and is_labelled(run):
        made += label_tiles(run)
    elif scores and scores.top1 is not None:
        detail = f"of {scores.count:,} {run.samples} · {interval(scores.top1, scores.count)}"
        if scores.top5 is not None and len(scores.classes) > 5:
            detail += f" · top-5 {percent(scores.top5)}"
        made.append(tile(f"{scores.evaluated_on.capitalize()} accuracy", percent(scores.top1), detail))
        if scores.balanced_accuracy is not None and len(set(scores.training_counts)) > 1:
            made.append(tile("Balanced accuracy", percent(scores.balanced_accuracy), "the mean recall of the classes"))
        made += level_tiles(scores.levels, scores.mistake_severity)
    elif found := last_label_score(run):
        made.append(found)
    elif evaluated:
        made.append(tile("Held-out accuracy", percent(evaluated[-1]["top1"]), f"at {place(evaluated[-1])}"))
    else:
        made.append(tile("Held-out accuracy", NOTHING, "not measured yet"))
    if evaluated:
        best = max(evaluated, key=lambda row: row["top1"])
        made.append(tile("Best on the way", percent(best["top1"]), f"at {place(best)}"))
    seconds = max((number_in(row, "seconds") or 0.0 for row in run.rows), default=0.0)
    rates = sorted(rate for row in run.rows if (rate := number_in(row, "images_per_second")))
    speed = f"{rates[len(rates) // 2]:,.0f} {run.samples} per second" if rates else ""
    made.append(tile("Training time", duration(seconds), speed))
    planned, data = (object_in(run.recipe, key) for key in ("model", "data"))
    family = object_in(planned, "generator").get("family") or planned.get("family", NOTHING)
    facts = scores.model if scores and scores.model else ModelFacts(name=str(family))
    sizes = ((facts.parameters, "parameters"), (facts.multiply_adds, f"multiply-adds per {run.samples[:-1]}"))
    details = [f"{short_number(size)} {name}" for size, name in sizes if size is not None]
    if scores and len(scores.views) == 2:
        details.append(f"{scores.views[1]} x {scores.views[0]} views (space, time)")
    made.append(tile("Model", facts.name, " · ".join(details)))
    details = [Path(str(data["root"])).name] if data.get("root") else []
    if scores and scores.classes:
        details.append(f"{len(scores.classes):,} classes" if len(scores.classes) > 1 else "no labels")
    made.append(tile("Data", str(data.get("kind", NOTHING)), " · ".join(details)))
    return made


def _after_a_probe(run: Run) -> list[str]:
    """What a probe did, and what came of fine-tuning, a sentence each."""
    found = run.scores.finetuning if run.scores else None
    if found is None or not found.delivered:
        said = ["The encoder was not trained: heads were fitted to its features."]
        return said if found is None else [*said, found.sentence]
    said = ["Heads were fitted to the encoder's features, and its last layers fine-tuned.", found.sentence]
    if found.held_out_frozen is not None and found.held_out_tuned is not None:
        first, second = percent(found.held_out_frozen), percent(found.held_out_tuned)
        said.append(f"On the held-out images, which chose nothing: {second}, with frozen features {first}.")
    return said


def curves_section(run: Run) -> Html:
    """How loss, accuracy and learning rate went, and where the run was resumed."""
    if object_in(run.recipe, "model").get("family") == "probe":
        return section("Training", *map(quiet, _after_a_probe(run)))
    charts, rows = [], run.rows
    if (number_in(object_in(run.recipe, "model"), "num_classes") or 6) < 6:  # then all are among the first five
        rows = [{key: value for key, value in row.items() if key != "top5"} for row in rows]
    for quantity, title in pictures.QUANTITIES.items():
        if any(number_in(row, quantity) is not None for row in run.rows):
            draw = partial(pictures.draw_curves, rows, [quantity])
            charts.append(chart(draw, f"{title} against epochs"))
    if not charts:
        return section("Training", quiet("There are no curves yet."))
    resumed = ", ".join(f"{int(row['step']):,}" for row in run.of_kind("resume"))
    story = [f"was resumed at step {resumed}"] if resumed else []
    story += [f"finished at {place(row)}" for row in run.of_kind("finish")[-1:]]
    history = quiet(f"The run {' and '.join(story)}.") if story else Html()
    delivered = [quiet(sentence) for sentence in delivery_sentences(run)]
    return section("Training", element("div", *charts, class_="charts"), history, *delivered)


def classes_section(run: Run) -> Html:
    """Recall, precision and F1 of every class, the confusion matrix, and the most frequent mistakes."""
    title, scores = "What it gets right", run.scores
    if scores is None or not scores.labels:
        return section(title, quiet("There is no per-class table yet: the run has no final scores (scores.json)."))
    table = classification.per_class_table(scores.labels, scores.predictions, scores.classes)
    matrix = classification.confusion_matrix(scores.labels, scores.predictions, len(scores.classes))
    mistakes = element("h3", "The most frequent mistakes"), _commonest_mistakes(matrix, scores.classes)
    counts = counts_words(scores)
    shown = [counts, _class_table(table, run.samples), *mistakes]
    if len(table) > SHOWN_CLASSES:
        hardest = sorted((row for row in table if row["count"]), key=lambda row: row["recall"] or 0.0)[:10]
        every = element("details", element("summary", f"All {len(table):,} classes"), _class_table(table, run.samples))
        shown = [counts, element("h3", "The hardest classes"), _class_table(hardest, run.samples), *mistakes, every]
    confusion = (
        chart(partial(pictures.draw_confusion, matrix, scores.classes), "Confusion matrix"),
        quiet("Rows are true classes, columns predictions; the deeper the shade, the larger the share of the row."),
    )
    layout = "wide" if len(table) > SHOWN_CLASSES else "halves"
    return section(title, element("div", element("div", *shown), element("div", *confusion), class_=layout))


def _class_table(table: Sequence[classification.ClassRow], samples: str) -> Html:
    heads = [element("th", "class", scope="col")]
    heads += [element("th", text, scope="col", class_="number") for text in (samples, "recall", "precision", "F1")]
    lines = [
        element(
            "tr",
            element("th", row["name"], scope="row"),
            element("td", f"{row['count']:,}", class_="number"),
            element("td", percent(row["recall"]), _bar(row["recall"]), class_="number", **_range(row)),
            element("td", percent(row["precision"]), class_="number"),
            element("td", percent(row["f1"]), class_="number"),
        )
        for row in table
    ]
    content = element("thead", element("tr", *heads)), element("tbody", *lines)
    return element("div", element("table", *content, class_="classes"), class_="scroll")


def _range(row: classification.ClassRow) -> dict[str, str]:
    """The 95 % interval of a recall, which a pointer on it shows."""
    between = row["recall_interval"]
    return {} if between is None else {"title": f"95 % interval {100 * between[0]:.1f} to {percent(between[1])}"}


def _bar(share: float | None) -> Html:
    filled = element("span", style=f"width:{100 * (share or 0):.1f}%")
    return element("span", filled, class_="bar")


def _commonest_mistakes(matrix: list[list[int]], classes: Sequence[str]) -> Html:
    lines = [
        element("li", f"“{classes[truth]}” predicted as “{classes[guess]}”: {times(count)}")
        for truth, guess, count in classification.commonest_mistakes(matrix, 5)
    ]
    return element("ul", *lines) if lines else quiet("There is not one.")


def mistakes_section(run: Run) -> Html:
    """The held-out images that were misclassified with the highest probability."""
    if run.scores is None or run.scores.mistakes is None:
        return Html()
    if not run.scores.mistakes:
        return section("The worst mistakes", quiet(f"No held-out {run.samples[:-1]} was misclassified."))
    words = f"The held-out {run.samples} that were misclassified with the highest probability, as the model sees them."
    return section("The worst mistakes", quiet(words), cards(run.scores.mistakes, run.pictures))


def explanations_section(run: Run) -> Html:
    """Pictures of why the model decides, and how often they point at the right place."""
    shown = {name: run.picture(name) for name in run.pictures if name.startswith(EXPLANATION)}
    captions: dict[str, Html] = {}
    if run.scores:
        captions |= {one.picture: verdict(one) for one in run.scores.explained_samples}
        if run.scores.explanations:
            captions |= {one.picture: _mosaic_words(one) for one in run.scores.explanations.pictures}
    pieces = []
    if run.scores and run.scores.explanations:
        hits = run.scores.explanations
        found = f" of {hits.asked:,} cases ({interval(hits.quadrant_hits, hits.asked)}; chance is 25{SPACE}%)."
        control = f" With its sign flipped, as a control, it does in {percent(hits.flipped_sign)}."
        pieces += [
            "On mosaics of four objects GradCAT finds the quadrant of the one it is asked for in ",
            element("strong", percent(hits.quadrant_hits)),
            found + control * (hits.flipped_sign is not None),
        ]
        if hits.single_object_hits is not None:
            pieces.append(
                " Where an object is alone on its canvas, GradCAT's largest value is in its quadrant in "
                f"{percent(hits.single_object_hits)}."
            )
    text = element("p", *pieces) if pieces else Html()
    pictured = gallery(shown, captions) if shown else quiet("There are no pictures of explanations in the run folder.")
    return section("Why it decides", text, checks_words(run.path), pictured)


def _mosaic_words(one: Mosaic) -> Html:
    digits = ", ".join(map(str, one.digits))
    found = f"the right quadrant for {one.hits} of {len(one.digits)}"
    return join([element("span", one.sample, class_="sample"), f": the digits {digits}, {found}"])


def pictures_section(run: Run) -> Html:
    """The other pictures of the run folder, by name."""
    shown = pretraining.PICTURES if is_pretraining(run) else generation.PICTURES if is_generation(run) else ()
    others = {
        name: run.picture(name)
        for name in run.pictures
        if not name.startswith((EXPLANATION, MISTAKE)) and name not in shown
    }
    return section("More pictures", gallery(others)) if others else Html()


def plan_section(run: Run) -> Html:
    """Every field of the recipe and of the environment, under the names that the command line uses."""
    plain = {key: value for key, value in run.recipe.items() if not isinstance(value, dict)}
    groups = {"run": plain} | {key: {key: value} for key, value in run.recipe.items() if isinstance(value, dict)}
    groups |= {"environment": {key: value for key, value in run.environment.items() if key != "command"}}
    cards = [
        element("div", element("h3", title), _field_table(flatten(fields)), class_="card")
        for title, fields in groups.items()
        if fields
    ]
    return section("What was run", element("div", *cards, class_="columns"))


def flatten(fields: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested dicts as one level of dotted names, with values as a reader would write them."""
    flat: dict[str, str] = {}
    for key, value in fields.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
            flat[prefix + key] = ", ".join(map(_written, value))
        else:
            flat[prefix + key] = _written(value)
    return flat


def _written(value: object) -> str:
    if isinstance(value, str):
        return value or NOTHING
    if isinstance(value, float):
        return f"{value:.10g}"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _field_table(fields: Mapping[str, str]) -> Html:
    lines = [
        element("tr", element("th", element("code", breakable(name)), scope="row"), element("td", value))
        for name, value in fields.items()
    ]
    return element("table", element("tbody", *lines), class_="fields")


def reproduce_section(run: Run, name: str) -> Html:
    """The commands that repeat the run, continue it, or write its page anew."""
    command = run.environment.get("command")
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    remark = "Every field and version of the run is in the tables above."
    if not isinstance(command, str) or not command:
        command = f"hvit train {shlex.quote(name)} --seed {_written(run.recipe.get('seed', 0))}"
        remark = f"Add the fields of the tables above that you changed from those of the recipe {name}."
    folder = shlex.quote(run.folder)
    steps = [("Run it again from the beginning", command)]
    if not run.of_kind("finish"):
        steps.append(("Continue where it stopped", f"hvit resume {folder}"))
    steps.append(("Write this page anew", f"hvit report {folder}"))
    lines = [join([element("p", text), element("pre", element("code", line))]) for text, line in steps]
    return section("How to reproduce it", *lines, quiet(remark))
