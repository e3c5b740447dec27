"""The package builds, holds what it needs, and is described truthfully."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two builds of the same files, made at two moments."""
    folders = [tmp_path_factory.mktemp("build") for _ in range(2)]
    for folder in folders:
        command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folders


def test_the_same_files_give_the_same_archives(builds: list[Path]) -> None:
    first, second = (
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()} for folder in builds
    )
    assert first == second
    assert {Path(name).suffix for name in first} == {".whl", ".gz"}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(builds: list[Path]) -> None:
    (wheel,) = builds[0].glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("hvit-")}
    tracked = subprocess.run(["git", "ls-files", "src/hvit"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert held >= {name.removeprefix("src/") for name in tracked.stdout.split() if (ROOT / name).exists()}
    assert "hvit/py.typed" in held
    assert not [name for name in held if not name.startswith("hvit/") or "__pycache__" in name]


def test_the_wheel_alone_runs(builds: list[Path], tmp_path: Path) -> None:
    (wheel,) = builds[0].glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    place = str(tmp_path)
    code = f"import sys; sys.path.insert(0, {place!r}); import hvit; assert hvit.__file__.startswith({place!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; from hvit.cli.main import main; main()", "models", "nest_tiny_224"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ImageNet-1K top-1 81.5" in done.stdout


def test_the_source_archive_holds_what_building_needs(builds: list[Path]) -> None:
    (archive,) = builds[0].glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "src/hvit/__init__.py"} <= names


def test_importing_hvit_loads_no_heavy_library() -> None:
    code = "import sys, hvit; print(sorted({'torch', 'timm', 'numpy', 'tyro', 'sklearn', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_dependency_has_its_licence_listed() -> None:
    rows = re.findall(
        r"^\| ([\w-]+) \| (?:everything|extra `(\w+)`) \|", (ROOT / "docs/reference/licences.md").read_text(), re.M
    )
    extras = {name: found for name, found in PROJECT["optional-dependencies"].items() if name not in ("dev", "docs")}
    wanted = {(_name(one), "") for one in PROJECT["dependencies"]}
    wanted |= {(_name(one), extra) for extra, found in extras.items() for one in found}
    assert set(rows) == wanted


def test_the_conda_recipe_asks_for_the_same_packages() -> None:
    recipe = (ROOT / "packaging" / "recipe.yaml").read_text(encoding="utf-8")
    assert f'version: "{PROJECT["version"]}"' in recipe
    runs_with = re.findall(r"^    - ([\w-]+)", recipe.partition("  run:\n")[2].partition("\ntests:")[0], re.MULTILINE)
    other_names = {"torch": "pytorch", "msgpack": "msgpack-python", "matplotlib": "matplotlib-base"}
    wanted = [_name(one) for one in PROJECT["dependencies"]]
    assert runs_with == ["python", *(other_names.get(name, name) for name in wanted)]


def test_the_container_copies_what_exists() -> None:
    lines = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return found[0]
