"""Claims about the sentences below a tree of block Shapley: what the model predicts without blocks."""

from __future__ import annotations

from hvit.explain.captions import before_words, method_words, namer, without_words
from tests.explain.drawing.trees import grow, grow_removed


def test_captions_name_what_the_model_predicts_without_a_block_and_before_it_sees_the_image() -> None:
    tree = grow_removed(seed=0, clear=1)
    name_of = namer(("dog",), [tree], ("a", "b", "c", "wolf"))
    assert without_words(tree, name_of) == "Without the framed block the model would say wolf (40.0 %)."
    assert before_words(tree, name_of) == "before seeing the image: class 7 (88.0 %)"
    assert without_words(grow_removed(0, clear=2), name_of).endswith("would still say dog (50.0 %).")
    assert without_words(grow_removed(0, clear=0), name_of) == "No block stands out."


def test_the_method_is_one_sentence_that_names_the_baseline_and_what_is_exact() -> None:
    words = method_words(grow_removed())
    assert words.count(".") == 1
    assert "the image's mean colour" in words
    assert "exact for all blocks; the work of 464 predictions" in words
    assert method_words(grow(2)) == before_words(grow(2), str) == ""
