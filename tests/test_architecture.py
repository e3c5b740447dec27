"""The structure of the package holds: no circles of imports, every file says what it is for, no file is a hall."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture import circles, imports, longest, modules


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(imports()) == []


def test_a_circle_would_be_found(tmp_path: Path) -> None:
    package = tmp_path / "hvit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from hvit import two\n")
    (package / "two.py").write_text("def late() -> None:\n    from hvit.three import anything\n")
    (package / "three.py").write_text("import hvit.one\n")
    assert circles(imports(tmp_path)) == [["hvit.one", "hvit.three", "hvit.two"]]


def test_every_file_says_in_its_first_line_what_it_is_for() -> None:
    silent = [
        name for name, path in modules().items() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_no_file_is_longer_than_its_subject_needs() -> None:
    # Longer files have one subject each; a new one has to be split or to argue its place here.
    assert [(lines, name) for lines, name in longest(count=200) if lines > 540] == []
