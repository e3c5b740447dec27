"""The model card of a run: what a page on the Hugging Face Hub says of the model, made from the run folder alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hvit.files import JsonObject
from hvit.markup import percent, short_number
from hvit.metrics.classification import per_class_table, wilson_interval
from hvit.models.catalogue import NetworkConfig, name_of
from hvit.models.masked.config import MaskedConfig
from hvit.models.probe import ProbeConfig
from hvit.models.weights.timm import DOWNLOADS, PINNED
from hvit.recipe import Recipe
from hvit.report.checked import HEADS, Checked, checks_of, probability_words, rows_of
from hvit.report.delivery import delivery_sentences
from hvit.report.generation import is_generation
from hvit.report.pieces import object_in
from hvit.report.pretraining import is_pretraining
from hvit.report.reading import Run, Scores
from hvit.report.retraining import retraining_command, without_paths

LIBRARY = "hvit"
_MOST_ROWS = 100
# Data sets that the hub has under a name: the kind of the data -> that name.
_ON_HUB = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
}
_DATA = {
    "digits": "handwritten digits of scikit-learn",
    "moving_digits": "moving digits, drawn from those of scikit-learn",
    "folder": "images of the model's owner",
    "clips": "clips of the model's owner",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "fashion_mnist": "Fashion-MNIST",
}


@dataclass(frozen=True)
class About:
    """What the card of a model says that its run does not know."""

    repository: str
    """owner/name."""
    licence: str | None
    """The licence of the weights, as the hub names it; None: none is stated."""
    architecture: str
    """The catalogue name of the model."""
    has_transformers: bool
    """Whether the folder has files that transformers reads."""


def pipeline_tag(run: Run) -> str | None:
    """The hub's name of what the model is for; None where it has none."""
    if is_generation(run):
        return "unconditional-image-generation"
    if is_pretraining(run):
        return None if run.samples == "clips" else "image-feature-extraction"
    if run.scores is not None and run.scores.label_kind == "regression":
        return None
    return "video-classification" if run.samples == "clips" else "image-classification"


def model_card(run: Run, recipe: Recipe, plan: JsonObject, about: About) -> str:
    """The text of README.md: YAML for the hub, then what a reader should know before using the model."""
    assert run.scores is not None
    sections = (
        _head(run, about),
        _use(run, about),
        _data(run, plan),
        _training(run, recipe, about),
        _scores(run.scores, run),
        _calibration(run.scores, run),
        _explanations(run.scores, checks_of(run.path)),
        _limits(run, about),
    )
    text = "\n\n".join(part for part in sections if part)
    return f"---\n{_metadata(run, recipe, about)}---\n\n{without_paths(text)}\n"


def _metadata(run: Run, recipe: Recipe, about: About) -> str:
    """The YAML in front of the card."""
    from huggingface_hub import EvalResult, ModelCardData

    scores = run.scores
    assert scores is not None
    kind, tag = recipe.data.kind, pipeline_tag(run)
    known = _known_data(recipe)
    results = [
        EvalResult(
            task_type=tag or "other", dataset_type=known or kind, dataset_name=_data_name(recipe),
            dataset_split="test" if scores.evaluated_on == "test" else "validation", metric_type=metric,
            metric_name=name, metric_value=value,
        )
        for metric, name, value in _metrics(scores)
    ]  # fmt: skip
    tags = [LIBRARY, re.split("[_/]", about.architecture.removeprefix("custom "))[0]]
    tags += {"multi": ["multi-label"], "ordinal": ["ordinal"], "regression": ["regression"]}.get(scores.label_kind, [])
    metrics = sorted({metric for metric, _, _ in _metrics(scores)})
    data = ModelCardData(
        license=about.licence, library_name=LIBRARY, pipeline_tag=tag, datasets=[known] if known else None,
        base_model=_base_model(recipe), tags=tags, metrics=metrics, model_name=about.repository.split("/")[1],
        eval_results=results or None,
    )  # fmt: skip
    return f"{data.to_yaml(line_break=chr(10))}\n"


def _metrics(scores: Scores) -> list[tuple[str, str, float]]:
    """The hub's name, a reader's name and the value of every score."""
    named = (
        ("accuracy", "top-1 accuracy", scores.top1),
        ("accuracy", "balanced accuracy", scores.balanced_accuracy),
        ("mean_average_precision", "mean average precision", scores.mean_average_precision),
        ("f1", "F1, micro", scores.f1_micro),
        ("f1", "F1, macro", scores.f1_macro),
        ("mae", "mean absolute error", scores.mae),
        ("r2", "explained variance (R²)", scores.r2),
        ("explained_variance", "explained variance of masked patches", scores.explained_variance),
        ("frechet_distance", scores.measure or "Fréchet distance", scores.distance),
    )
    return [(metric, name, round(value, 6)) for metric, name, value in named if value is not None]


def _known_data(recipe: Recipe) -> str | None:
    """The hub's name of the data, where it is known for certain."""
    table = str(getattr(recipe.data, "table", None) or "")
    if table.startswith("hf:"):
        return table.removeprefix("hf:").split(":")[0]
    return _ON_HUB.get(recipe.data.kind) if not table else None


def _data_name(recipe: Recipe) -> str:
    return _known_data(recipe) or _DATA.get(recipe.data.kind, recipe.data.kind)


def _base_model(recipe: Recipe) -> str | None:
    """The hub's name of the weights that the run started from, where they are of the hub."""
    weights = recipe.weights or ""
    if weights.startswith("hf:"):
        return weights.removeprefix("hf:").split("@")[0]
    if weights != "timm":
        return None
    model = recipe.model.encoder if isinstance(recipe.model, ProbeConfig | MaskedConfig) else recipe.model
    published = DOWNLOADS.get(name_of(cast(NetworkConfig, model)))
    return f"timm/{published}" if published else None


def _head(run: Run, about: About) -> str:
    scores = run.scores
    assert scores is not None
    parts = [f"# {about.repository.split('/')[1]}"]
    what = {"multi": "several classes an image", "regression": "numbers", "ordinal": "ordered classes"}
    if is_generation(run):
        sentence = "generates images"
    elif is_pretraining(run):
        sentence = f"is a masked autoencoder: its encoder gives features of {run.samples}"
    elif scores.label_kind in what:
        sentence = f"predicts {what[scores.label_kind]}"
    else:
        sentence = f"says which of {len(scores.classes):,} classes an image shows".replace(
            "an image", "a clip" if run.samples == "clips" else "an image"
        )
    facts = scores.model
    size = f" ({short_number(facts.parameters)} parameters)" if facts and facts.parameters else ""
    parts.append(
        f"A `{about.architecture}`{size} that {sentence}. Trained with hvit; this card was written from the run."
    )
    if about.licence is None:
        parts.append("**No licence is stated**: ask the owner before you use the weights.")
    return "\n\n".join(parts)


def _use(run: Run, about: About) -> str:
    name = about.repository
    if is_generation(run):
        lines = ["import hvit", "", f'generator = hvit.from_pretrained("{name}")']
        return _code(lines, f"hvit generate hf:{name}")
    lines = ["import hvit", "", f'model = hvit.from_pretrained("{name}")']
    lines[:0] = ["from PIL import Image", ""] if run.samples == "images" and not is_pretraining(run) else []
    if is_pretraining(run):
        lines += ["feature_maps = model.encoder.levels(images)  # images: normalised as model.preprocess says"]
        shell = f"hvit embed hf:{name} IMAGES --out features.npy"
    elif run.samples == "clips":
        lines += ["logits = model(clips)  # (batch, channels, frames, height, width), as model.preprocess says"]
        shell = f"hvit predict hf:{name} CLIPS"
    else:
        answers = {
            "multi": "probabilities = model(images).sigmoid()[0]",
            "regression": "numbers = model(images)[0] * Tensor(model.labels.std) + Tensor(model.labels.mean)",
        }
        usual = "probabilities = (model(images) / model.temperature).softmax(1)[0]"
        lines += [
            'images = model.preprocess.tensor(Image.open("photo.jpg"))[None]',
            answers.get(run.scores.label_kind if run.scores else "", usual),
        ]
        if lines[-1] == usual:
            lines.append("print(model.classes[probabilities.argmax()])")
        lines[1:1] = ["from torch import Tensor"] * (lines[-1].startswith("numbers"))
        shell = f"hvit predict hf:{name} photo.jpg\nhvit explain hf:{name} photo.jpg"
    used = _code(lines, shell)
    if about.has_transformers:
        kind = "AutoModelForPreTraining" if is_pretraining(run) else "AutoModelForImageClassification"
        used += f'\n\nWith transformers, too: `transformers.{kind}.from_pretrained("{name}")`.'
    return used


def _code(lines: Sequence[str], shell: str) -> str:
    text = "\n".join(lines)
    return f"## Use\n\n```python\n{text}\n```\n\n```sh\n{shell}\n```"


def _data(run: Run, plan: JsonObject) -> str:
    scores = run.scores
    assert scores is not None
    line = object_in(plan, "plan").get("data")
    parts = ["## Data", f"{line}." if isinstance(line, str) else ""]
    counts, held = scores.training_counts, _held_out_counts(scores)
    if scores.label_kind == "regression" and scores.classes:
        parts.append(f"Numbers: {', '.join(map(_cell, scores.classes))}.")
    elif len(counts) == len(scores.classes) > 1:
        rows = [
            (name, f"{count:,}", held.get(index, ""))
            for index, (name, count) in enumerate(zip(scores.classes, counts, strict=True))
        ]
        parts.append(_table(("class", f"{run.samples} to train on", scores.evaluated_on), rows))
    elif 1 < len(scores.classes) <= _MOST_ROWS:
        parts.append(f"Classes: {', '.join(map(_cell, scores.classes))}.")
    return "\n\n".join(part for part in parts if part)


def _held_out_counts(scores: Scores) -> dict[int, str]:
    counts: dict[int, int] = {}
    for label in scores.labels:
        counts[label] = counts.get(label, 0) + 1
    return {index: f"{count:,}" for index, count in counts.items()}


def _training(run: Run, recipe: Recipe, about: About) -> str:
    parts = ["## Training", f"Recipe `{recipe.name}`: {recipe.summary}."]
    if recipe.weights:
        start = {"teacher": "the network of hvit's extra `teacher`", "timm": "published weights, as timm has them"}
        base = _base_model(recipe)
        where = f"`{base}`" if base else start.get(recipe.weights, "a weights file of the owner")
        revision = PINNED[base.split("/")[1]].revision if base and base.split("/")[1] in PINNED else None
        parts.append(
            f"It started from {where}{f' at {revision}' if revision else ''}, whose licence applies to what is made of "
            f"it."
        )
    parts.append("To train it again:")
    parts.append(f"```sh\n{retraining_command(recipe)}\n```")
    parts.append("`recipe.json` has every field.")
    versions = [f"{name} {run.environment[name]}" for name in ("hvit", "torch", "timm") if run.environment.get(name)]
    if versions:
        parts.append(f"Versions: {', '.join(map(str, versions))}.")
    return "\n\n".join([*parts, *delivery_sentences(run)])


def _scores(scores: Scores, run: Run) -> str:
    count = scores.count
    rows: list[tuple[str, ...]] = []
    for name, share in (
        ("top-1 accuracy", scores.top1),
        ("top-5 accuracy", scores.top5 if len(scores.classes) > 5 else None),
    ):
        if share is not None:
            low, high = wilson_interval(round(share * count), count)
            rows.append((name, percent(share), f"{percent(low)} to {percent(high)}"))
    known = {name for name, _, _ in rows}
    rows += [(name, f"{value:.4g}", "") for _, name, value in _metrics(scores) if name not in known]
    parts = [
        "## Scores",
        f"On {count:,} {scores.evaluated_on} {run.samples}:",
        _table(("score", "value", "95 % interval"), rows),
    ]
    if scores.labels and len(scores.classes) > 1 and scores.label_kind in ("single", "ordinal"):
        table = per_class_table(scores.labels, scores.predictions, scores.classes)
        heads = ("class", scores.evaluated_on, "recall", "95 % interval", "precision")
        cells = [
            (one["name"], f"{one['count']:,}", percent(one["recall"]), _between(one["recall_interval"]),
             percent(one["precision"]))
            for one in table
        ]  # fmt: skip
        parts.append(_table(heads, cells))
    if scores.per_output:
        heads = ("number", "mean absolute error", "R²")
        parts.append(_table(heads, [(one.name, f"{one.mae:.4g}", f"{one.r2:.4g}") for one in scores.per_output]))
    if scores.per_class:
        heads = ("class", run.samples, "threshold", "average precision", "F1")
        cells = [
            (one.name, f"{one.count:,}", f"{one.threshold:.2f}", percent(one.average_precision), percent(one.f1))
            for one in scores.per_class
        ]
        parts.append(_table(heads, cells))
    return "\n\n".join(parts)


def _between(interval: Sequence[float] | None) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}" if interval else ""


def _calibration(scores: Scores, run: Run) -> str:
    found = scores.calibration
    if found is None:
        return ""
    same = "the same ones, so that it is a little too good"
    on = "test images that chose nothing" if found.measured_on == "test" else same
    parts = [
        "## Calibration",
        f"Logits are divided by the temperature {found.temperature:.3g}, which was fitted to {found.fitted_on:,} "
        f"held-out {run.samples}. The expected calibration error is {percent(found.error_after)}, and "
        f"{percent(found.error_before)} without it; it was measured on {on}.",
    ]
    if found.unsure is not None and found.unsure.coverage:
        parts.append(
            f"Below a probability of {percent(found.unsure.below)} `hvit predict` says unsure: it answers "
            f"{percent(found.unsure.measured_coverage)} of the {run.samples}, and "
            f"{percent(found.unsure.measured_error)} of these answers are wrong."
        )
    return "\n\n".join(parts)


def _explanations(scores: Scores, checks: Sequence[Checked]) -> str:
    parts = []
    if (found := scores.explanations) is not None:
        flipped = "" if found.flipped_sign is None else f" (with the sign flipped {percent(found.flipped_sign)})"
        parts.append(
            f"On mosaics of four digits, the explanation of a digit's class began with its quadrant in "
            f"{percent(found.quadrant_hits)} of {found.asked:,} cases{flipped}; chance is 25 %."
        )
    for check in checks:
        parts += [f"{_cell(check.verdict)}.", _table(HEADS, rows_of(check)), probability_words(check)]
    return "\n\n".join(["## Explanation check", *parts]) if parts else ""


def _limits(run: Run, about: About) -> str:
    scores = run.scores
    assert scores is not None
    lines = []
    if not is_generation(run):
        lines.append(
            f"Scores hold for {run.samples} like those above; other cameras, places or people were not measured."
        )
    if scores.label_kind in ("single", "ordinal") and len(scores.classes) > 1:
        lines.append("Whatever is shown to it, it answers with one of its classes.")
    counts = scores.training_counts
    if counts and min(counts) < 20:
        rare = [scores.classes[index] for index, count in enumerate(counts) if count < 20][:8]
        lines.append(f"Classes with fewer than 20 {run.samples} to train on: {', '.join(map(_cell, rare))}.")
    if scores.evaluated_on != "test" and scores.delivered is not None and scores.delivered.keep == "best":
        lines.append(f"The {run.samples} that chose the weights are those of the scores.")
    if scores.warning:
        lines.append(scores.warning)
    if scores.memorisation is not None:
        lines.append(
            f"Generated images are {scores.memorisation.ratio:.2f} times as far from the nearest training image as "
            f"held-out ones."
        )
    if scores.calibration is not None:
        lines.append(
            "The features of training images, by which the run itself knows unusual images, are not published."
        )
    lines.append("It was not examined for bias against groups of people, nor for use where errors do harm.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _cell(text: str) -> str:
    """Text in a table or a sentence of Markdown, in one line and without marks."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows[:_MOST_ROWS]]
    more = f"\n\n{len(rows) - _MOST_ROWS:,} more are in the run." if len(rows) > _MOST_ROWS else ""
    return "\n".join(lines) + more
