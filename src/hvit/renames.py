"""Names of recipe fields and options that changed: the old ones are still read.

A row is added where a public field, one of its values, or an option of the command line gets another name. Fields go by
their own name, wherever they stand in a recipe or in the configuration of a weights file.
"""

from __future__ import annotations

import json
from typing import Any

FIELDS = {"consistency_variations": "consistency_augment", "masking": "encoding"}
"""Fields of recipes and model configurations: old name -> new name."""
VALUES: dict[str, dict[str, str]] = {"encoding": {"keep": "sparse", "fill": "dense"}}
"""Values of fields, by the field's present name: old value -> new value."""
OPTIONS = {"walks": "interpolations"}
"""Options of the command line that belong to no recipe: old name -> new name."""


def rename(tree: Any) -> tuple[Any, list[str]]:
    """A tree of JSON values with present names, and a phrase for each name that was replaced.

    An object with both an old name and the new one stays as it is, so that the old one is refused as unknown.
    """
    if isinstance(tree, list):
        parts = [rename(part) for part in tree]
        return [part for part, _ in parts], [phrase for _, phrases in parts for phrase in phrases]
    if not isinstance(tree, dict):
        return tree, []
    found: dict[str, Any] = {}
    replaced: list[str] = []
    for old, value in tree.items():
        present = FIELDS.get(old)
        name: str = old if present is None or present in tree else present
        if name != old:
            replaced.append(f"{old} is now {name}")
        if isinstance(value, str) and value in VALUES.get(name, {}):
            replaced.append(f"{name} {value} is now {VALUES[name][value]}")
            value = VALUES[name][value]
        found[name], phrases = rename(value)
        replaced += phrases
    return found, replaced


def rename_json(text: str | bytes) -> tuple[str | bytes, list[str]]:
    """The same for a JSON text; what is no JSON, or has no old name, is returned unchanged."""
    try:
        tree, replaced = rename(json.loads(text))
    except (ValueError, RecursionError):
        return text, []  # refused by whoever reads it
    return (json.dumps(tree), replaced) if replaced else (text, [])
