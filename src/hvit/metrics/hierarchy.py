"""Scores of classes of several levels: how often each level is right, and how far mistakes are off.

Source of the last two: Bertinetto et al. 2020, "Making better mistakes", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hvit.labels import LabelLevel, level_probabilities
from hvit.metrics.labelled import balanced_scores


def hierarchy_scores(probabilities: np.ndarray, labels: np.ndarray, levels: Sequence[LabelLevel]) -> dict[str, Any]:
    """The scores of every level, and how far the predicted finest classes are from the true ones.

    probabilities: (samples, classes). labels: (samples,), finest classes. The distance of two classes is how many
    levels one has to go up to a class that both stand under: 0 for the same class, 1 for another species of the same
    genus, and the number of levels where not even the coarsest is the same. "hierarchical_distance" is the mean over
    all samples, "mistake_severity" that over mistakes, None where there are none.
    """
    rows, guesses = [], probabilities.argmax(axis=1)
    distances = np.zeros(len(labels), np.int64)
    for level in levels:
        of = np.array(level.of)
        truth, found = of[labels], level_probabilities(probabilities, level).argmax(axis=1)
        rows.append(
            {
                "level": level.name,
                "classes": len(level.classes),
                "top1": float((truth == found).mean()),
                "balanced_accuracy": balanced_scores(truth.tolist(), found.tolist(), len(level.classes))[
                    "balanced_accuracy"
                ],
            }
        )
        distances += truth != of[guesses]
    wrong = distances > 0
    return {
        "levels": rows,
        "hierarchical_distance": float(distances.mean()),
        "mistake_severity": float(distances[wrong].mean()) if wrong.any() else None,
    }
