"""The verb that explains predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from hvit.cli.arguments import check_at_least_one, check_paths, parse
from hvit.cli.check import check, refuse_others
from hvit.cli.inference import prepared
from hvit.cli.printing import (
    Refusals,
    notes,
    percent,
    print_explanation,
    print_json_lines,
    say,
    wait_for,
    waited,
)
from hvit.errors import UserError

if TYPE_CHECKING:
    from hvit.verbs.classifier import Classifier

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class ExplainArguments:
    """Explains predictions: draws the path through the tree of blocks (GradCAT) and activation maps."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file in any known format."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Images or clips, or folders of them."""
    classes: tuple[str, ...] = ()
    """Classes to explain, four at most: by name, or '#8' for class number 8 (plain 8 too, unless class names are
    numbers); default: the most probable."""
    top_k: int | None = None
    """Number of most probable classes to explain, four at most; default: three."""
    methods: tuple[Literal["gradcat", "cam", "gradcam", "gradcam++", "rollout"], ...] = ()
    """Methods of explanation. gradcat: the path through the tree of blocks; cam: the class activation map; gradcam,
    gradcam++ and rollout are for comparison; default: gradcat and cam, or what the model supports."""
    level: int | None = None
    """Hierarchy level that gradcat starts from, 0 for the finest; default: the last."""
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
    more; of --methods, default: block_shapley."""
    places: Path | None = None
    """Where the objects are, for --check: a folder of masks with the names of the images, or a table of boxes (CSV with
    the columns file, left, top, right, bottom)."""


def explain(rest: list[str]) -> None:
    """draws explanations: GradCAT, class activation maps, rollout"""
    arguments = parse(ExplainArguments, "hvit explain", rest)
    others = {
        "--classes": bool(arguments.classes),
        "--top-k": arguments.top_k is not None,
        "--level": arguments.level is not None,
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

    check_paths(arguments.images)
    wait_for(f"hvit explain: opening {arguments.weights}")
    classifier = open_classifier(arguments.weights, arguments.device)
    classes = [classifier.class_index(name) for name in arguments.classes] or None
    if arguments.fast:
        classifier = prepared(classifier, 1)
    if arguments.check is not None:
        check(classifier, arguments.images, arguments.check, arguments.methods, arguments.places, arguments.json)
        return
    refused = Refusals()
    if classifier.preprocess.takes_clips:
        _explain_clips(classifier, arguments, classes, top_k, refused)
        return
    allowed = classifier.methods
    for method in arguments.methods:
        if method not in allowed:
            raise UserError(f"this model cannot be explained by {method}; choose from {', '.join(allowed)}")
    methods = arguments.methods or tuple(one for one in ("gradcat", "cam") if one in allowed) or allowed
    if "gradcat" not in methods and (arguments.level is not None or arguments.beam > 1):
        raise UserError("--level and --beam are for gradcat only: omit them, or add gradcat to --methods")
    from hvit.data.open import list_images
    from hvit.progress import FilesDone

    files = list_images(arguments.images)
    waited()
    with FilesDone(len(files), notes) as done:
        answers = explain(
            classifier, files, classes, top_k, methods, arguments.out, done.refusing(refused),
            arguments.level, arguments.beam,
        )  # fmt: skip
        for answer in done.over(answers):
            print_explanation(answer, arguments.json)
    if not arguments.json and done.done > refused.count:
        say(f"The page: {arguments.out / PAGE}")
    refused.end()


def _explain_clips(
    classifier: Classifier, arguments: ExplainArguments, classes: list[int] | None, top_k: int, refused: Refusals
) -> None:
    """Explains clips by class activation maps over time, the only method for them."""
    if set(arguments.methods) - {"cam"} or arguments.level is not None or arguments.beam > 1:
        raise UserError("clips are explained by cam only: omit --level, --beam and other --methods")
    from hvit.verbs.classifier import list_clips
    from hvit.verbs.explain import explain_clips

    files = list_clips(arguments.images)
    for answer in explain_clips(classifier, files, classes, top_k, arguments.out, refused):
        if arguments.json:
            print_json_lines([answer])
            continue
        ranked = "  ".join(f"{one['class']} {percent(one['probability'])}" for one in answer["classes"])
        say(f"{answer['file']}: {ranked}")
        for picture in answer["pictures"]:
            say(f"  {picture}")
    refused.end()
