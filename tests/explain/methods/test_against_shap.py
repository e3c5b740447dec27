"""Owen values are those of shap's PartitionExplainer on a binary tree: an outside check, where shap is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hvit.explain.methods.coalitions import Path, coalitions, contexts, divide, nodes_above

ARITIES = (2, 2, 2)
# Rows are clusters, as scipy's linkage has them: two parts, a distance, and a number of leaves. The leaves are 0 to 7.
TREE = np.array(
    [[0, 1, 1, 2], [2, 3, 1, 2], [4, 5, 1, 2], [6, 7, 1, 2], [8, 9, 2, 4], [10, 11, 2, 4], [12, 13, 3, 8]], dtype=float
)


def owen_values(worth: np.ndarray) -> np.ndarray:
    """The values of the leaves of a game (2^8 coalitions, outputs): (8, outputs)."""
    found: dict[Path, Any] = {}
    for node in nodes_above(ARITIES, 2):
        around = contexts(node, ARITIES)
        rows = coalitions(node, ARITIES, around)
        division = divide(worth[np.array(rows)], [one.weight for one in around])
        found |= {(*node, child): division.values[child] for child in range(2)}
    return np.stack([found[leaf] for leaf in nodes_above(ARITIES, 3)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_owen_values_are_those_of_shap() -> None:
    shap = pytest.importorskip("shap", reason="shap is not installed", exc_type=ImportError)
    worth = np.random.default_rng(0).normal(size=(256, 3))

    def model(rows: np.ndarray) -> np.ndarray:
        return worth[(rows.astype(int) << np.arange(8)).sum(1)]

    masker = shap.maskers.Partition(np.zeros((1, 8)), clustering=TREE)
    explainer = shap.PartitionExplainer(model, masker)
    explained = explainer(np.ones((1, 8)), max_evals=10_000, fixed_context=None, silent=True)
    assert owen_values(worth) == pytest.approx(explained.values[0], abs=1e-9)
    assert owen_values(worth).sum(0) == pytest.approx(worth[255] - worth[0])
