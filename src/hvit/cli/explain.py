"""The verb that explains predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from hvit.cli.arguments import check_at_least_one, check_paths, parse
from hvit.cli.check import check, refuse_others, with_gradient
from hvit.cli.inference import prepared
from hvit.cli.printing import (
    Refusals,
    notes,
    print_explanation,
    print_json_lines,
    say,
    wait_for,
    waited,
)
from hvit.errors import UserError
from hvit.runtime.answers import answer_words

if TYPE_CHECKING:
    from hvit.explain.methods.baseline_images import Baseline
    from hvit.explain.tree import Absent
    from hvit.verbs.classifier import Classifier

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class ExplainArguments:
    """Explains predictions: draws what each block of an image adds to a class, and activation maps."""

    weights: tyro.conf.Positional[Path]
    """A run folder, a weights file in any known format, or hf:owner/name."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Images or clips, or folders of them."""
    classes: tuple[str, ...] = ()
    """Classes to explain, four at most: by name, or '#8' for class number 8 (plain 8 too, unless class names are
    numbers); default: the most probable."""
    top_k: int | None = None
    """Number of most probable classes to explain, four at most; default: three."""
    methods: tuple[Literal["block_shapley", "gradcat", "cam", "gradcam", "gradcam++", "rollout"], ...] = ()
    """Methods of explanation. block_shapley: what each block adds, measured by removing blocks; gradcat: the tree of
    blocks by gradients; cam: the class activation map; gradcam, gradcam++ and rollout are for comparison; default:
    block_shapley, gradcat and cam, or what the model supports."""
    budget: float | None = None
    """Forward passes that block_shapley may cost for an image; default: 45, more for a small model."""
    depth: int | None = None
    """How often block_shapley divides the image, 1 for quadrants; each further division needs a larger --budget;
    default: 2, sixteenths."""
    baseline: Literal["mean", "blur", "zeros", "dataset"] = "mean"
    """What block_shapley puts in the place of removed blocks. mean: the image's mean colour; blur: the blurred image;
    zeros: the colour that preprocessing makes zero; dataset: the mean of the run's training images."""
    absent: Literal["exchanged", "removed"] | None = None
    """What block_shapley does with absent blocks. exchanged: the baseline takes their place; removed: a Hiera does not
    compute them, as in masked pretraining; default: removed if the run began with masked pretraining and the model can,
    else exchanged."""
    level: int | None = None
    """Hierarchy level that gradcat starts from, 0 for the finest; default: the last, with --gradient libra the second
    to last."""
    gradient: Literal["usual", "libra"] = "usual"
    """Gradients that gradcat takes. usual: as in its paper; libra: those of LibraGrad's backward rule, which add up to
    the logit at every level."""
    beam: int = 1
    """Number of paths through every tree in the JSON, best first."""
    out: Path = Path("explanations")
    """Folder for the pictures."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    fast: bool = False
    """Prepare the model for this machine first, to predict the classes; gradients come from the model itself."""
    json: bool = False
    """Print a JSON object for each image, with every node of the trees; with --check, for each method."""
    check: int | None = None
    """Number of images on which to measure whether the explanations can be trusted, instead of drawing them, ten or
    more; of --methods, default: block_shapley. The report of a run then shows it."""
    places: Path | None = None
    """Where the objects are, for --check: a folder of masks with the names of the images, or a table of boxes (CSV with
    the columns file, left, top, right, bottom)."""


def explain(rest: list[str]) -> None:
    """draws explanations: block Shapley, GradCAT, class activation maps, rollout"""
    arguments = parse(ExplainArguments, "hvit explain", rest)
    others = {
        "--classes": bool(arguments.classes),
        "--top-k": arguments.top_k is not None,
        "--level": arguments.level is not None,
        "--depth": arguments.depth is not None,
        "--beam": arguments.beam > 1,
        "--out": arguments.out != Path("explanations"),
    }
    refuse_others(arguments.check is not None, arguments.places is not None, others)
    if arguments.top_k is not None and arguments.classes:
        raise UserError("give --classes or --top-k, not both")
    top_k = 3 if arguments.top_k is None else arguments.top_k
    check_at_least_one(top_k=top_k, beam=arguments.beam)
    if max(top_k, len(arguments.classes)) > 4:
        raise UserError("a picture shows four classes at most; choose fewer with --classes or --top-k")
    from hvit.verbs.classifier import open_classifier
    from hvit.verbs.explain import PAGE, explain
    from hvit.verbs.run_baseline import training_mean, usual_absent

    check_paths(arguments.images)
    wait_for(f"hvit explain: opening {arguments.weights}")
    classifier = open_classifier(arguments.weights, arguments.device)
    classes = [classifier.class_index(name) for name in arguments.classes] or None
    if arguments.fast:
        classifier = prepared(classifier, 1)
    baseline = arguments.baseline
    if baseline == "dataset":
        baseline = training_mean(arguments.weights, classifier)
    absent = arguments.absent or usual_absent(arguments.weights, classifier)
    if arguments.check is not None:
        _check_gradient(arguments, arguments.methods)
        check(
            arguments.weights, classifier, arguments.images, arguments.check, arguments.methods, arguments.places,
            arguments.json, baseline, arguments.budget, absent, arguments.gradient,
        )  # fmt: skip
        return
    refused = Refusals()
    if classifier.preprocess.takes_clips:
        _explain_clips(classifier, arguments, classes, top_k, refused, baseline, absent)
        return
    allowed = classifier.methods
    for method in arguments.methods:
        if method not in allowed:
            raise UserError(f"this model cannot be explained by {method}; choose from {', '.join(allowed)}")
    methods = (
        arguments.methods or tuple(one for one in ("block_shapley", "gradcat", "cam") if one in allowed) or allowed
    )
    _check_gradient(arguments, methods)
    if "gradcat" not in methods and arguments.level is not None:
        raise UserError("--level is for gradcat only: omit it, or add gradcat to --methods")
    if not {"block_shapley", "gradcat"} & set(methods) and arguments.beam > 1:
        raise UserError("--beam is for trees of blocks only: omit it, or add block_shapley or gradcat to --methods")
    for option, value in (("--budget", arguments.budget), ("--depth", arguments.depth), ("--absent", arguments.absent)):
        if "block_shapley" not in methods and value is not None:
            raise UserError(f"{option} is for block_shapley only: omit it, or add block_shapley to --methods")
    from hvit.data.open import list_images
    from hvit.progress import FilesDone

    files = list_images(arguments.images)
    methods = with_gradient(methods, arguments.gradient)
    waited()
    with FilesDone(len(files), notes) as done:
        answers = explain(
            classifier, files, classes, top_k, methods, arguments.out, done.refusing(refused),
            arguments.level, arguments.beam, arguments.budget, baseline, absent, done.spend, arguments.depth,
        )  # fmt: skip
        for answer in done.over(answers):
            print_explanation(answer, arguments.json)
    if not arguments.json and done.done > refused.count:
        say(f"The page: {arguments.out / PAGE}")
    refused.end()


def _check_gradient(arguments: ExplainArguments, methods: Sequence[str]) -> None:
    """Refuses (UserError) --gradient where gradcat is not asked for."""
    if arguments.gradient != "usual" and "gradcat" not in methods:
        raise UserError("--gradient is for gradcat only: omit it, or add gradcat to --methods")


def _explain_clips(
    classifier: Classifier,
    arguments: ExplainArguments,
    classes: list[int] | None,
    top_k: int,
    refused: Refusals,
    baseline: Baseline,
    absent: Absent,
) -> None:
    """Explains clips by block Shapley and by class activation maps over time."""
    numbers = arguments.level is not None or arguments.depth is not None or arguments.beam > 1
    if set(arguments.methods) - {"block_shapley", "cam"} or numbers or arguments.gradient != "usual":
        raise UserError(
            "clips are explained by block_shapley and cam only: omit --level, --gradient, --depth, --beam and other "
            "--methods"
        )
    from hvit.data.clips.lists import list_clips
    from hvit.verbs.explain import explain_clips

    files = list_clips(arguments.images)
    for answer in explain_clips(
        classifier, files, classes, top_k, arguments.out, refused,
        arguments.methods or tuple(one for one in ("block_shapley", "cam") if one in classifier.methods),
        arguments.budget, baseline, absent,
    ):  # fmt: skip
        if arguments.json:
            print_json_lines([answer])
            continue
        say(f"{answer['file']}: {answer_words(answer)}")
        for picture in answer["pictures"]:
            say(f"  {picture}")
    refused.end()
