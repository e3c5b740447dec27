"""The verbs on features of images: embed computes them, neighbours looks into them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hvit.cli.arguments import check_at_least_one, check_paths, parse
from hvit.cli.printing import Refusals, notes, percent, print_json_lines, print_plan, print_table, say, wait_for, waited
from hvit.errors import UserError
from hvit.files import JsonObject

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class EmbedArguments:
    """Writes the features of images, with file names and content hashes, to a Parquet or an .npy file."""

    weights: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")]
    """A run folder (also of masked pretraining), a weights file in any known format, timm/NAME for the published
    weights of a model of timm, teacher (extra `teacher`), or auto for the best that this machine has."""
    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Images, or folders of them; default: all images of the run's data."""
    out: Path | None = None
    """File to write: .parquet (extra `parquet`), or .npy with a .csv and a .json file; default: embeddings.npy, without
    PATHS in the run folder."""
    parquet: Path | None = None
    """Folder of Parquet files to write instead, for any number of images: a call that was stopped goes on, and torchrun
    shares the work out; PATHS may then be tables of paths (Parquet, CSV, JSON lines), too."""
    level: int | None = None
    """Hierarchy level whose feature map is averaged, 0 for the finest; default: the features that the head takes."""
    root: str | None = None
    """Folder of the run's data, if it has moved."""
    batch_size: int = 16
    """Number of images in a batch."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    json: bool = False
    """Print a JSON object about the file."""


def embed(rest: list[str]) -> None:
    """writes features of images, with names and content hashes"""
    arguments = parse(EmbedArguments, "hvit embed", rest)
    check_at_least_one(batch_size=arguments.batch_size)
    if arguments.root is not None and arguments.paths:
        raise UserError("--root is for the data of a run: omit it, or the paths")
    if arguments.parquet is not None:
        _embed_to_folder(arguments, arguments.parquet)
        return
    from hvit.data.feature_table import check_name
    from hvit.progress import FilesDone
    from hvit.run_names import EMBEDDINGS
    from hvit.verbs.embed import FileImages, open_embedder, run_images
    from hvit.verbs.embed import embed as write

    run = Path(arguments.weights)
    out = arguments.out or (Path(EMBEDDINGS) if arguments.paths else run / EMBEDDINGS)
    check_name(out)
    if arguments.paths:
        check_paths(arguments.paths)
    wait_for(f"hvit embed: opening {arguments.weights}")
    embedder = open_embedder(arguments.weights, arguments.device, arguments.level)
    if arguments.paths:
        images = FileImages(arguments.paths)
    else:
        images = run_images(run, arguments.root)
    refused = Refusals()
    waited()
    with FilesDone(len(images), notes, ("computing features", "done", "images")) as view:
        count = write(embedder, images, out, arguments.batch_size, refused, view.step)
    if arguments.json:
        print_json_lines([{"file": str(out), "images": count, **embedder.facts}])
    else:
        what = "what the head takes" if arguments.level is None else f"level {arguments.level}"
        say(f"Features of {count:,} images ({embedder.facts['model']}, {what}): {out}")
    refused.end()


def _embed_to_folder(arguments: EmbedArguments, out: Path) -> None:
    if arguments.out is not None:
        raise UserError("--out is one file, and --parquet a folder of files: give only one")
    if not arguments.paths:
        raise UserError("--parquet needs images, folders of them or tables of paths after the weights")
    from hvit.cli.batch import answer_all
    from hvit.verbs.batch import device_of_process
    from hvit.verbs.predictor import Predictor

    check_paths(arguments.paths, remote=True)
    wait_for(f"hvit embed: opening {arguments.weights}")
    device = device_of_process(arguments.device)
    predictor = Predictor(arguments.weights, "features", level=arguments.level, device=device)
    answer_all(predictor, arguments.paths, out, arguments.batch_size, arguments.json)


@dataclass(frozen=True)
class NeighboursArguments:
    """Finds the nearest images in a table of features; without images, copies and labels that are probably wrong."""

    features: tyro.conf.Positional[Path]
    """A file that `hvit embed` has written, or a run folder; of a cross-validation only labels are looked at."""
    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Images, or folders of them, or one other file of features; default: look for copies and for wrong labels in the
    table itself; of a run folder the report then shows what was found."""
    num: int = 5
    """Number of neighbours of each image."""
    distance: float = 0.02
    """Distance (1 - cosine) up to which the features of two images count as copies; pictures are compared, too."""
    most: int = 20
    """Number of pairs and of labels to print; --json prints all."""
    map: Path | None = None
    """PNG file for a map of the table: images as points, near where their features are."""
    weights: str | None = None
    """The model of the features, if it has moved."""
    root: str | None = None
    """Folder of the run's data, if it has moved."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to run on; auto: a GPU if there is one."""
    json: bool = False
    """Print JSON instead of tables."""


def neighbours(rest: list[str]) -> None:
    """finds similar images, copies, and labels that are probably wrong"""
    arguments = parse(NeighboursArguments, "hvit neighbours", rest)
    check_at_least_one(num=arguments.num, most=arguments.most)
    if not 0 <= arguments.distance <= 2:
        raise UserError(f"--distance must be from 0 (the same direction) to 2; got {arguments.distance:g}")
    if arguments.map is not None and arguments.map.suffix.lower() != ".png":
        raise UserError(f"--map must name a PNG file; got {arguments.map}")
    from hvit.verbs import folds
    from hvit.verbs import neighbours as verb

    check_paths((arguments.features, *arguments.images))
    wait_for(f"hvit neighbours: reading {arguments.features}")
    if folds.is_cross_validation(arguments.features):
        if arguments.images or arguments.map is not None:
            raise UserError(
                f"{arguments.features} is a cross-validation, which has no features; name one of its folds, such as "
                f"{arguments.features}/fold_1, after `hvit embed` of it"
            )
        problems = verb.problems_of_folds(arguments.features)
        print_json_lines([problems]) if arguments.json else _print_problems(problems, arguments.most)
        return
    table = verb.open_table(arguments.features)
    if arguments.map is not None:
        from hvit.files import replacing
        from hvit.verbs.review import draw_map

        wait_for("hvit neighbours: drawing the map")
        drawn = draw_map(table)[0]
        with replacing(arguments.map) as file:
            file.write(drawn)
    if not arguments.images:
        _problems(arguments)
        return
    refused = Refusals()
    if len(arguments.images) == 1 and arguments.images[0].suffix.lower() in (".npy", ".parquet"):
        answers = verb.neighbours_of_table(table, verb.open_table(arguments.images[0]), arguments.num)
    else:
        embedder = verb.embedder_of(table, arguments.weights, arguments.device)
        answers = verb.neighbours_of_images(table, embedder, list(arguments.images), arguments.num, refused)
    if arguments.json:
        print_json_lines(answers)
    else:
        for answer in answers:
            say(answer["file"])
            for one in answer["neighbours"]:
                say(f"  {one['distance']:.4f}  {_named(one)}{'  (same content)' if one['same_content'] else ''}")
    refused.end()


def _problems(arguments: NeighboursArguments) -> None:
    """Prints copies and labels that are probably wrong; of a run folder, the report shows them."""
    from hvit.verbs import neighbours as verb

    table = verb.open_table(arguments.features)
    wait_for("hvit neighbours: comparing the images")
    problems = verb.find_problems(table, arguments.distance)
    report: Path | None = None
    if arguments.features.is_dir():
        from hvit.report import write_report
        from hvit.verbs.embed import run_images
        from hvit.verbs.review import write_review

        wait_for("hvit neighbours: drawing what was found")
        images = run_images(arguments.features, arguments.root)
        write_review(arguments.features, table, problems, images)
        report = write_report(arguments.features)
    if arguments.json:
        print_json_lines([problems])
        return
    _print_problems(problems, arguments.most)
    if report is not None:
        say(f"The report: {report}")
    if arguments.map is not None:
        say(f"The map: {arguments.map}")


def _print_problems(problems: JsonObject, most: int) -> None:
    pairs, wrong = problems["pairs"], problems["label_errors"]
    across = (
        f", {problems['across_parts']:,} of them in different parts of the data" if problems["across_parts"] else ""
    )
    checked = not any(note.startswith("Labels") for note in problems["notes"])
    if not any(note.startswith("Copies") for note in problems["notes"]):
        say(f"Pairs of nearly the same image among {problems['images']:,}: {len(pairs):,}{across}")
    if pairs:
        rows = [
            (pair["kind"], f"{pair['distance']:.4f}", _named(pair["first"]), _named(pair["second"]))
            for pair in sorted(pairs, key=lambda pair: not pair["across_parts"])[:most]
        ]
        print_table(["kind", "distance", "image", "its copy"], rows)
    if checked:
        say(f"Labels that are probably wrong: {len(wrong):,}")
    if wrong:
        rows = [(_named(one), one["class"], one["predicted"], percent(one["probability"])) for one in wrong[:most]]
        print_table(["image", "label", "looks like", "probability of the label"], rows)
    if problems["notes"]:
        print_plan({"notes": "\n".join(problems["notes"])})


def _named(one: JsonObject) -> str:
    return (
        f"{one['part']}: {one['file']}" if one["part"] and one["part"] not in Path(one["file"]).parts else one["file"]
    )
