"""Headers of the recipes as `hvit recipes` lists them: `python -m tests.recipe_headers --write` stores them anew."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import hvit.recipes
from hvit.recipes.headers import FILE

PATH = Path(hvit.recipes.__file__).with_name(FILE)


def headers() -> str:
    """The content of the file, from the recipes themselves."""
    rows = {
        name: {"data": one.recipe.data.kind, "header": asdict(one.header)}
        for name, one in hvit.recipes.named_recipes().items()
    }
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    PATH.write_text(headers(), encoding="utf-8")
