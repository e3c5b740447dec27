"""Claims about names in a run folder: files of steps come in their order, and old names of values are known."""

from __future__ import annotations

import re
from pathlib import Path

from hvit import run_names
from hvit.run_names import picture_file, step_file, step_files, with_present_keys

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hvit"


def test_files_of_steps_come_in_their_order_and_others_are_none(tmp_path: Path) -> None:
    for name in (step_file(10, "png"), step_file(9, "png"), step_file(2_000_000_000, "png"), "step_1.txt", "x.png"):
        (tmp_path / name).touch()
    assert [step for step, _ in step_files(tmp_path, "png")] == [9, 10, 2_000_000_000]
    assert step_files(tmp_path / "missing", "png") == []


def test_pictures_have_their_folder() -> None:
    assert picture_file("samples") == "pictures/samples.png"


def test_values_with_another_name_now_are_renamed_and_others_stay() -> None:
    assert with_present_keys({"explained": 1, "loss": 2}) == {"explained_variance": 1, "loss": 2}


def test_no_other_file_spells_the_names_of_files_in_a_run() -> None:
    names = [value for value in vars(run_names).values() if isinstance(value, str) and re.fullmatch(r"\w+\.\w+", value)]
    assert "recipe.json" in names
    spelled = [
        f"{path.relative_to(SOURCE)}: {name}"
        for path in sorted(SOURCE.rglob("*.py"))
        for name in names
        if path.name != "run_names.py" and f'"{name}"' in path.read_text(encoding="utf-8")
    ]
    assert spelled == []
