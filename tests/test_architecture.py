"""The structure holds: no circles of imports, every file says what it is for and has tests, and no file is a hall."""

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


WITHOUT_A_MIRROR = {
    "experiments/aggregation.py", "experiments/augmentation.py", "experiments/data_efficiency.py",
    "experiments/higher_resolution.py", "experiments/long_runs.py", "experiments/masking.py", "experiments/rivals.py",
    "experiments/structure.py",
}  # fmt: skip
"""Tables of runs and claims without a computation; tests/experiments/test_experiments.py holds all of them to the same
rules."""


def without_tests(source: Path, tests: Path) -> list[str]:
    """Source files a/b.py, as seen from their folder, that have no tests a/test_b.py."""
    files = sorted(path.relative_to(source) for path in source.rglob("*.py") if path.name != "__init__.py")
    return [str(file) for file in files if not (tests / file.parent / f"test_{file.name}").is_file()]


def test_every_source_file_is_mirrored_by_a_test_file() -> None:
    tests = Path(__file__).parent
    lacking = without_tests(tests.parent / "src" / "hvit", tests)
    assert [name for name in lacking if name not in WITHOUT_A_MIRROR] == [], "each a/b.py needs tests/a/test_b.py"
    assert set(lacking) >= WITHOUT_A_MIRROR, "exceptions that have a mirror, or are gone"


def test_a_source_file_without_tests_would_be_found(tmp_path: Path) -> None:
    for name in ("src/a/b.py", "src/a/c.py", "src/a/__init__.py", "src/d.py", "tests/a/test_b.py", "tests/test_c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert without_tests(tmp_path / "src", tmp_path / "tests") == ["a/c.py", "d.py"]
