"""What a report shows of a review: copies, doubtful labels with their explanations, and nothing of a damaged one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hvit.errors import UserError
from hvit.report import write_report
from hvit.run_names import REVIEW, REVIEW_FILE
from tests.report.runs import HOSTILE, Page, make_run

REVIEW_OF_TWO: dict[str, Any] = {
    "images": 20,
    "num_pairs": 2,
    "across_parts": 1,
    "num_label_errors": 1,
    "model": "nest_micro_32",
    "pairs": [
        {
            "kind": "mirrored", "distance": 0.012, "across_parts": True, "pictures": ["image_1.jpg", "image_2.jpg"],
            "first": {"file": HOSTILE, "part": "train", "class": "cat"},
            "second": {"file": "b.png", "part": "held_out", "class": "cat"},
        }
    ],
    "label_errors": [
        {
            "file": "c.png", "part": "train", "class": "cat", "predicted": HOSTILE, "probability": 0.03,
            "picture": "image_1.jpg", "explanation": ["explanation_1.jpg", "explanation_1_dark.jpg"],
        }
    ],
}  # fmt: skip


def reviewed(folder: Path, review: dict[str, Any]) -> Path:
    run = make_run(folder)
    (run / REVIEW).mkdir()
    (run / REVIEW / REVIEW_FILE).write_text(json.dumps(review))
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "JPEG")
    for name in ("image_1.jpg", "image_2.jpg", "explanation_1.jpg", "explanation_1_dark.jpg"):
        (run / REVIEW / name).write_bytes(picture.getvalue())
    return run


def test_copies_and_doubtful_labels_are_shown_and_open_explanations(tmp_path: Path) -> None:
    page = Page(reviewed(tmp_path / "run", REVIEW_OF_TWO))
    assert "What is in the data" in page.text
    assert "2 pairs of images are nearly the same, 1 of them in different parts of the data" in page.text
    assert "mirrored (distance 0.012)" in page.text
    assert "1 label is probably wrong" in page.text
    assert "3.0 %" in page.text.replace("\u202f", " ").replace("\u00a0", " ")
    assert [tag for tag, _ in page.tags].count("details") == 1
    assert "script" not in [tag for tag, _ in page.tags]
    sources = [fields["src"] for tag, fields in page.tags if tag == "img"]
    assert all(source.startswith("data:") for source in sources)


def test_a_run_without_a_review_has_no_such_section_and_missing_pictures_are_passed_over(tmp_path: Path) -> None:
    assert "What is in the data" not in Page(make_run(tmp_path / "plain")).text
    run = reviewed(tmp_path / "run", REVIEW_OF_TWO)
    for path in (run / REVIEW).glob("*.jpg"):
        path.unlink()
    (run / REVIEW / "image_1.jpg").symlink_to(tmp_path / "plain" / "recipe.json")
    assert "mirrored" in Page(run).text


@pytest.mark.parametrize(
    "change", [{"pairs": 3}, {"num_pairs": -1}, {"label_errors": [{"file": "x", "picture": "../../secret.jpg"}]}]
)
def test_a_damaged_review_is_one_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"review\.json is damaged"):
        write_report(reviewed(tmp_path / "run", REVIEW_OF_TWO | change))


def test_long_names_in_what_opens_may_break_on_a_phone(tmp_path: Path) -> None:
    page = Page(reviewed(tmp_path / "run", REVIEW_OF_TWO))
    assert ", summary { overflow-wrap: anywhere; }" in page.source
