"""What a tree by block Shapley shows, in sentences for a reader who knows the images and not the method."""

from __future__ import annotations

from collections.abc import Callable

from hvit.explain.tree import Prediction, Tree
from hvit.explain.words import percent

NameOf = Callable[[int], str]
COLOURS = "Blocks in blue made this answer more likely, blocks in red less."
NOTHING = "No block stands out."


def predicted(prediction: Prediction, name_of: NameOf) -> str:
    """A class and its probability, such as "parachute (88.0 %)"."""
    return f"{name_of(prediction.class_index)} ({percent(prediction.probability)})"


def without_words(tree: Tree, name_of: NameOf) -> str:
    """What the model would predict without the block at which the drawn path ends; or that none stands out."""
    steps = len(tree.clear_path)
    if tree.removal is None or not steps:
        return NOTHING
    prediction = tree.removal.without[steps - 1]
    if prediction.words:
        return f"Without the framed block: {prediction.words}."
    still = " still" if prediction.class_index == tree.class_index else ""
    return f"Without the framed block the model would{still} say {predicted(prediction, name_of)}."


def before_words(tree: Tree, name_of: NameOf) -> str:
    """What the model predicts before it sees anything of the image; nothing for other methods."""
    if tree.removal is None:
        return ""
    before = tree.removal.before
    return f"before seeing the image: {before.words or predicted(before, name_of)}"


def method_words(tree: Tree) -> str:
    """How the values came about, in one sentence; nothing for other methods."""
    if tree.removal is None:
        return ""
    gone = {"exchanged": f"are replaced by {tree.removal.baseline}", "removed": "are not shown to the model"}
    return (
        f"Shapley values: blocks {gone[tree.removal.absent]} in many combinations, and a block's value is "
        f"how much the logit of the class rises on average when the block is added ({tree.removal.form}; the work of "
        f"{tree.removal.passes:.0f} predictions)."
    )


def namer(names: tuple[str, ...], trees: list[Tree], class_names: tuple[str, ...] = ()) -> NameOf:
    """The names of classes: of the explained ones (one per tree), of all if they are given, else their numbers."""
    known = {tree.class_index: name for tree, name in zip(trees, names, strict=True)}

    def name_of(index: int) -> str:
        return known.get(index) or (class_names[index] if index < len(class_names) else f"class {index}")

    return name_of
