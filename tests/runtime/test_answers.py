"""Answers are printed safely."""

from __future__ import annotations

import json

from hvit.runtime.answers import answer_line, json_line, percent, ranked


def test_a_line_names_the_classes_in_order() -> None:
    answer = {"file": "a.jpg", "classes": ranked(["cat", "dog"], [0.75, 0.2500004], [3, 1]), "unsure": True}
    assert answer_line(answer) == "a.jpg: unsure  cat 75.0 %  dog 25.0 %"
    assert answer["classes"][1] == {"class": "dog", "index": 1, "probability": 0.25}
    assert percent(None) == "-"


def test_json_is_exact_and_commands_no_terminal() -> None:
    row = {"file": "ä\x1b[31m\u202e\U000e0001.jpg"}
    line = json_line(row)
    assert json.loads(line) == row
    assert not set(line) & set("\x1b\u202e\U000e0001")
    assert "ä" in line
