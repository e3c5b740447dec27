"""The verbs of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, make_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import (
    Refusals,
    cut,
    notes,
    percent,
    print_confusions,
    print_explanation,
    print_json_lines,
    print_report,
    print_scores,
    print_table,
    samples_of,
    say,
    table_width,
    tell,
    wait_for,
    waited,
)
from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class DemoArguments:
    """Trains a small NesT on real handwritten digits, measures and explains it, writes a page: about two minutes."""

    out: Path | None = None
    """Folder for the run; left out, runs/demo."""


def demo(rest: list[str]) -> None:
    """trains, measures and explains a small model on embedded data: about two minutes on a CPU"""
    arguments = parse(DemoArguments, "hvit demo", rest)
    from hvit.recipes import get_recipe
    from hvit.verbs.train import train

    folder = arguments.out or _free_folder("demo")
    wait_for("hvit demo: opening the data")
    scores = train(get_recipe("nest_micro_digits"), folder, tell)
    print_scores(scores)
    print_report(folder)
    say(f"Pictures of why: {folder / 'pictures'}")


@dataclass(frozen=True)
class ListArguments:
    """Lists names and what is known of them."""

    pattern: tyro.conf.Positional[str] = "*"
    """Names to list, as a shell pattern such as "nest*"."""
    json: bool = False
    """Print JSON lines instead of a table."""


def models(rest: list[str]) -> None:
    """every model: size, cost, published score"""
    arguments = parse(ListArguments, "hvit models", rest)
    from hvit.models import counts

    stored = counts.stored()
    names = [name for name in stored if fnmatchcase(name, arguments.pattern)]
    rows = [{"name": name, **stored[name]} for name in _matching(names, "model", arguments.pattern, stored)]
    if arguments.json:
        print_json_lines(rows)
        return
    columns = ["model", "parameters", "multiply-adds", "input", "published score", "source"]
    cells = [
        (
            row["name"],
            f"{row['parameters'] / 1e6:.2f} M",
            counts.in_billions(row["multiply_adds"]),
            row["input"],
            row["published"] or "-",
            row["source"],
        )
        for row in rows
    ]
    if table_width() < 110:  # where a score is written is in the JSON, too
        print_table(["model", "params", "GMAC", *columns[3:5]], [_narrow(row) for row in cells], ["model"])
        say("params: parameters; GMAC: multiply-adds; --json, or more columns, adds sources")
        return
    print_table(columns, cells, ["model"])


def recipes(rest: list[str]) -> None:
    """every named run: what it claims, costs and gave here"""
    arguments = parse(ListArguments, "hvit recipes", rest)
    from hvit.recipes import get_recipe, header, list_recipes

    names = _matching(list_recipes(arguments.pattern), "recipe", arguments.pattern, list_recipes())
    headers = {name: header(name) for name in names}
    if arguments.json:
        print_json_lines({"name": name, **asdict(one)} for name, one in headers.items())
        return
    if names == [arguments.pattern]:
        for key, value in {"recipe": names[0], **asdict(headers[names[0]])}.items():
            if value:
                say(f"{key.replace('_', ' '):<10} {value}")
        return
    rows = [(name, get_recipe(name).data.kind, one.summary, one.run_here) for name, one in headers.items()]
    if table_width() >= 110:
        print_table(["recipe", "data", "what it does", "run here"], rows, ["recipe", "data"])
    else:
        longest = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for name, data, what, run_here in rows:
            say(cut(f"{name:<{longest[0]}}  {data:<{longest[1]}}  run here: {run_here}", table_width()))
            say(cut(f"    {what}", table_width()))
    say()
    say("`hvit recipes NAME` shows claim, cost and expected score of one recipe")


def train(rest: list[str]) -> None:
    """runs a recipe; any field of it can be changed"""
    from hvit.recipes import get_recipe, list_recipes

    if not rest or rest[0].startswith("-"):
        if rest and rest[0] not in ("-h", "--help"):
            raise UserError(f"name a recipe first: hvit train RECIPE {' '.join(rest)}")
        say("usage: hvit train RECIPE [--field value ...] [--weights FILE] [--out DIR] [--dry-run]")
        say()
        say("`hvit train RECIPE --help` lists every field of a recipe; `hvit recipes` says what each does.")
        say()
        say("Recipes: " + ", ".join(list_recipes()))
        return
    from hvit.recipe import Recipe, with_classes_of_the_data
    from hvit.verbs import train

    name, *fields = rest
    recipe = with_classes_of_the_data(get_recipe(name))

    options = make_dataclass(
        "TrainArguments",
        [
            ("recipe", Annotated[Recipe, tyro.conf.arg(name="")]),
            ("out", Annotated[Path | None, tyro.conf.arg(help=f"Folder for the run; left out, runs/{name}.")], None),
            ("dry_run", Annotated[bool, tyro.conf.arg(help="Print the plan and do nothing.")], False),
        ],
        namespace={"__doc__": recipe.summary},
    )
    arguments = parse(options, f"hvit train {name}", fields, options(recipe))
    if arguments.dry_run:
        wait_for(f"hvit train {name}: opening the data")
        tell(train.plan(arguments.recipe))
        return
    folder = arguments.out or _free_folder(name)
    wait_for(f"hvit train {name}: opening the data")
    print_scores(train.train(arguments.recipe, folder, tell))
    print_report(folder)


@dataclass(frozen=True)
class ResumeArguments:
    """Continues a stopped run exactly where it was."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    root: str | None = None
    """Where the data is now, if it has moved."""
    accept_changed_data: bool = False
    """Go on although the data or the recipe is not what the run began with; the journal then says what has changed."""


@dataclass(frozen=True)
class RunArguments:
    """Works on the folder of a run."""

    run: tyro.conf.Positional[Path]
    """The run folder."""


def resume(rest: list[str]) -> None:
    """continues a stopped run exactly where it was"""
    arguments = parse(ResumeArguments, "hvit resume", rest)
    from hvit.verbs import train

    wait_for("hvit resume: opening the data")
    print_scores(train.resume(arguments.run, arguments.root, tell, arguments.accept_changed_data))
    print_report(arguments.run)


@dataclass(frozen=True)
class EvaluateArguments:
    """Scores a run or weights on the held-out part of a data set: a classifier's answers, an encoder's features, or
    the images that a generator makes."""

    target: tyro.conf.Positional[Path]
    """A run folder, or a weights file in any known format."""
    data: Literal["digits", "cifar10", "cifar100", "folder", "clips", "moving_digits"] | None = None
    """What to test on; left out, the data of the run."""
    root: str | None = None
    """Where the data is; alone, the run's data in another place, or for a weights file a folder of pictures."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run."""
    fast: bool = False
    """Prepare the model for this machine first: seconds to a minute that pay from some hundred pictures on."""
    json: bool = False
    """Print JSON instead of tables."""


def evaluate(rest: list[str]) -> None:
    """accuracy and confusions of a run or of weights; of a generator, how far its images are from real ones"""
    arguments = parse(EvaluateArguments, "hvit evaluate", rest)
    from hvit.metrics.classification import per_class_table
    from hvit.verbs import evaluate

    wait_for(f"hvit evaluate: scoring {arguments.target}")
    scores = evaluate.evaluate(arguments.target, arguments.data, arguments.root, arguments.device, tell, arguments.fast)
    if "labels" not in scores:
        print_json_lines([scores]) if arguments.json else print_scores(scores)
        return
    rows = per_class_table(scores["labels"], scores["predictions"], scores["classes"])
    if arguments.json:
        print_json_lines([scores | {"per_class": rows}])
        return
    print_scores(scores)
    table = []
    for row in rows:
        shares = (percent(row[key]) for key in ("recall", "precision", "f1"))
        mistakes = round(row["count"] * (1 - (row["recall"] or 0.0)))
        table.append((row["name"], str(row["count"]), str(mistakes), *shares))
    print_table(["class", samples_of(scores), "mistakes", "recall", "precision", "F1"], table)
    print_confusions(scores["confusion"], scores["classes"])


@dataclass(frozen=True)
class PredictArguments:
    """Names the likeliest classes of pictures, or of clips where the model takes clips."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file in any known format."""
    files: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures or clips, or folders of them."""
    top_k: int = 5
    """Classes named per picture or clip."""
    batch_size: int = 16
    """Pictures that go through the model together."""
    views: int = 5
    """Of clips: places in time that are looked at and averaged; each is told with --json."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run."""
    fast: bool = False
    """Prepare the model for this machine first: seconds to a minute that pay from some hundred pictures on."""
    json: bool = False
    """Print one JSON object a picture or clip."""


def predict(rest: list[str]) -> None:
    """the most probable classes of images, clips or folders of them"""
    arguments = parse(PredictArguments, "hvit predict", rest)
    _at_least_one(top_k=arguments.top_k, batch_size=arguments.batch_size, views=arguments.views)
    from hvit.verbs import predict
    from hvit.verbs.classifier import open_classifier

    _some_named(arguments.files)
    wait_for(f"hvit predict: opening {arguments.weights}")
    classifier = open_classifier(arguments.weights, arguments.device)
    if arguments.fast:
        classifier = _made_fast(classifier, 1 if classifier.preprocess.takes_clips else arguments.batch_size)
    refused = Refusals()
    if classifier.preprocess.takes_clips:
        from hvit.verbs.classifier import list_clips
        from hvit.verbs.predict import predict_clips

        clips = list_clips(arguments.files)
        answers = predict_clips(classifier, clips, arguments.top_k, arguments.views, refused)
    else:
        from hvit.data.open import list_images

        files = list_images(arguments.files)
        answers = predict.predict(classifier, files, arguments.top_k, arguments.batch_size, refused)
    for answer in answers:
        if arguments.json:
            print_json_lines([answer])
            continue
        ranked = "  ".join(f"{one['class']} {percent(one['probability'])}" for one in answer["classes"])
        say(f"{answer['file']}: {ranked}")
    refused.end()


@dataclass(frozen=True)
class ExplainArguments:
    """Shows why a model sees what it sees: pictures of the deciding blocks and of the deciding places."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file in any known format."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures or clips, or folders of them."""
    classes: tuple[str, ...] = ()
    """Classes to explain, four at most: by name, or '#8' for class number 8 (plain 8 too, unless class names are
    numbers); default: the most probable."""
    top_k: int | None = None
    """How many of the likeliest classes to explain, four at most; left out, three."""
    methods: tuple[Literal["gradcat", "cam", "gradcam", "gradcam++", "rollout"], ...] = ()
    """gradcat: the path through the tree of blocks; cam: the class activation map; the others are what these are
    compared with; left out, gradcat and cam where the model allows them, else what it allows."""
    level: int | None = None
    """Of the features that gradcat starts from, 0 for the finest; left out, the last."""
    beam: int = 1
    """Paths through every tree that --json tells, best first."""
    out: Path = Path("explanations")
    """Folder for the pictures."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run."""
    fast: bool = False
    """Prepare the model for this machine first, to choose the classes; gradients come from the model as it is."""
    json: bool = False
    """Print one JSON object a picture, with every node of the trees."""


def explain(rest: list[str]) -> None:
    """pictures of why: the path through the tree of blocks (GradCAT) and activation maps (CAM)"""
    arguments = parse(ExplainArguments, "hvit explain", rest)
    if arguments.top_k is not None and arguments.classes:
        raise UserError("give --classes or --top-k, not both")
    top_k = 3 if arguments.top_k is None else arguments.top_k
    _at_least_one(top_k=top_k, beam=arguments.beam)
    if max(top_k, len(arguments.classes)) > 4:
        raise UserError("a picture shows four classes at most; choose fewer with --classes or --top-k")
    from hvit.verbs.classifier import open_classifier
    from hvit.verbs.explain import PAGE, explain

    _some_named(arguments.images)
    wait_for(f"hvit explain: opening {arguments.weights}")
    classifier = open_classifier(arguments.weights, arguments.device)
    classes = [classifier.class_index(name) for name in arguments.classes] or None
    if arguments.fast:
        classifier = _made_fast(classifier, 1)
    refused = Refusals()
    if classifier.preprocess.takes_clips:
        _explain_clips(classifier, arguments, classes, top_k, refused)
        return
    allowed = classifier.methods
    for method in arguments.methods:
        if method not in allowed:
            raise UserError(f"{method} does not explain this model; what does: {', '.join(allowed)}")
    methods = arguments.methods or tuple(one for one in ("gradcat", "cam") if one in allowed) or allowed
    if "gradcat" not in methods and (arguments.level is not None or arguments.beam > 1):
        raise UserError("--level and --beam are for gradcat only; leave them out or add gradcat to --methods")
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


def _made_fast(classifier: Any, batch_size: int) -> Any:
    """The classifier prepared for inference; says on stderr what was chosen."""
    from hvit.verbs.classifier import made_fast

    wait_for("preparing the model for this machine")
    classifier, choice = made_fast(classifier, batch_size)
    tell({"fast": choice})
    return classifier


def _explain_clips(classifier: Any, arguments: ExplainArguments, classes: Any, top_k: int, refused: Refusals) -> None:
    """Explains clips by class activation maps over time, the only method for them."""
    if set(arguments.methods) - {"cam"} or arguments.level is not None or arguments.beam > 1:
        raise UserError("clips are explained by cam only, so leave out --level, --beam and other --methods")
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


@dataclass(frozen=True)
class GenerateArguments:
    """Draws samples of a generator, and walks between them, as pictures."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file of a generator."""
    num: int = 64
    """How many samples; more of them begin with the same ones."""
    classes: tuple[str, ...] = ()
    """Classes to generate, in turn: by name, or '#8' for class number 8 (plain 8 too, unless class names are numbers);
    default: all that the generator knows."""
    seed: int = 0
    """What the latents are drawn from; the same seed gives the same samples."""
    columns: int | None = None
    """Samples side by side; left out, such that a column has one class."""
    walks: int = 8
    """Walks from one latent to another, a row each."""
    each: bool = False
    """Write every sample as a file of its own, too, in its true size."""
    out: Path = Path("generated")
    """Folder for the pictures."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run."""
    json: bool = False
    """Print one JSON object that tells what was written, and the class of every sample."""


def generate(rest: list[str]) -> None:
    """samples and walks between them, as pictures"""
    arguments = parse(GenerateArguments, "hvit generate", rest)
    from hvit.progress import FilesDone
    from hvit.verbs import generate

    wait_for(f"hvit generate: opening {arguments.weights}")
    painter = generate.open_painter(arguments.weights, arguments.device)
    waited()
    with FilesDone(arguments.num, notes, ("painting", "painted", "samples")) as done:
        made = generate.generate(
            painter, arguments.out, arguments.num, arguments.seed, arguments.classes, arguments.columns,
            arguments.walks, arguments.each, done.step,
        )  # fmt: skip
    if arguments.json:
        print_json_lines([{"weights": str(arguments.weights), **made}])
        return
    size = " x ".join(map(str, made["size"]))
    told = [f"{made['count']:,} samples of {size} by {made['model']}, seed {made['seed']}"]
    chosen = list(dict.fromkeys(made["classes"]))
    if chosen:
        told[0] += f", of {', '.join(chosen[:12])}{', …' if len(chosen) > 12 else ''}"
    some = "" if made["shown"] == made["count"] else f" (the first {made['shown']:,})"
    told.append(f"  {made['samples']}{some}")
    told += [f"  {made['walks']}"] if made["walks"] else []
    told += [f"  {made['files'][0]} to {Path(made['files'][-1]).name}"] if made["files"] else []
    for line in told:
        say(line)


def report(rest: list[str]) -> None:
    """writes the page of a run anew"""
    arguments = parse(RunArguments, "hvit report", rest)
    from hvit.report import write_report

    say(str(write_report(arguments.run)))


def _matching(names: list[str], what: str, pattern: str, known: Iterable[str]) -> list[str]:
    if not names:
        near = did_you_mean(pattern, known)
        raise UserError(f"no {what} matches {quoted(pattern)}{near or ';'} `hvit {what}s` lists them all")
    return names


def _narrow(row: tuple[str, ...]) -> tuple[str, ...]:
    """A row of `hvit models` without units and source."""
    name, parameters, multiply_adds, size, published, _ = row
    return name, parameters.replace(" ", ""), multiply_adds.removesuffix(" G"), size, published


def _some_named(paths: tuple[Path, ...]) -> None:
    """Before weights are opened: refuses no files, and files that are not there."""
    if not paths:
        raise UserError("name the pictures or clips, or folders of them, after the weights")
    for path in paths:
        if not path.exists():
            raise UserError(f"cannot read {path}: there is no such file.")


def _at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be 1 or more; got {value}")


def _free_folder(name: str) -> Path:
    """runs/<name>, or the first of runs/<name>-2, -3 ... that is free."""
    if "WORLD_SIZE" in os.environ and os.environ["WORLD_SIZE"] != "1":
        raise UserError("name the run folder with --out when several processes train together")
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder
