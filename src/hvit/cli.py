"""The verbs of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, make_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from hvit.arguments import parse
from hvit.errors import UserError, did_you_mean
from hvit.interrupts import Ended, raising_ended
from hvit.machine import keep_freed_memory
from hvit.markup import quoted
from hvit.printing import (
    Refusals,
    cut,
    encode_anything,
    notes,
    out,
    percent,
    print_json_lines,
    print_table,
    readable,
    say,
    table_width,
    tell,
    wait_for,
    waited,
)

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


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
    encode_anything()
    try:
        if verb not in VERBS:
            near = did_you_mean(_VERB_SYNONYMS.get(verb, verb), VERBS)
            known = near or f"; verbs are {', '.join(VERBS)};"
            raise UserError(f"there is no verb {quoted(verb)}{known} `hvit --help` explains them")
        for word in rest:
            if "\0" in word:
                raise UserError(f"an argument holds a null character, which no name of a file can have: {quoted(word)}")
        with raising_ended():
            if not {"-h", "--help"} & set(rest):
                wait_for(f"hvit {verb}: loading")
            VERBS[verb](rest)
            sys.stdout.flush()
    except UserError as error:
        _end(f"hvit: {error}", 2)
    except KeyboardInterrupt:
        _end("hvit: interrupted", 130)
    except Ended as error:
        _end(f"hvit: {error}", 2)
    except BrokenPipeError:  # the reader of our output has gone, as in `hvit models | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # of a path that is too long, or in a folder that may not be entered
        place = f"cannot use {error.filename}: " if error.filename else ""
        _end(f"hvit: {place}the system says: {error.strerror or error}", 2)
    finally:
        waited()


def _end(sentence: str, status: int) -> None:
    with suppress(OSError):  # the terminal may be gone
        waited()
        print(readable(sentence), file=sys.stderr, flush=True)
    sys.exit(status)


@dataclass(frozen=True)
class DemoArguments:
    """Trains a small NesT on real handwritten digits, measures and explains it, writes a page: about two minutes."""

    out: Path | None = None
    """Folder for the run; left out, runs/demo."""


def demo(rest: list[str]) -> None:
    """trains, measures and explains a small model on embedded data: about two minutes on a CPU"""
    arguments = parse(DemoArguments, "hvit demo", rest)
    from hvit.recipes import get_recipe
    from hvit.run import train

    folder = arguments.out or _free_folder("demo")
    wait_for("hvit demo: opening the data")
    scores = train(get_recipe("nest_micro_digits"), folder, tell)
    _print_scores(scores)
    _print_report(folder)
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
    arguments = parse(options, f"hvit train {name}", fields, options(recipe))
    if arguments.dry_run:
        wait_for(f"hvit train {name}: opening the data")
        tell(run.plan(arguments.recipe))
        return
    folder = arguments.out or _free_folder(name)
    wait_for(f"hvit train {name}: opening the data")
    _print_scores(run.train(arguments.recipe, folder, tell))
    _print_report(folder)


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
    from hvit import run

    wait_for("hvit resume: opening the data")
    _print_scores(run.resume(arguments.run, arguments.root, tell, arguments.accept_changed_data))
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
    """accuracy and confusions of a run or of weights; of a generator, how far its images are from real ones"""
    arguments = parse(EvaluateArguments, "hvit evaluate", rest)
    from hvit import evaluation
    from hvit.measures import per_class_table

    wait_for(f"hvit evaluate: scoring {arguments.target}")
    scores = evaluation.evaluate(
        arguments.target, arguments.data, arguments.root, arguments.device, tell, arguments.fast
    )
    if "labels" not in scores:
        print_json_lines([scores]) if arguments.json else _print_scores(scores)
        return
    rows = per_class_table(scores["labels"], scores["predictions"], scores["classes"])
    if arguments.json:
        print_json_lines([scores | {"per_class": rows}])
        return
    _print_scores(scores)
    table = []
    for row in rows:
        shares = (percent(row[key]) for key in ("recall", "precision", "f1"))
        mistakes = round(row["count"] * (1 - (row["recall"] or 0.0)))
        table.append((row["name"], str(row["count"]), str(mistakes), *shares))
    print_table(["class", _samples(scores), "mistakes", "recall", "precision", "F1"], table)
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
    """the most probable classes of images, clips or folders of them"""
    arguments = parse(PredictArguments, "hvit predict", rest)
    _at_least_one(top_k=arguments.top_k, batch_size=arguments.batch_size, views=arguments.views)
    from hvit import inference

    _some_named(arguments.files)
    wait_for(f"hvit predict: opening {arguments.weights}")
    classifier = inference.open_classifier(arguments.weights, arguments.device)
    if arguments.fast:
        classifier = _made_fast(classifier, 1 if classifier.preprocess.takes_clips else arguments.batch_size)
    refused = Refusals()
    if classifier.preprocess.takes_clips:
        from hvit import clip_inference

        clips = clip_inference.list_clips(arguments.files)
        answers = clip_inference.predict_clips(classifier, clips, arguments.top_k, arguments.views, refused)
    else:
        from hvit.data.open import list_images

        files = list_images(arguments.files)
        answers = inference.predict(classifier, files, arguments.top_k, arguments.batch_size, refused)
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
    from hvit import inference

    _some_named(arguments.images)
    wait_for(f"hvit explain: opening {arguments.weights}")
    classifier = inference.open_classifier(arguments.weights, arguments.device)
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
        answers = inference.explain(
            classifier, files, classes, top_k, methods, arguments.out, done.refusing(refused),
            arguments.level, arguments.beam,
        )  # fmt: skip
        for answer in done.over(answers):
            _print_explanation(answer, arguments.json)
    if not arguments.json and done.done > refused.count:
        say(f"The page: {arguments.out / inference.PAGE}")
    refused.end()


def _made_fast(classifier: Any, batch_size: int) -> Any:
    """The classifier prepared for inference; says on stderr what was chosen."""
    from hvit.inference import made_fast

    wait_for("preparing the model for this machine")
    classifier, choice = made_fast(classifier, batch_size)
    tell({"fast": choice})
    return classifier


def _print_explanation(answer: dict[str, Any], as_json: bool) -> None:
    """Prints the paths that explain one picture, and the files they are drawn in."""
    if as_json:
        print_json_lines([answer])
        return
    for tree in answer["trees"]:
        way = " > ".join(("top-left", "top-right", "bottom-left", "bottom-right")[step] for step in tree["path"])
        text = f"{answer['file']}: {tree['class']} {percent(tree['probability'])}: {way}"
        say(text)
    for picture in answer["pictures"]:
        say(f"  {picture}")


def _explain_clips(classifier: Any, arguments: ExplainArguments, classes: Any, top_k: int, refused: Refusals) -> None:
    """Explains clips by class activation maps over time, the only method for them."""
    if set(arguments.methods) - {"cam"} or arguments.level is not None or arguments.beam > 1:
        raise UserError("clips are explained by cam only, so leave out --level, --beam and other --methods")
    from hvit import clip_inference

    files = clip_inference.list_clips(arguments.images)
    for answer in clip_inference.explain_clips(classifier, files, classes, top_k, arguments.out, refused):
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
    from hvit import generation
    from hvit.progress import FilesDone

    wait_for(f"hvit generate: opening {arguments.weights}")
    painter = generation.open_painter(arguments.weights, arguments.device)
    waited()
    with FilesDone(arguments.num, notes, ("painting", "painted", "samples")) as done:
        made = generation.generate(
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


_VERB_SYNONYMS = {
    "test": "evaluate", "eval": "evaluate", "validate": "evaluate", "score": "evaluate", "infer": "predict",
    "classify": "predict", "inference": "predict", "sample": "generate", "fit": "train", "pretrain": "train",
    "finetune": "train", "run": "train", "continue": "resume", "list": "models", "gradcam": "explain", "cam": "explain",
    "visualize": "explain", "example": "demo", "start": "demo",
}  # fmt: skip

VERBS: dict[str, Callable[[list[str]], None]] = {
    verb.__name__: verb for verb in (demo, models, recipes, train, resume, evaluate, predict, explain, generate, report)
}


def _print_help() -> None:
    say("hvit: train, pretrain, explain, generate with hierarchical vision transformers")
    say()
    say("usage: hvit VERB ...     `hvit VERB --help` explains a verb")
    say()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for name, verb in VERBS.items():
        table.add_row(f"  {name}", (verb.__doc__ or "").strip())
    out.print(table)
    say()
    say("Start with: hvit demo")


def _print_scores(scores: dict[str, Any]) -> None:
    if "explained" in scores:
        shares = (
            f"loss {scores['loss']:.4f}, {percent(scores['explained'])} of the variance of masked patches explained"
        )
        say()
        say(f"{scores['count']:,} held-out {_samples(scores)}: {shares}")
        if "nearest_neighbours" in scores:
            known = scores.get("learned_from")
            source = f"{known:,} training {_samples(scores)}" if known else "the other half of them"
            say(
                f"Classes predicted from the encoder's features, from {source}: nearest neighbours "
                f"{percent(scores['nearest_neighbours'])}, linear probe {percent(scores['linear_probe'])}"
            )
        return
    if "distance" in scores:
        _print_distances(scores)
        return
    reached = [f"top-1 {percent(scores['top1'])}"]
    if len(scores["classes"]) > 5:  # with fewer, all classes are among the first five
        reached.append(f"top-5 {percent(scores['top5'])}")
    reached += [f"loss {scores['loss']:.4f}", f"calibration error {percent(scores['calibration_error'])}"]
    say()
    say(f"{scores['count']:,} held-out {_samples(scores)}: {', '.join(reached)}")
    found = scores.get("explanations")
    if found:
        say(
            f"GradCAT on {found['mosaics']} mosaics of four digits: the right quadrant for "
            f"{percent(found['quadrant_hits'])} of {found['asked']:,} digits (chance 25 %; with the sign flipped "
            f"{percent(found['flipped_sign'])}); for digits alone on their canvas "
            f"{percent(found['single_object_hits'])}"
        )


def _samples(scores: dict[str, Any]) -> str:
    """What was counted: images or clips."""
    return scores.get("sample_kind", "images")


def _print_distances(scores: dict[str, Any]) -> None:
    """How far generated images are from real ones, and what is wrong with them, if anything."""
    halves = scores["distance_of_halves"]
    usual = "" if halves is None else f" (between halves of the real ones {halves:.3g})"
    against = f"{scores['reference_count']:,} {scores['split'].replace('held out', 'held-out')} images"
    lines = [
        f"{scores['measure']}: {scores['distance']:.3g} from {against}{usual}",
        f"precision {percent(scores['precision'])}, recall {percent(scores['recall'])}",
        f"diversity {scores['diversity']:.2f} and distinctness {scores['distinctness']:.2f} of real images",
    ]
    if "recognised" in scores:
        lines.append(f"recognised as the class that was asked for: {percent(scores['recognised'])}")
    if "warning" in scores:
        lines.append(f"warning: {scores['warning']}")
    say()
    say(f"{scores['count']:,} generated images:")
    for line in lines:
        say(f"  {line}")


def _print_confusions(matrix: list[list[int]], classes: list[str]) -> None:
    """The most frequent mistakes, ten at most."""
    from hvit.measures import commonest_mistakes

    rows = [(str(count), classes[truth], classes[guess]) for truth, guess, count in commonest_mistakes(matrix, 10)]
    if rows:
        print_table(["mistakes", "class", "predicted as"], rows)


def _print_report(folder: Path) -> None:
    say()
    say(f"The report: {folder / 'report.html'}")
    say(f"The weights: {folder / 'weights.safetensors'}")


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
