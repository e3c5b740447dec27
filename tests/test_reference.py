"""The page of the Python API: every public name is on it and has a docstring."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import hvit
import hvit.explain

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "python.md"
PUBLIC = [f"{module.__name__}.{name}" for module in (hvit, hvit.explain) for name in module.__all__]
SHOWN = re.findall(r"^::: ([\w.]+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def docstring(path: str) -> str | None:
    """The docstring that stands in the source under a public name, as the page shows it."""
    module, _, name = path.rpartition(".")
    home = getattr(getattr(importlib.import_module(module), name), "__module__", None)
    for source in [home] if home and home.startswith("hvit") else _modules_of(module):
        body = ast.parse(Path(str(importlib.import_module(source).__file__)).read_text(encoding="utf-8")).body
        for statement, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name == name:
                return ast.get_docstring(statement)
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                text = after.value if isinstance(after, ast.Expr) else None
                return text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else None
    return None


def _modules_of(package: str) -> list[str]:
    """The modules that a package imports names from: values that are no functions do not know theirs."""
    body = ast.parse(Path(str(importlib.import_module(package).__file__)).read_text(encoding="utf-8")).body
    return [statement.module for statement in body if isinstance(statement, ast.ImportFrom) and statement.module]


def test_the_page_shows_every_public_name_once() -> None:
    assert sorted(SHOWN) == sorted(name for name in PUBLIC if name != "hvit.explain")


@pytest.mark.parametrize("name", SHOWN)
def test_every_public_name_has_a_docstring(name: str) -> None:
    text = docstring(name)
    assert text, "it has no docstring"
    assert text.split("\n\n")[0].rstrip().endswith((".", ":")), "its first paragraph is no sentence"
