"""What is stored of the recipes is what they say, and names are listed without loading torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hvit.recipes import get_recipe, header, list_recipes, named_recipes
from hvit.recipes.headers import stored
from tests.recipe_headers import PATH, headers


def test_what_is_stored_is_what_the_recipes_say() -> None:
    assert PATH.read_text(encoding="utf-8") == headers(), "python -m tests.recipe_headers --write"
    assert list(stored()) == list_recipes() == list(named_recipes())
    for name in list_recipes():
        assert header(name) == named_recipes()[name].header
        assert stored()[name].data == get_recipe(name).data.kind


# fork: so that one start of Python serves every command.
QUICK = """
import os, sys
from hvit.cli.main import main
from hvit.cli.completion import ARGUMENTS
slow = []
commands = [[verb, "--help"] for verb in ARGUMENTS] + [
    ["recipes"], ["recipes", "nest*"], ["recipes", "photos"], ["recipes", "--json"], ["recipes", "nowhere"], ["models"],
    ["train"], ["train", "--help"], ["train", "nowhere"], ["plan"], ["plan", "nowhere"], ["--version"], [], ["nowhere"],
]
for words in commands:
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        try:
            main(words)
        except SystemExit:
            pass
        os._exit("torch" in sys.modules)
    if os.waitpid(child, 0)[1]:
        slow.append(words)
print(len(commands))
sys.exit(str(slow) if slow else 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_help_lists_and_unknown_names_do_not_wait_for_torch() -> None:
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
