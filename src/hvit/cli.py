"""The verbs of the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, make_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hvit.errors import UserError
from hvit.machine import keep_freed_memory

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.

T = TypeVar("T")
# Tables in a pipe or a file are not squeezed into the 80 columns that rich assumes there.
# Of several processes that torchrun started, the first one speaks; errors are told by all.
_silent = os.environ.get("RANK", "0") != "0"
out = Console(highlight=False, quiet=_silent, width=None if sys.stdout.isatty() else 160)
notes = Console(stderr=True, highlight=False, quiet=_silent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb. Exit status: 0 done, 2 something given cannot be used or a run was stopped, 130 interrupted."""
    # Read when torch is loaded. Threads that sleep while they wait cost nothing on a quiet machine, and more than
    # double the speed of training on one whose cores are busy with something else (docs/results.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        _print_help()
        return
    verb, *rest = given
    if verb in ("-V", "--version"):
        from importlib.metadata import version

        print(version("hvit"))
        return
    try:
        if verb not in VERBS:
            raise UserError(f"there is no verb {verb!r}; verbs are {', '.join(VERBS)}; `hvit --help` explains them")
        VERBS[verb](rest)
        sys.stdout.flush()
    except UserError as error:
        print(f"hvit: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("hvit: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `hvit models | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True)
class DemoArguments:
    """Trains a small NesT on real handwritten digits, measures and explains it, writes a page: about two minutes."""

    out: Path | None = None
    """Folder for the run; left out, runs/demo."""


def demo(rest: list[str]) -> None:
    """the whole story on embedded data, on a CPU, in about two minutes"""
    arguments = _parse(DemoArguments, "demo", rest)
    from hvit.recipes import get_recipe
    from hvit.run import train

    folder = arguments.out or _free_folder("demo")
    scores = train(get_recipe("nest_micro_digits"), folder, _tell)
    _print_scores(scores)
    _print_report(folder)
    out.print(f"Pictures of why: {folder / 'pictures'}", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class ListArguments:
    """Lists names and what is known of them."""

    pattern: tyro.conf.Positional[str] = "*"
    """Names to list, as a shell pattern such as "nest*"."""
    json: bool = False
    """Print JSON lines instead of a table."""


def models(rest: list[str]) -> None:
    """every model: size, cost, published score"""
    arguments = _parse(ListArguments, "models", rest)
    from hvit.models import counts

    stored = counts.stored()
    names = [name for name in stored if fnmatchcase(name, arguments.pattern)]
    rows = [{"name": name, **stored[name]} for name in _matching(names, "model", arguments.pattern)]
    if arguments.json:
        _print_json_lines(rows)
        return
    table = _table("model", "parameters", "multiply-adds", "input", "published score", "source")
    for row in rows:
        millions, giga = f"{row['parameters'] / 1e6:.2f} M", counts.in_billions(row["multiply_adds"])
        table.add_row(row["name"], millions, giga, row["input"], row["published"] or "-", row["source"])
    out.print(table)


def recipes(rest: list[str]) -> None:
    """every named run: what it claims, costs and gave here"""
    arguments = _parse(ListArguments, "recipes", rest)
    from hvit.recipes import header, list_recipes

    names = _matching(list_recipes(arguments.pattern), "recipe", arguments.pattern)
    rows = [{"name": name, **asdict(header(name))} for name in names]
    if arguments.json:
        _print_json_lines(rows)
        return
    table = _table("recipe", "what it does", "cost", "expected", "run here")
    for row in rows:
        table.add_row(row["name"], row["summary"], row["cost"], row["expected"], row["run_here"])
    out.print(table)


def train(rest: list[str]) -> None:
    """carries out a recipe; any field of it can be changed"""
    from hvit.recipes import get_recipe, list_recipes

    if not rest or rest[0].startswith("-"):
        if rest and rest[0] not in ("-h", "--help"):
            raise UserError(f"name a recipe first: hvit train RECIPE {' '.join(rest)}")
        print("usage: hvit train RECIPE [--field value ...] [--weights FILE] [--out DIR] [--dry-run]\n")
        out.print("`hvit train RECIPE --help` lists every field of a recipe; `hvit recipes` tells what each does.\n")
        out.print("Recipes: " + ", ".join(list_recipes()))
        return
    from hvit import run
    from hvit.recipe import Recipe

    name, *fields = rest
    recipe = get_recipe(name)

    options = make_dataclass(
        "TrainArguments",
        [
            ("recipe", Annotated[Recipe, tyro.conf.arg(name="")]),
            ("out", Annotated[Path | None, tyro.conf.arg(help=f"Folder for the run; left out, runs/{name}.")], None),
            ("dry_run", Annotated[bool, tyro.conf.arg(help="Print the plan and do nothing.")], False),
        ],
        namespace={"__doc__": recipe.summary},
    )
    arguments = _parse(options, f"train {name}", fields, default=options(recipe))
    if arguments.dry_run:
        _tell(run.plan(arguments.recipe))
        return
    folder = arguments.out or _free_folder(name)
    _print_scores(run.train(arguments.recipe, folder, _tell))
    _print_report(folder)


@dataclass(frozen=True)
class ResumeArguments:
    """Continues a stopped run exactly where it was."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    root: str | None = None
    """Where the data is now, if it has moved."""


@dataclass(frozen=True)
class RunArguments:
    """Works on the folder of a run."""

    run: tyro.conf.Positional[Path]
    """The run folder."""


def resume(rest: list[str]) -> None:
    """continues a stopped run exactly where it was"""
    arguments = _parse(ResumeArguments, "resume", rest)
    from hvit import run

    _print_scores(run.resume(arguments.run, arguments.root, _tell))
    _print_report(arguments.run)


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
    """accuracy and confusions of a run or of weights; of a generator its distance"""
    arguments = _parse(EvaluateArguments, "evaluate", rest)
    from hvit import evaluation
    from hvit.measures import per_class_table

    scores = evaluation.evaluate(
        arguments.target, arguments.data, arguments.root, arguments.device, _tell, arguments.fast
    )
    if "labels" not in scores:
        _print_json_lines([scores]) if arguments.json else _print_scores(scores)
        return
    rows = per_class_table(scores["labels"], scores["predictions"], scores["classes"])
    if arguments.json:
        _print_json_lines([scores | {"per_class": rows}])
        return
    _print_scores(scores)
    table = _table("class", "images", "mistakes", "recall", "precision", "F1")
    for row in rows:
        shares = (_percent(row[key]) for key in ("recall", "precision", "f1"))
        mistakes = round(row["count"] * (1 - (row["recall"] or 0.0)))
        table.add_row(escape(row["name"]), str(row["count"]), str(mistakes), *shares)
    out.print(table)
    _print_confusions(scores["confusion"], scores["classes"])


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
    """the likeliest classes of pictures, clips or folders of them"""
    arguments = _parse(PredictArguments, "predict", rest)
    _at_least_one(top_k=arguments.top_k, batch_size=arguments.batch_size, views=arguments.views)
    from hvit import inference

    _some_named(arguments.files)
    classifier = inference.open_classifier(arguments.weights, arguments.device)
    if arguments.fast:
        classifier = _made_fast(classifier, 1 if classifier.preprocess.takes_clips else arguments.batch_size)
    refused = _Refusals()
    if classifier.preprocess.takes_clips:
        from hvit import clip_inference

        clips = clip_inference.list_clips(arguments.files)
        answers = clip_inference.predict_clips(classifier, clips, arguments.top_k, arguments.views, refused)
    else:
        from hvit.data.images import list_images

        files = list_images(arguments.files)
        answers = inference.predict(classifier, files, arguments.top_k, arguments.batch_size, refused)
    for answer in answers:
        if arguments.json:
            _print_json_lines([answer])
            continue
        ranked = "  ".join(f"{one['class']} {_percent(one['probability'])}" for one in answer["classes"])
        out.print(f"{answer['file']}: {ranked}", markup=False, soft_wrap=True)
    refused.end()


@dataclass(frozen=True)
class ExplainArguments:
    """Shows why a model sees what it sees: pictures of the deciding blocks and of the deciding places."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file in any known format."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures or clips, or folders of them."""
    classes: tuple[str, ...] = ()
    """Classes to explain, by name or number (four at most); left out, the likeliest."""
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
    """pictures of why: the tree walk (GradCAT) and activation maps (CAM)"""
    arguments = _parse(ExplainArguments, "explain", rest)
    if arguments.top_k is not None and arguments.classes:
        raise UserError("give --classes or --top-k, not both")
    top_k = 3 if arguments.top_k is None else arguments.top_k
    _at_least_one(top_k=top_k, beam=arguments.beam)
    if max(top_k, len(arguments.classes)) > 4:
        raise UserError("a picture shows four classes at most; choose fewer with --classes or --top-k")
    from hvit import inference

    _some_named(arguments.images)
    classifier = inference.open_classifier(arguments.weights, arguments.device)
    classes = [classifier.class_index(name) for name in arguments.classes] or None
    if arguments.fast:
        classifier = _made_fast(classifier, 1)
    refused = _Refusals()
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
    from hvit.data.images import list_images
    from hvit.progress import FilesDone

    files = list_images(arguments.images)
    with FilesDone(len(files), notes) as done:
        answers = inference.explain(
            classifier, files, classes, top_k, methods, arguments.out, done.refusing(refused),
            arguments.level, arguments.beam,
        )  # fmt: skip
        for answer in done.over(answers):
            _print_explanation(answer, arguments.json)
    if not arguments.json and done.done > refused.count:
        out.print(f"The page: {arguments.out / inference.PAGE}", markup=False, soft_wrap=True)
    refused.end()


def _made_fast(classifier: Any, batch_size: int) -> Any:
    """The classifier prepared for inference; says on stderr what was chosen."""
    from hvit.inference import made_fast

    classifier, choice = made_fast(classifier, batch_size)
    _tell({"fast": choice})
    return classifier


def _print_explanation(answer: dict[str, Any], as_json: bool) -> None:
    """Prints the paths that explain one picture, and the files they are drawn in."""
    if as_json:
        _print_json_lines([answer])
        return
    for tree in answer["trees"]:
        way = " > ".join(("top-left", "top-right", "bottom-left", "bottom-right")[step] for step in tree["path"])
        text = f"{answer['file']}: {tree['class']} {_percent(tree['probability'])}: {way}"
        out.print(text, markup=False, soft_wrap=True)
    for picture in answer["pictures"]:
        out.print(f"  {picture}", markup=False, soft_wrap=True)


def _explain_clips(classifier: Any, arguments: ExplainArguments, classes: Any, top_k: int, refused: _Refusals) -> None:
    """Explains clips by class activation maps over time, the only method for them."""
    if set(arguments.methods) - {"cam"} or arguments.level is not None or arguments.beam > 1:
        raise UserError("clips are explained by cam only, so leave out --level, --beam and other --methods")
    from hvit import clip_inference

    files = clip_inference.list_clips(arguments.images)
    for answer in clip_inference.explain_clips(classifier, files, classes, top_k, arguments.out, refused):
        if arguments.json:
            _print_json_lines([answer])
            continue
        ranked = "  ".join(f"{one['class']} {_percent(one['probability'])}" for one in answer["classes"])
        out.print(f"{answer['file']}: {ranked}", markup=False, soft_wrap=True)
        for picture in answer["pictures"]:
            out.print(f"  {picture}", markup=False, soft_wrap=True)
    refused.end()


@dataclass(frozen=True)
class GenerateArguments:
    """Draws samples of a generator, and walks between them, as pictures."""

    weights: tyro.conf.Positional[Path]
    """A run folder, or a weights file of a generator."""
    num: int = 64
    """How many samples; more of them begin with the same ones."""
    classes: tuple[str, ...] = ()
    """Classes to make, by name or number, in turn; left out, all that the generator knows."""
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
    arguments = _parse(GenerateArguments, "generate", rest)
    from hvit import generation
    from hvit.progress import FilesDone

    painter = generation.open_painter(arguments.weights, arguments.device)
    with FilesDone(arguments.num, notes, ("painting", "painted", "samples")) as done:
        made = generation.generate(
            painter, arguments.out, arguments.num, arguments.seed, arguments.classes, arguments.columns,
            arguments.walks, arguments.each, done.step,
        )  # fmt: skip
    if arguments.json:
        _print_json_lines([{"weights": str(arguments.weights), **made}])
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
        out.print(line, markup=False, soft_wrap=True)


def report(rest: list[str]) -> None:
    """writes the page of a run anew"""
    arguments = _parse(RunArguments, "report", rest)
    from hvit.report import write_report

    out.print(str(write_report(arguments.run)), markup=False, soft_wrap=True)


VERBS: dict[str, Callable[[list[str]], None]] = {
    verb.__name__: verb for verb in (demo, models, recipes, train, resume, evaluate, predict, explain, generate, report)
}


def _print_help() -> None:
    out.print("hvit: train, pretrain, explain and generate with hierarchical vision transformers\n")
    out.print("usage: hvit VERB ...     `hvit VERB --help` explains a verb\n")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for name, verb in VERBS.items():
        table.add_row(f"  {name}", (verb.__doc__ or "").strip())
    out.print(table)
    out.print("\nStart with: hvit demo", highlight=False)


def _parse(kind: type[T], verb: str, rest: list[str], default: T | None = None) -> T:
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"hvit {verb}", args=rest, config=(tyro.conf.AvoidSubcommands,), **given)


def _tell(lines: dict[str, str]) -> None:
    """Prints a plan on stderr, a line each."""
    width = max(map(len, lines))
    for name, value in lines.items():
        text = value.replace("\n", "\n" + " " * (width + 2))
        notes.print(f"{name:<{width}}  {text}", markup=False, soft_wrap=True)


def _print_scores(scores: dict[str, Any]) -> None:
    if "explained" in scores:
        told = f"loss {scores['loss']:.4f}, {_percent(scores['explained'])} of the variance of hidden patches told"
        out.print(f"\n{scores['count']:,} held-out images: {told}", soft_wrap=True)
        if "nearest_neighbours" in scores:
            known = scores.get("learned_from")
            source = f"{known:,} training images" if known else "the other half of them"
            out.print(
                f"Classes told by the encoder's features, from {source}: nearest neighbours "
                f"{_percent(scores['nearest_neighbours'])}, linear probe {_percent(scores['linear_probe'])}",
                soft_wrap=True,
            )
        return
    if "distance" in scores:
        _print_distances(scores)
        return
    shown = f"top-1 {_percent(scores['top1'])}, top-5 {_percent(scores['top5'])}, loss {scores['loss']:.4f}"
    calibration = f"calibration error {_percent(scores['calibration_error'])}"
    out.print(f"\n{scores['count']:,} held-out images: {shown}, {calibration}")
    found = scores.get("explanations")
    if found:
        out.print(
            f"GradCAT on {found['mosaics']} mosaics of four digits: the right quadrant for "
            f"{_percent(found['quadrant_hits'])} of {found['asked']:,} digits (chance 25 %; with the sign flipped "
            f"{_percent(found['flipped_sign'])}); for digits alone on their canvas "
            f"{_percent(found['single_object_hits'])}",
            soft_wrap=True,
        )


def _print_distances(scores: dict[str, Any]) -> None:
    """How far made images are from real ones, and what is wrong with them, if anything."""
    halves = scores["distance_of_halves"]
    usual = "" if halves is None else f" (between halves of the real ones {halves:.3g})"
    against = f"{scores['reference_count']:,} {scores['split'].replace('held out', 'held-out')} images"
    told = [
        f"{scores['measure']}: {scores['distance']:.3g} from {against}{usual}",
        f"precision {_percent(scores['precision'])}, recall {_percent(scores['recall'])}",
        f"diversity {scores['diversity']:.2f} and distinctness {scores['distinctness']:.2f} of real images",
    ]
    if "recognised" in scores:
        told.append(f"recognised as the class that was asked for: {_percent(scores['recognised'])}")
    if "warning" in scores:
        told.append(f"warning: {scores['warning']}")
    out.print(f"\n{scores['count']:,} made images:")
    for line in told:
        out.print(f"  {line}", markup=False, soft_wrap=True)


def _print_confusions(matrix: list[list[int]], classes: list[str]) -> None:
    """The commonest mistakes, ten at most."""
    from hvit.measures import commonest_mistakes

    table = _table("mistakes", "class", "taken for")
    for truth, guess, count in commonest_mistakes(matrix, 10):
        table.add_row(str(count), escape(classes[truth]), escape(classes[guess]))
    if table.rows:
        out.print(table)


def _print_report(folder: Path) -> None:
    out.print(f"\nThe report: {folder / 'report.html'}", markup=False, soft_wrap=True)
    out.print(f"The weights: {folder / 'weights.safetensors'}", markup=False, soft_wrap=True)


def _print_json_lines(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)


def _table(*columns: str) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        numeric = column in ("parameters", "multiply-adds", "images", "mistakes", "recall", "precision", "F1")
        is_name = column in ("model", "recipe")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=is_name)
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _matching(names: list[str], what: str, pattern: str) -> list[str]:
    if not names:
        raise UserError(f"no {what} matches {pattern!r}; `hvit {what}s` lists them all")
    return names


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


class _Refusals:
    """Prints a sentence for each file that cannot be used, and ends with status 2 if there was any."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sentence: str) -> None:
        self.count += 1
        notes.print(f"hvit: {sentence}", markup=False, soft_wrap=True)

    def end(self) -> None:
        sys.stdout.flush()
        if self.count:
            sys.exit(2)
