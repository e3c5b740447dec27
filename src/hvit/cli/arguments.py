"""Parses the arguments of a command; invalid ones are refused in one sentence, with a suggestion.

tyro parses; its errors become sentences here, and `--help` is `hvit.cli.help`. Unknown options are compared with those
that exist and with their names in other libraries; old names of hvit are replaced, with a warning.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from hvit import renames
from hvit.cli.help import EXAMPLES, print_help
from hvit.cli.printing import note
from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted

T = TypeVar("T")

# What a field is called in other libraries and papers, by the last part of an option.
_SYNONYMS = {
    "learning_rate_per_256": ("lr", "learning_rate", "base_lr", "blr", "base_learning_rate", "max_lr"),
    "final_learning_rate_per_256": ("min_lr", "final_lr", "lr_min", "eta_min", "end_lr"),
    "weight_decay": ("wd", "decay", "l2"),
    "warmup_epochs": ("warmup", "warm_up", "warmup_epoch"),
    "layer_decay": ("layer_wise_decay", "llrd", "lr_decay", "layerwise_decay"),
    "clip_norm": ("clip_grad", "grad_clip", "max_grad_norm", "gradient_clip_val", "max_norm", "clip"),
    "average_decay": ("ema", "ema_decay", "model_ema", "model_ema_decay"),
    "method": ("optimizer", "opt", "optim"),
    "betas": ("opt_betas", "beta", "adam_betas"),
    "epsilon": ("eps", "opt_eps", "adam_epsilon"),
    "epochs": ("epoch", "num_epochs", "max_epochs", "n_epochs", "num_train_epochs"),
    "batch_size": ("bs", "batch", "per_device_train_batch_size", "train_batch_size", "b"),
    "accumulate": ("accum_iter", "accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum"),
    "repeats": ("repeated_aug", "repeated_augmentation", "aug_repeats"),
    "keep": ("save_best", "save_best_only", "load_best_model_at_end", "best"),
    "patience": ("early_stopping", "early_stop", "early_stopping_patience", "patience_epochs"),
    "max_steps": ("steps", "num_steps", "total_steps", "iterations", "max_iters"),
    "precision": ("amp", "fp16", "bf16", "dtype", "mixed_precision"),
    "workers": ("num_workers", "j", "data_workers", "dataloader_num_workers"),
    "checkpoint_activations": ("grad_checkpointing", "gradient_checkpointing", "checkpointing"),
    "num_classes": ("nb_classes", "n_classes", "num_labels"),
    "input_size": ("img_size", "image_size", "size", "resolution", "res"),
    "in_channels": ("in_chans", "channels", "num_channels"),
    "drop_path": ("stochastic_depth", "drop_path_rate", "drop_path_prob"),
    "dims": ("embed_dim", "embed_dims", "hidden_size", "dim", "width"),
    "heads": ("num_heads", "n_heads", "num_attention_heads"),
    "depths": ("depth", "num_layers", "layers"),
    "mask_ratio": ("masking_ratio",),
    "root": ("data", "data_dir", "data_path", "dataset", "dir", "path", "data_root", "train_dir"),
    "val_fraction": ("val_split", "validation_split", "val_ratio", "val"),
    "label_smoothing": ("smoothing", "label_smooth"),
    "rand_augment": ("aa", "auto_augment", "randaugment", "autoaugment"),
    "erasing": ("reprob", "random_erasing", "random_erase", "re_prob"),
    "color_jitter": ("jitter", "colour_jitter"),
    "flip": ("hflip", "horizontal_flip"),
    "weights": ("pretrained", "checkpoint", "ckpt", "resume", "finetune", "init"),
    "out": ("output", "output_dir", "out_dir", "save_dir", "logdir", "o", "run"),
    "seed": ("random_seed", "manual_seed"),
    "top_k": ("topk", "k", "top"),
    "classes": ("class", "labels", "target", "targets"),
    "methods": ("method", "explainer"),
    "num": ("n", "count", "number", "num_samples", "samples"),
    "device": ("gpu", "cuda", "accelerator"),
    "fast": ("prepare", "compiled", "optimized"),
    "dry_run": ("dry", "plan", "print_plan"),
}
_VALUE_SYNONYMS = {"gpu": "cuda", "bf16": "bfloat16", "fp32": "float32", "adam": "adamw"}
_SQUARES = ("input_size", "patch_size", "output_size")


class _Field(Protocol):
    """What is used of tyro's field of a dataclass."""

    intern_name: str
    helptext: str | Callable[[], str | None] | None


class _Lowered(Protocol):
    """What is used of tyro's option as argparse has it."""

    name_or_flags: tuple[str, ...]


class _Argument(Protocol):
    """What is used of tyro's option."""

    field: _Field
    lowered: _Lowered


class _Missing(Protocol):
    """What is used of tyro's option that was not given."""

    arg: _Argument


class _Wrong(Protocol):
    """What is used of the errors that tyro finds; each kind has some of these."""

    tokens: Sequence[str]
    missing_arguments: Sequence[_Missing]
    value: object
    choices: Sequence[str]


def parse(kind: type[T], command: str, words: Sequence[str], default: T | None = None, example: str = "") -> T:
    """The words that follow a command, such as "hvit train", as a dataclass of this kind.

    default: what holds for options that are not given; nested dataclasses of it become dotted options. example: what
    `--help` shows; by default the one of `EXAMPLES`.
    Raises UserError for words that cannot be used; `--help` is printed, and ends the program with status 0.
    """
    if {"-h", "--help"} & set(words):
        print_help(kind, command, default, example or EXAMPLES.get(command.removeprefix("hvit "), ""))
        sys.exit(0)
    options = options_of(kind, default)
    words = _squares(_known(words, options, command), options)
    _refuse_words(words, options, command)
    if default is None:  # of a recipe, an empty list is a value
        _refuse_empty(words, options)

    def refuse(event: _Wrong) -> None:
        raise UserError(_sentence(event, command, options, words))

    with _on_error(refuse):
        ask = partial(tyro.cli, kind, prog=command, args=words, config=(tyro.conf.AvoidSubcommands,))
        return ask() if default is None else ask(default=default)


def _on_error(refuse: Callable[[_Wrong], None]) -> AbstractContextManager[object]:
    """Calls `refuse` with what tyro found wrong; a tyro without this hook prints its own message, with status 2."""
    hook = getattr(import_module("tyro._errors"), "on_parse_error", None)
    return hook(refuse) if hook else nullcontext()


def options_of(kind: type, value: object, prefix: str = "") -> dict[str, tuple[object, object]]:
    """Every option without its dashes, such as "loop.batch_size", with its type and the value it has now."""
    found: dict[str, tuple[object, object]] = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint, now = hints[field.name], getattr(value, field.name, field.default)
        marks = [str(mark) for mark in getattr(hint, "__metadata__", ())]
        if any("Positional" in mark for mark in marks):
            continue
        if is_dataclass(now):
            own = "" if any("name=''" in mark for mark in marks) else f"{field.name}."
            found |= options_of(type(now), now, prefix + own)
        else:
            found[prefix + field.name] = (hint, now)
    return found


def _known(words: Sequence[str], options: dict[str, tuple[object, object]], command: str) -> list[str]:
    """The same words, `--name=value` in two, old names replaced; refuses options that do not exist."""
    taken: list[str] = []
    for word in words:
        if not re.match(r"-(-|[^\W\d])", word):
            taken.append(word)
            continue
        name, equals, value = word.partition("=")
        plain = name.lstrip("-").replace("-", "_")
        group, dot, last = plain.rpartition(".")
        present = group + dot + {**renames.FIELDS, **renames.OPTIONS}.get(last, last)
        if name.startswith("--") and plain not in options and present in options:
            note(f"hvit: {name} is now {_dashed(present)}")
            name, plain = _dashed(present), present
        negated = re.sub(r"(^|\.)no_", r"\1", plain)
        if name not in ("-h", "--help") and not (
            name.startswith("--") and (plain in options or isinstance(options.get(negated, (None, None))[1], bool))
        ):
            raise UserError(f"there is no option {quoted(name)[1:-1]}{_suggested(name, options, command)}")
        taken += [name, value] if equals else [name]
    return [_present_value(taken, place, options) for place in range(len(taken))]


def _present_value(words: Sequence[str], place: int, options: Mapping[str, object]) -> str:
    """The word at a place, or its new name if it is an old value of the option before it."""
    option = _option_of(words, place - 1)
    present = renames.VALUES.get(option.rpartition(".")[2], {}).get(words[place]) if option in options else None
    if present is None:
        return words[place]
    note(f"hvit: {_dashed(option)} {words[place]} is now {present}")
    return present


def _suggested(name: str, options: Mapping[str, object], command: str) -> str:
    """The end of a sentence: which option was meant, or where all of them are listed."""
    given = name.lstrip("-").replace("-", "_").lower()[:100]
    group, _, last = given.rpartition(".")
    wanted = {last, *(field for field, others in _SYNONYMS.items() if last in others)}
    meant = [option for option in options if option.rpartition(".")[2] in wanted]
    meant.sort(key=lambda option: not (group and option.startswith(f"{group}.")))
    if len(meant) > 1 and group and meant[0].startswith(f"{group}."):
        meant = [option for option in meant if option.startswith(f"{group}.")]
    if meant:
        return "; did you mean " + " or ".join(map(_dashed, meant[:3])) + "?"
    by_last = {option.rpartition(".")[2]: option for option in reversed(list(options))}
    near = did_you_mean(given, options) or did_you_mean(last, by_last)
    if near:
        found = re.search(r"'(.*)'", near)
        assert found
        return f"; did you mean {_dashed(by_last.get(found[1], found[1]))}?"
    return f"; `{command} --help` lists them"


def _dashed(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _squares(words: list[str], options: dict[str, tuple[object, object]]) -> list[str]:
    """One number where a size of two or more is wanted stands for a square; of clips, the time stays."""
    written: list[str] = []
    for place, word in enumerate(words):
        written.append(word)
        name, now = _option_of(words, place - 1), None
        if name.rpartition(".")[2] in _SQUARES and name in options:
            now = options[name][1]
        is_last = place + 1 == len(words) or words[place + 1].startswith("--")
        if isinstance(now, tuple) and len(now) >= 2 and is_last and re.fullmatch(r"\d+", word, re.ASCII):
            written[-1:] = [*map(str, now[:-2]), word, word]
    return written


def _refuse_empty(words: Sequence[str], options: dict[str, tuple[object, object]]) -> None:
    """Refuses an option that takes several values and was given none."""
    for name, (hint, _) in options.items():
        flag = _dashed(name)
        is_given = any(word.replace("_", "-") == flag for word in words)
        if get_origin(hint) is tuple and is_given and not _values(words, flag):
            raise UserError(f"{flag} takes {_kind(hint)}; got none")


def _refuse_words(words: Sequence[str], options: dict[str, tuple[object, object]], command: str) -> None:
    """Refuses an empty word that would be a path, and so the current folder, and whole numbers of more than 64 bits."""
    option = ""
    for word in words:
        if word.startswith("--"):
            option = _option_of([word], 0)
            continue
        hint = options.get(option, (None, None))[0]
        is_path = Path in _types(hint) or hint is None or hint is bool
        if not word and is_path:
            place = _dashed(option) if option and hint is not bool else command
            raise UserError(f"{place} got an empty word where a name is wanted; is a variable of the shell not set?")
        if int in _types(hint) and str not in _types(hint) and _is_huge(word):
            raise UserError(f"{_dashed(option)} takes whole numbers below 2^63; got {quoted(word)}")
        if get_origin(hint) is not tuple:  # what follows is no value of this option
            option = ""


def _types(hint: object) -> set[object]:
    """The plain types that an option takes."""
    parts = [part for part in get_args(hint) if part is not Ellipsis]
    return set().union(*map(_types, parts)) if parts else {hint}


def _is_huge(word: str) -> bool:
    digits = re.fullmatch(r"\s*[+-]?([0-9_]{19,})\s*", word)
    return digits is not None and (len(digits[1]) > 40 or int(digits[1].replace("_", "")) >= 2**63)


def _option_of(words: Sequence[str], place: int) -> str:
    """The option that stands at a place, as `options_of` calls it; empty where there is none."""
    return words[place].removeprefix("--").replace("-", "_") if place >= 0 and words[place].startswith("--") else ""


def _sentence(event: _Wrong, command: str, options: dict[str, tuple[object, object]], words: Sequence[str]) -> str:
    """What tyro found wrong, in one sentence."""
    kind, help_line = type(event).__name__, f"`{command} --help` explains it"
    argument = getattr(event, "argument", None)
    name = _flag(argument) if argument is not None else ""
    if kind == "UnrecognizedArgs":
        word = event.tokens[0]
        before, equals, value = word.partition("=")
        if equals and any(before.replace("-", "_") in (one, one.rpartition(".")[2]) for one in options):
            return f"options start with two dashes; got {quoted(word)}{_suggested(before, options, command)}"
        return f"{quoted(word)} is one word too many; options start with two dashes, and {help_line}"
    if kind == "MissingArgs":
        field = event.missing_arguments[0].arg.field
        text = field.helptext() if callable(field.helptext) else field.helptext
        what = " ".join(str(text or "").split()).rstrip(".")
        return f"{command} needs {field.intern_name.upper()}: {what[:1].lower()}{what[1:]}; {help_line}"
    if kind == "InvalidChoice":
        value = _VALUE_SYNONYMS.get(str(event.value), str(event.value))
        near = did_you_mean(value, event.choices)
        return f"{name} must be one of {', '.join(event.choices)}; got {quoted(str(event.value))}{near}"
    if kind == "BadValue" or (kind == "InstantiationFailure" and argument is not None):
        got = _values(words, name)
        wanted = _kind(options.get(_option_of([name], 0), (None, None))[0])
        return f"{name} takes {wanted}; got {', '.join(map(quoted, got)) if got else 'none'}"
    message = " ".join(str(getattr(event, "message", "")).split())
    return message or f"these words cannot be used together ({kind}); {help_line}"


def _flag(argument: _Argument) -> str:
    names = argument.lowered.name_or_flags
    return names[0] if names and names[0].startswith("-") else argument.field.intern_name.upper()


def _values(words: Sequence[str], flag: str) -> list[str]:
    """What was given to an option, the last time it was."""
    places = [place for place, word in enumerate(words) if word.replace("_", "-") == flag.replace("_", "-")]
    if not places:
        return []
    rest = words[places[-1] + 1 :]
    end = next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))
    return list(rest[:end])


def _kind(hint: object) -> str:
    """What an option takes, in words."""
    while hasattr(hint, "__metadata__"):
        hint = get_args(hint)[0]
    parts, origin = get_args(hint), get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join("None" if part is type(None) else _kind(part) for part in parts)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        inner = _kind(parts[0]).removeprefix("a ").removeprefix("one of ")
        plural = inner if "," in inner else f"{inner}s"
        return plural if Ellipsis in parts else f"{len(parts)} {plural}"
    return {int: "a whole number", float: "a number", bool: "no value, or True or False"}.get(hint, "a value")


def check_paths(paths: tuple[Path, ...], remote: bool = False) -> None:
    """Refuses missing arguments and missing files, before weights are opened. remote: whether URLs are taken."""
    if not paths:
        raise UserError("name images, clips, or folders of them after the weights")
    from hvit.data.shards.copies import remote_place

    for path in paths:
        if remote_place(path) and not remote:
            raise UserError(
                f"{remote_place(path)} is a URL: only shards are read from another machine, with --parquet FOLDER"
            )
        if not path.exists() and not remote_place(path):
            raise UserError(f"cannot read {path}: there is no such file")


def check_at_least_one(**values: int) -> None:
    """Refuses options below 1."""
    for name, value in values.items():
        if value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be 1 or more; got {value}")
