"""The verbs that evaluate a model and predict with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from hvit.cli.arguments import check_at_least_one, check_paths, parse
from hvit.cli.printing import (
    Refusals,
    interval_words,
    percent,
    print_confusions,
    print_json_lines,
    print_label_table,
    print_plan,
    print_scores,
    print_table,
    samples_of,
    say,
    wait_for,
)
from hvit.data.images.tiles import check_tiles
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.runtime import command
from hvit.runtime.answers import answer_line
from hvit.runtime.open import is_exported

if TYPE_CHECKING:
    from hvit.verbs.classifier import Classifier

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class EvaluateArguments:
    """Evaluates a run or weights on held-out data: a classifier's predictions, an encoder's features, or the images of
    a generator."""

    target: tyro.conf.Positional[Path]
    """A run folder, a weights file in any known format, or hf:owner/name."""
    data: Literal["digits", "cifar10", "cifar100", "fashion_mnist", "folder", "clips", "moving_digits"] | None = None
    """Data set to evaluate on; default: the data of the run."""
    root: str | None = None
    """Folder of the data. Without --data: the run's data in another place, or for a weights file a folder of images."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    fast: bool = False
    """Prepare the model for this machine first: takes up to a minute, and pays off from some hundred images on."""
    json: bool = False
    """Print JSON instead of tables."""
    auroc: bool = False
    """Also print the area under the ROC curve and the average precision of every class, against all others."""


def evaluate(rest: list[str]) -> None:
    """evaluates a run or weights on held-out data"""
    arguments = parse(EvaluateArguments, "hvit evaluate", rest)
    from hvit.metrics.classification import per_class_table
    from hvit.verbs import evaluate

    wait_for(f"hvit evaluate: evaluating {arguments.target}")
    scores = evaluate.evaluate(
        arguments.target, arguments.data, arguments.root, arguments.device, print_plan, arguments.fast, arguments.auroc
    )
    if "labels" not in scores:
        print_json_lines([scores]) if arguments.json else print_scores(scores)
        if not arguments.json and "label_kind" in scores:
            print_label_table(scores, arguments.auroc)
        return
    rows = per_class_table(scores["labels"], scores["predictions"], scores["classes"])
    for row, more in zip(rows, scores.pop("ranking", []), strict=False):
        row |= more
    if arguments.json:
        print_json_lines([scores | {"per_class": rows}])
        return
    print_scores(scores)
    table, ranked = [], ("auroc", "average_precision") * arguments.auroc
    for row in rows:
        shares = (percent(row[key]) for key in ("precision", "f1", *ranked))
        mistakes = round(row["count"] * (1 - (row["recall"] or 0.0)))
        recall = f"{percent(row['recall'])}{interval_words(row['recall_interval'])}"
        table.append((row["name"], str(row["count"]), str(mistakes), recall, *shares))
    heads = ["class", samples_of(scores), "mistakes", "recall", "precision", "F1"]
    print_table(heads + ["AUROC", "AP"] * arguments.auroc, table)
    print_confusions(scores["confusion"], scores["classes"])


@dataclass(frozen=True)
class PredictArguments:
    """Predicts the most probable classes of images, or of clips if the model takes clips."""

    weights: tyro.conf.Positional[Path]
    """A run folder, a weights file in any known format, or hf:owner/name; also an exported model (.onnx, or .xml of
    OpenVINO)."""
    files: tyro.conf.Positional[tuple[Path, ...]]
    """Images or clips, or folders of them."""
    top_k: int = 5
    """Number of classes per image or clip."""
    batch_size: int = 16
    """Number of images in a batch."""
    views: int = 5
    """Number of temporal views of a clip, whose probabilities are averaged; --json has each of them."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    fast: bool = False
    """Prepare the model for this machine first: takes up to a minute, and pays off from some hundred images on."""
    json: bool = False
    """Print a JSON object for each image or clip."""
    csv: Path | None = None
    """CSV file to write, with a row for each image or clip."""
    parquet: Path | None = None
    """Folder of Parquet files to write instead, for any number of images: a call that was stopped goes on, and torchrun
    shares the work out; FILES may then be tables of paths (Parquet, CSV, JSON lines), too."""
    tiles: int | None = None
    """Side in pixels of tiles that images are cut into; their answers are averaged; default: the image as a whole."""
    overlap: int = 0
    """Pixels that neighbouring tiles share."""


def predict(rest: list[str]) -> None:
    """predicts the most probable classes of images and clips"""
    arguments = parse(PredictArguments, "hvit predict", rest)
    check_at_least_one(top_k=arguments.top_k, batch_size=arguments.batch_size, views=arguments.views)
    if arguments.tiles is None and arguments.overlap:
        raise UserError("--overlap is of tiles: give --tiles SIZE, too")
    if arguments.tiles is not None:
        check_tiles(arguments.tiles, arguments.overlap)
    check_paths(arguments.files, remote=arguments.parquet is not None)
    if is_exported(arguments.weights):
        command.refuse_options(["--fast"] * arguments.fast + ["--parquet"] * (arguments.parquet is not None))
        how = command.How(
            arguments.top_k, arguments.batch_size, arguments.json, arguments.csv, arguments.tiles, arguments.overlap,
            arguments.views,
        )  # fmt: skip
        command.run(arguments.weights, arguments.files, how)
        return
    if arguments.parquet is not None:
        _predict_to_folder(arguments, arguments.parquet)
        return
    from hvit.runtime.predictions_csv import written
    from hvit.verbs import folds, predict
    from hvit.verbs.classifier import open_classifier, open_ensemble

    wait_for(f"hvit predict: opening {arguments.weights}")
    if folds.is_cross_validation(arguments.weights):
        if arguments.fast:
            raise UserError("--fast prepares one model, and this is an ensemble of all folds; omit it, or name a fold")
        classifier = open_ensemble(folds.members_of(arguments.weights), arguments.device)
    else:
        classifier = open_classifier(arguments.weights, arguments.device)
    if arguments.fast:
        classifier = prepared(classifier, 1 if classifier.preprocess.takes_clips else arguments.batch_size)
    refused = Refusals()
    if classifier.preprocess.takes_clips:
        from hvit.data.clips.lists import list_clips
        from hvit.verbs.predict import predict_clips

        if arguments.tiles is not None:
            raise UserError("--tiles is for images, and this model takes clips: omit it")
        clips = list_clips(arguments.files)
        answers = predict_clips(classifier, clips, arguments.top_k, arguments.views, refused)
    else:
        from hvit.data.open import list_images

        files = list_images(arguments.files)
        if arguments.tiles is None:
            answers = predict.predict(classifier, files, arguments.top_k, arguments.batch_size, refused)
        else:
            from hvit.verbs.tiles import predict_tiles

            answers = predict_tiles(
                classifier, files, arguments.top_k, arguments.batch_size, refused, arguments.tiles, arguments.overlap
            )
    if arguments.csv is not None:
        answers = written(answers, arguments.csv)
    for answer in answers:
        if arguments.json:
            print_json_lines([answer])
            continue
        say(f"{answer_line(answer)}{_unlike(answer)}")
    refused.end()


def _predict_to_folder(arguments: PredictArguments, out: Path) -> None:
    given = {"--fast": arguments.fast, "--csv": arguments.csv, "--tiles": arguments.tiles}
    if wrong := next((option for option, value in given.items() if value), None):
        raise UserError(f"{wrong} and --parquet are two ways to predict: give only one")
    from hvit.cli.batch import answer_all
    from hvit.verbs.batch import device_of_process
    from hvit.verbs.predictor import Predictor

    wait_for(f"hvit predict: opening {arguments.weights}")
    predictor = Predictor(arguments.weights, top_k=arguments.top_k, device=device_of_process(arguments.device))
    answer_all(predictor, arguments.files, out, arguments.batch_size, arguments.json)


def _unlike(answer: JsonObject) -> str:
    """The end of a line on an image that is unlike the training images."""
    from hvit.metrics.outliers import FAR

    share = answer.get("outlier")
    if share is None or share < FAR:
        return ""
    return f"  (unlike the training images: farther from them than {percent(share)} of the held-out ones)"


def prepared(classifier: Classifier, batch_size: int) -> Classifier:
    """The classifier prepared for inference; says on stderr what was chosen."""
    from hvit.verbs import classifier as classifiers

    wait_for("preparing the model for this machine")
    classifier, choice = classifiers.made_fast(classifier, batch_size)
    print_plan({"fast": choice})
    return classifier
