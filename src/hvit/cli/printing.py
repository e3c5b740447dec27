"""Prints lines, tables and JSON on stdout, plans and notes on stderr.

Text from files is escaped (`markup.shown`): it cannot control a terminal or break an encoding.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hvit.files import JsonObject
from hvit.markup import shown, three_digits
from hvit.models.counts import in_billions
from hvit.run_names import OUT_OF_FOLD, WEIGHTS
from hvit.runtime.answers import json_line, percent


class _Output(Console):
    """A console that leaves it to `main` what happens when the reader of the output has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


# Of several processes that torchrun started, the first one speaks; errors are shown by all.
_silent = os.environ.get("RANK", "0") != "0"
out = _Output(highlight=False, emoji=False, quiet=_silent)
notes = Console(stderr=True, highlight=False, emoji=False, quiet=_silent)

_USUAL_WIDTH = 160  # of tables in a pipe or a file, where COLUMNS says nothing
_LONGEST_WORD = 1000
_NUMERIC = ("parameters", "multiply-adds", "images", "clips", "mistakes", "recall", "precision", "F1", "params", "GMAC")
_PLAN_NAMES = {"against": "discriminator", "judged by": "evaluated with"}
_SEVERAL_LINES = ("notes", "loaded")

_waits = False


def encode_anything() -> None:
    """Lets stdout and stderr escape what their encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")


def wait_for(what: str) -> None:
    """Shows on a terminal what is being waited for, until the next output."""
    global _waits
    if notes.is_terminal and not _silent:
        waited()
        sys.stderr.write(f"{shown(what)} ...")
        sys.stderr.flush()
        _waits = True


def waited() -> None:
    """Removes the line of `wait_for`, if it is there."""
    global _waits
    if _waits:
        _waits = False
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


def say(line: str = "") -> None:
    """Prints a line on stdout."""
    waited()
    out.print(shown(line), markup=False, soft_wrap=True)


def note(line: str) -> None:
    """Prints a line on stderr."""
    waited()
    notes.print(readable(line), markup=False, soft_wrap=True)


def readable(sentence: str) -> str:
    """A sentence about what a user gave, escaped; words of more than a thousand letters lose their middle."""
    words = shown(sentence).split(" ")
    return " ".join(word if len(word) <= _LONGEST_WORD else f"{word[:100]}...{word[-50:]}" for word in words)


def print_plan(lines: dict[str, str]) -> None:
    """Prints a plan on stderr, a line each."""
    waited()
    width = max(len(_PLAN_NAMES.get(name, name)) for name in lines)
    for name, value in lines.items():
        parts = value.split("\n") if name in _SEVERAL_LINES else [value]
        text = ("\n" + " " * (width + 2)).join(map(shown, parts))
        notes.print(f"{_PLAN_NAMES.get(name, name):<{width}}  {text}", markup=False, soft_wrap=True)


def print_json_lines(rows: Iterable[Mapping[str, object]]) -> None:
    """Prints JSON, an object a line. Strings are exact; what would command a terminal is escaped as JSON escapes it.

    Of several processes the first prints.
    """
    waited()
    for row in rows:
        if not _silent:
            print(json_line(row), flush=True)


def table_width() -> int:
    """Columns that a table may take: those of the terminal, in a pipe or a file those that COLUMNS names."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and 0 < len(columns) < 6 and int(columns) > 0:
        return int(columns)
    return out.width if out.is_terminal else _USUAL_WIDTH


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str] = ()) -> None:
    """Prints a table inside `table_width`. names: columns whose cells stay on one line."""
    waited()
    narrow = table_width() < 100
    table = Table(
        header_style="bold",
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
        pad_edge=not narrow,
        show_edge=not narrow,
    )
    for column in columns:
        justify = "right" if column in _NUMERIC else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in names)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    _Output(width=table_width(), highlight=False, emoji=False, quiet=_silent).print(table)


def cut(line: str, width: int) -> str:
    """A line that takes so many columns at most."""
    text = Text(shown(line))
    text.truncate(max(width, 1), overflow="ellipsis")
    return text.plain


class Refusals:
    """Prints a sentence for each file that cannot be used, and ends with status 2 if there was any."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, sentence: str) -> None:
        self.count += 1
        note(f"hvit: {sentence}")

    def end(self) -> None:
        """Ends the program with status 2 if a file was refused."""
        sys.stdout.flush()
        if self.count:
            sys.exit(2)


def print_explanation(answer: JsonObject, as_json: bool) -> None:
    """Prints the paths that explain one image, and the files they are drawn in."""
    if as_json:
        print_json_lines([answer])
        return
    for tree in answer["trees"]:
        words = ("top-left", "top-right", "bottom-left", "bottom-right")
        way = " > ".join(words[step] for step in tree["clear_path"]) or _nothing_stands_out(tree)
        answered = percent(tree["probability"]) if "probability" in tree else f"{tree['value']:.4g}"
        text = f"{answer['file']}: {tree['class']} {answered}: {way}"
        say(text)
    for picture in answer["pictures"]:
        say(f"  {picture}")


def _nothing_stands_out(tree: JsonObject) -> str:
    """Why no path is named: the quarters of the image add about as much, or nothing."""
    quarters = [value for row in tree["values"][0] for value in row]
    if max(quarters) <= 0:
        return "no block stands out: no quarter of the image is evidence for it"
    added = ", ".join(f"{value:+.2f}" for value in quarters)
    unit = " logits" if "probability" in tree else ""
    return f"no block stands out: the quarters of the image add {added}{unit}"


def interval_words(interval: Sequence[float] | None) -> str:
    """The 95 % interval of a share, to stand behind it."""
    return "" if interval is None else f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def print_label_table(scores: JsonObject, auroc: bool) -> None:
    """The scores of each class of a multi-label set, or of each number."""
    if "per_output" in scores:
        rows = [[row["name"], *(_short(row[key]) for key in ("mae", "rmse", "r2", "spearman"))]
                for row in scores["per_output"]]  # fmt: skip
        print_table(["number", "MAE", "RMSE", "R²", "rank correlation"], rows)
        return
    table = []
    for row in scores["per_class"]:
        recall = f"{percent(row['recall'])}{interval_words(row['recall_interval'])}"
        shares = (percent(row[key]) for key in ("precision", "f1", "average_precision", *("auroc",) * auroc))
        table.append((row["name"], str(row["count"]), f"{row['threshold']:.2f}", recall, *shares))
    heads = ["class", samples_of(scores), "threshold", "recall", "precision", "F1", "AP"]
    print_table(heads + ["AUROC"] * auroc, table)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _label_scores(scores: JsonObject) -> list[str]:
    """The scores of labels that are not one class a sample, in words."""
    if scores["label_kind"] == "regression":
        names = [("mae", "mean absolute error"), ("r2", "R²"), ("spearman", "rank correlation")]
        names = names[len(scores["per_output"]) > 1 :]  # a mean over several outputs has no unit
        return [f"{words} {_short(scores[key])}" for key, words in names]
    if scores["label_kind"] == "multi":
        chosen = " (thresholds chosen here)" if scores["thresholds_chosen_here"] else ""
        return [
            f"mean average precision {percent(scores['mean_average_precision'])}",
            f"F1 {percent(scores['f1_micro'])} micro, {percent(scores['f1_macro'])} macro{chosen}",
        ]
    return [
        f"top-1 {percent(scores['top1'])}",
        f"off by {scores['mae']:.2f} classes",
        f"quadratic kappa {scores['quadratic_kappa']:.3f}",
    ]


def print_scores(scores: JsonObject) -> None:
    """Prints the few numbers everyone looks for."""
    if "explained_variance" in scores:
        explained = percent(scores["explained_variance"])
        shares = f"loss {scores['loss']:.4f}, {explained} of the variance of masked patches explained"
        say()
        say(f"{scores['count']:,} held-out {samples_of(scores)}: {shares}")
        if "nearest_neighbours" in scores:
            known = scores.get("trained_on")
            source = f"{known:,} training {samples_of(scores)}" if known else "the other half of them"
            say(
                f"Classes predicted from the encoder's features, from {source}: nearest neighbours "
                f"{percent(scores['nearest_neighbours'])}, linear probe {percent(scores['linear_probe'])}"
            )
        return
    if "distance" in scores:
        print_distances(scores)
        return
    if "label_kind" in scores:
        reached = [*_label_scores(scores), f"loss {scores['loss']:.4f}"]
    else:
        reached = [f"top-1 {percent(scores['top1'])}"]
        reached += [f"{row['level']} top-1 {percent(row['top1'])}" for row in scores.get("levels", [])[-2::-1]]
        if len(scores["classes"]) > 5:  # with fewer, all classes are among the first five
            reached.append(f"top-5 {percent(scores['top5'])}")
        counts = scores.get("training_counts", [])
        if counts and max(counts) > min(counts):
            reached.append(f"balanced accuracy {percent(scores['balanced_accuracy'])}")
        reached += [f"loss {scores['loss']:.4f}", f"calibration error {percent(scores['calibration_error'])}"]
    if scores.get("auroc") is not None:
        reached.append(f"AUROC {percent(scores['auroc'])}")
    say()
    part = scores.get("evaluated_on", "held-out")
    say(f"{scores['count']:,} {part} {samples_of(scores)}: {', '.join(reached)}")
    if scores.get("mistake_severity") is not None:
        say(
            f"Mistakes are {scores['mistake_severity']:.2f} of {len(scores['levels'])} levels off on average "
            f"(1: only the {scores['levels'][-1]['level']} is wrong)"
        )
    if "finetuning" in scores:
        found = scores["finetuning"]
        say(found["sentence"])
        if found["delivered"]:
            say(f"On the held-out ones frozen features have top-1 {percent(found['held_out_frozen'])}.")
    if "views" in scores and "multiply_adds" in scores:
        time, space = scores["views"]
        one = in_billions(scores["multiply_adds"])
        say(f"Cost of a clip: {one} multiply-adds x {space} x {time} views (space, time)")
    found = scores.get("explanations")
    if found:
        say(
            f"GradCAT on {found['mosaics']} mosaics of four digits: the right quadrant for "
            f"{percent(found['quadrant_hits'])} of {found['asked']:,} digits (chance 25 %; with the sign flipped "
            f"{percent(found['flipped_sign'])}); for digits alone on their canvas "
            f"{percent(found['single_object_hits'])}"
        )


def samples_of(scores: JsonObject) -> str:
    """What was counted: images or clips."""
    return scores.get("sample_kind", "images")


def print_distances(scores: JsonObject) -> None:
    """How far generated images are from real ones, and what is wrong with them, if anything."""
    halves = scores["distance_of_halves"]
    usual = "" if halves is None else f" (between halves of the real ones {three_digits(halves)})"
    against = f"{scores['reference_count']:,} {scores['split'].replace('held out', 'held-out')} images"
    lines = [
        f"{scores['measure']}: {three_digits(scores['distance'])} from {against}{usual}",
        f"precision {percent(scores['precision'])}, recall {percent(scores['recall'])}",
        f"diversity {scores['diversity']:.2f} and distinctness {scores['distinctness']:.2f} of real images",
    ]
    if "kernel_distance" in scores:
        lines.insert(1, f"{scores['kernel_measure']}: {scores['kernel_distance']:.3g} from held-out images")
    if "recognised" in scores:
        lines.append(f"recognised as the class that was asked for: {percent(scores['recognised'])}")
    if "warning" in scores:
        lines.append(f"warning: {scores['warning']}")
    say()
    say(f"{scores['count']:,} generated images:")
    for line in lines:
        say(f"  {line}")


def print_confusions(matrix: list[list[int]], classes: list[str]) -> None:
    """The most frequent mistakes, ten at most."""
    from hvit.metrics.classification import commonest_mistakes

    rows = [(str(count), classes[truth], classes[guess]) for truth, guess, count in commonest_mistakes(matrix, 10)]
    if rows:
        print_table(["mistakes", "class", "predicted as"], rows)


def print_folds(scores: JsonObject, folder: Path) -> None:
    """The scores over all folds of a cross-validation, and where they are."""
    from hvit.report.folds import key_of, written

    (low, high), (key, called) = scores["interval"], key_of(scores)
    each = ", ".join(written(key, one[key]) for one in scores["folds"])
    say()
    say(
        f"{scores['count']:,} samples, each predicted by the run that did not train on it: "
        f"{'top-1' if key == 'top1' else called} {written(key, scores[key])}, 95 % interval "
        f"{f'{low:.3f}' if key == 'r2' else f'{100 * low:.1f}'} to {written(key, high)}"
    )
    say(f"Folds: {each}; mean {written(key, scores['mean_of_folds'])}")
    say()
    say(f"The predictions: {folder / OUT_OF_FOLD}")
    say(f"The report: {folder / 'report.html'}")


def print_report(folder: Path, scores: JsonObject) -> None:
    """Prints where the results of a run are, and what can be done with them next."""
    name = shlex.quote(str(folder))
    if "distance" in scores:
        following = f"hvit generate {name}"
    elif "explained_variance" in scores:
        following = f"hvit train RECIPE --weights {name}"
    else:
        following = f"hvit predict {name} FILES, or hvit explain {name} FILE"
    say()
    say(f"The report: {folder / 'report.html'}")
    say(f"The weights: {folder / WEIGHTS}")
    say(f"Next: {following}")
