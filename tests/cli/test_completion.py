"""Shells complete what the command line knows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from hvit.cli.completion import ARGUMENTS
from hvit.cli.main import VERBS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    from hvit.cli.completion import bash, fish, words_of_verbs, zsh

    words = words_of_verbs()
    return {"bash": bash(words), "zsh": zsh(words), "fish": fish(words)}


def test_every_verb_is_completed() -> None:
    assert {"train", *ARGUMENTS} == set(VERBS)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["hvit", "expl"], ["explain"]),
        (["hvit", "train", "nest_micro_dig"], ["nest_micro_digits"]),
        (["hvit", "train", "photos", "--optimize.learning-rate-p"], ["--optimize.learning-rate-per-256"]),
        (["hvit", "plan", "hiera_large_imag"], ["hiera_large_imagenet_mae", "hiera_large_imagenet_finetune"]),
        (["hvit", "plan", "photos", "--node"], ["--node-bandwidth"]),
        (["hvit", "evaluate", "run", "--data", "fash"], ["fashion_mnist"]),
        (["hvit", "experiments", "stat"], ["status"]),
        (["hvit", "predict", "run", "--js"], ["--json"]),
        (["hvit", "predict", "run", "photo"], []),
    ],
)
def test_bash_offers(scripts: dict[str, str], typed: list[str], offered: list[str]) -> None:
    words = " ".join(f"'{word}'" for word in typed)
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _hvit; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", f"{scripts['bash']}\n{ask}"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_reads_its_script(scripts: dict[str, str], shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=scripts[shell], text=True, check=True, capture_output=True)


def test_a_script_is_printed_as_it_is(hvit: Run, scripts: dict[str, str]) -> None:
    status, printed, _ = hvit("completion", "bash")
    assert status == 0
    assert printed == scripts["bash"] + "\n"
