"""The verb `completion` of the command line: scripts with which shells complete verbs, options and values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import tyro

from hvit.cli import experiments as experiments_cli
from hvit.cli.app import AppArguments
from hvit.cli.arguments import options_of, parse
from hvit.cli.benchmark import BenchmarkArguments
from hvit.cli.compare import CompareArguments
from hvit.cli.convert import ConvertArguments
from hvit.cli.embed import EmbedArguments, NeighboursArguments
from hvit.cli.explain import ExplainArguments
from hvit.cli.export import ExportArguments
from hvit.cli.generate import GenerateArguments
from hvit.cli.inference import EvaluateArguments, PredictArguments
from hvit.cli.listing import ModelsArguments, RecipesArguments
from hvit.cli.plan import PlanArguments
from hvit.cli.probe import ProbeArguments
from hvit.cli.push import PushArguments
from hvit.cli.runs import DemoArguments, ReportArguments, ResumeArguments
from hvit.cli.shards import ShardsArguments


@dataclass(frozen=True)
class CompletionArguments:
    """Prints the script with which a shell completes hvit's verbs, options and values.

    bash: hvit completion bash > ~/.local/share/bash-completion/completions/hvit

    zsh: hvit completion zsh > a file named _hvit in a folder of $fpath

    fish: hvit completion fish > ~/.config/fish/completions/hvit.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell."""


# The arguments of each verb; a verb with actions has those of each action. `train` depends on the recipe, and so do
# further arguments of `plan`.
ARGUMENTS: dict[str, type | dict[str, type]] = {
    "demo": DemoArguments,
    "models": ModelsArguments,
    "recipes": RecipesArguments,
    "plan": PlanArguments,
    "probe": ProbeArguments,
    "resume": ResumeArguments,
    "shards": ShardsArguments,
    "evaluate": EvaluateArguments,
    "predict": PredictArguments,
    "explain": ExplainArguments,
    "convert": ConvertArguments,
    "push": PushArguments,
    "export": ExportArguments,
    "app": AppArguments,
    "generate": GenerateArguments,
    "embed": EmbedArguments,
    "neighbours": NeighboursArguments,
    "benchmark": BenchmarkArguments,
    "report": ReportArguments,
    "compare": CompareArguments,
    "experiments": {name: arguments for name, (arguments, _) in experiments_cli.ACTIONS.items()},
    "completion": CompletionArguments,
}
_SAFE = re.compile(r"[\w.:,/+#*-]+")  # what needs no quotes in any of the three shells


def completion(rest: list[str]) -> None:
    """prints a script that completes commands in bash, zsh or fish"""
    arguments = parse(CompletionArguments, "hvit completion", rest)
    print({"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell](words_of_verbs()))


@dataclass(frozen=True)
class Words:
    """What may follow `hvit VERB`: words (recipes, actions), and the values of every option; none: files, free text."""

    first: tuple[str, ...]
    options: dict[str, tuple[str, ...]]


def words_of_verbs() -> dict[str, Words]:
    from hvit.recipes import get_recipe, list_recipes

    found = {"train": Words(tuple(list_recipes()), {"--out": (), "--dry-run": (), "--help": ()})}
    for name in list_recipes():  # kinds of models have options of their own; all of them are offered
        recipe = get_recipe(name)
        found["train"].options.update(_options(type(recipe), recipe))
    for verb, arguments in ARGUMENTS.items():
        actions = arguments if isinstance(arguments, dict) else {}
        kinds = list(actions.values()) if isinstance(arguments, dict) else [arguments]
        options = {"--help": ()}
        for kind in kinds:
            options |= _options(kind, None)
        found[verb] = Words(tuple(actions), options)
    of_recipes = found["train"].options
    found["plan"] = Words(found["train"].first, {**of_recipes, **found["plan"].options})
    for option in ("--out", "--dry-run"):
        found["plan"].options.pop(option)
    return dict(sorted(found.items()))


def _options(kind: type, value: object) -> dict[str, tuple[str, ...]]:
    named = options_of(kind, value)
    return {f"--{name.replace('_', '-')}": _choices(hint) for name, (hint, _) in named.items()}


def _choices(hint: object) -> tuple[str, ...]:
    """The values that a type allows, where they can be listed."""
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return tuple(str(part) for part in parts if _SAFE.fullmatch(str(part)))
    if hasattr(hint, "__metadata__"):
        return _choices(parts[0])
    if get_origin(hint) in (Union, UnionType, tuple):
        return tuple(dict.fromkeys(choice for part in parts for choice in _choices(part)))
    return ()


def bash(verbs: dict[str, Words]) -> str:
    """The script for bash."""
    lines = [
        "# Completes hvit in bash; made by `hvit completion bash`.",
        "_hvit() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        "    COMPREPLY=()",
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        COMPREPLY=($(compgen -W "{" ".join(verbs)} --help --version" -- "$word")); return',
        "    fi",
        '    case "${COMP_WORDS[1]} $before" in',
    ]
    for verb, words in verbs.items():
        for option, values in words.options.items():
            if values:
                lines.append(f'        "{verb} {option}") words="{" ".join(values)}" ;;')
    lines += ["    esac", '    if [ -z "$words" ]; then', '        case "${COMP_WORDS[1]}" in']
    for verb, words in verbs.items():
        lines.append(
            f'            {verb}) if [[ "$word" == -* ]]; then words="{" ".join(words.options)}"; '
            f'elif [ "$COMP_CWORD" -eq 2 ]; then words="{" ".join(words.first)}"; fi ;;'
        )
    lines += ["        esac", "    fi", '    COMPREPLY=($(compgen -W "$words" -- "$word"))', "}",
              "complete -o default -F _hvit hvit"]  # fmt: skip
    return "\n".join(lines)


def zsh(verbs: dict[str, Words]) -> str:
    """The script for zsh, which reads that of bash."""
    head = ["#compdef hvit", "# Completes hvit in zsh; made by `hvit completion zsh`.",
            "autoload -U +X bashcompinit && bashcompinit"]  # fmt: skip
    return "\n".join([*head, *bash(verbs).splitlines()[1:]])


def fish(verbs: dict[str, Words]) -> str:
    """The script for fish."""
    lines = [
        "# Completes hvit in fish; made by `hvit completion fish`.",
        f'complete -c hvit -n __fish_use_subcommand -f -a "{" ".join(verbs)}"',
    ]
    for verb, words in verbs.items():
        on = f'-n "__fish_seen_subcommand_from {verb}"'
        if words.first:
            lines.append(f'complete -c hvit {on} -a "{" ".join(words.first)}"')
        for option, values in words.options.items():
            given = f' -x -a "{" ".join(values)}"' if values else ""
            lines.append(f"complete -c hvit {on} -l {option.removeprefix('--')}{given}")
    return "\n".join(lines)
