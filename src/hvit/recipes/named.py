"""A named run: a recipe and its header, which says what it claims, costs and gave here."""

from __future__ import annotations

from dataclasses import dataclass

from hvit.data.open import CifarData, ClipData
from hvit.models.masked.config import MaskedConfig
from hvit.recipe import Recipe
from hvit.recipes.headers import Header

RUN_HERE, TWO_STEPS = "yes", "two steps only"
"""How much of a recipe was run here. The numbers are in docs/results; the two steps are those of the tests, which take
a shrunk recipe."""
BFLOAT16 = "bfloat16 on a GPU, where the authors use"
"""A departure of nearly all published recipes, to be followed by the authors' type of number."""


@dataclass(frozen=True)
class Named:
    """A recipe and its header."""

    recipe: Recipe
    header: Header


def named(
    recipe: Recipe,
    *,
    claim: str,
    cost: str,
    expected: str,
    source: str = "ours",
    run_here: str = TWO_STEPS,
    departures: str = "",
    options: str = "--data.root DIR",
    start: str = "hvit",
) -> Named:
    """A recipe with its header. start: what the command begins with; options: what follows the name in it."""
    command = f"{start} train {recipe.name} {options}".strip()
    return Named(recipe, Header(recipe.summary, claim, command, cost, expected, source, run_here, departures))


def published(recipe: Recipe, *, gmac: str, **said: str) -> Named:
    """A recipe of a paper, with its header: command and cost follow from the recipe.

    gmac: thousands of millions of multiply-adds for an image or clip.
    """
    data, is_masked = recipe.data, isinstance(recipe.model, MaskedConfig)
    inputs, machine = ("clips", "many GPUs") if isinstance(data, ClipData) else ("images", "several GPUs")
    start, options = "torchrun --nproc-per-node 8 -m hvit", "--data.root DIR"
    if isinstance(data, ClipData) and data.sampling == "segments":  # Something-Something has lists, not class folders
        options += " --data.train-list FILE" if is_masked else " --data.train-list FILE --data.held-out-list FILE"
    if recipe.weights is not None:
        options += " --weights FILE"
    if isinstance(data, CifarData):
        start, machine = "hvit", "a GPU"
    else:
        options += " --out DIR"  # which the processes share
    work = f"{recipe.loop.epochs:,} epochs of {gmac} GMAC {inputs}{' (and their gradients)' if is_masked else ''}"
    return named(recipe, cost=f"not measured; {work}, for {machine}", start=start, options=options, **said)
