"""Classes in an order: a classifier whose wrong answers cost the more the further they are off."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from hvit.metrics.labelled import ordinal_scores
from hvit.tasks.classify import Classify
from hvit.tasks.task import Scores


class Order(Classify):
    """Trains a classifier of ordered classes by cross entropy with soft labels, of which neighbours have a share.

    Source: Díaz & Marathe 2019, "Soft labels for ordinal regression". The targets come from `soft_targets`.
    """

    score = "quadratic_kappa"

    def scores(self, logits: Tensor, labels: Tensor, cooled: Tensor, ranked: Tensor) -> Scores:
        """As of a classifier, and how many classes the median class is off, kappa, and the rank correlation."""
        probabilities = self.probabilities(cooled).double().numpy()
        return super().scores(logits, labels, cooled, ranked) | ordinal_scores(probabilities, np.asarray(labels))
