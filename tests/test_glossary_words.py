"""The words of the documentation are the field's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import glossary_words


@pytest.mark.parametrize("place", ["docs", "README"])
def test_no_page_uses_a_word_that_the_glossary_replaced(place: str) -> None:
    found = [
        f"{file.name}: {word} -> {glossary_words.WORDS[word][1]}: {text}"
        for file in glossary_words.files(glossary_words.ROOT, place)
        for word, text in glossary_words.uses(file)
    ]
    assert not found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The hidden\n    patches are told.", ["told, tells", "hidden patches or units"]),
        ("Tell glibc to keep it; a video player plays `walks`.", []),
        ("The commonest mistakes, left out.", ["left out", "commonest"]),
    ],
)
def test_a_word_is_found_across_lines_and_not_in_code(text: str, words: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    assert [word for word, _ in glossary_words.uses(page)] == words
