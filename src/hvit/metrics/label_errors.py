"""Labels that are probably wrong: what a model that has not seen an image's label says of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from hvit.errors import UserError

NEEDS = "probable label errors need cleanlab: pip install 'hvit[labels]'"
_FOLDS = 5
_STRENGTH = 1e-2


@dataclass(frozen=True)
class LabelErrors:
    """Labels by how probable it is that they are right.

    found: indices of the images whose labels are probably wrong, the surest first. quality: (images,), the probability
    of each image's label, and NaN for images that were not assessed. predicted: (images,), the most probable class.
    """

    found: np.ndarray
    quality: np.ndarray
    predicted: np.ndarray


def out_of_fold(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probabilities (images, classes) by a linear head that was fitted without the image.

    features: (images, dim). labels: (images,), from 0, two or more of every class. Five stratified folds, fewer where a
    class has fewer images; multinomial logistic regression on standardised features.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    points = np.asarray(features, dtype=np.float64)
    points = (points - points.mean(0)) / np.maximum(points.std(0), 1e-6)
    shares = np.zeros((len(labels), int(labels.max()) + 1))
    folds = min(_FOLDS, int(np.bincount(labels).min()))
    assert folds > 1, "a class with one image has no fold without it"
    for known, asked in StratifiedKFold(folds, shuffle=True, random_state=seed).split(points, labels):
        with warnings.catch_warnings():
            # Stopping a little early changes nothing that is reported.
            warnings.filterwarnings("ignore", message=".*failed to converge")
            head = LogisticRegression(C=_STRENGTH, max_iter=300).fit(points[known], labels[known])
        shares[asked] = head.predict_proba(points[asked])
    return shares


def label_errors(features: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Labels that are probably wrong, as `doubtful`, from features (images, dim) by `out_of_fold`.

    labels: (images,), class numbers; images of classes with one image, and of negative numbers, are not assessed.
    Raises UserError as `doubtful`, and where no two classes have two images.
    """
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    usable = names[counts > 1]
    if len(usable) < 2:
        raise UserError("probable label errors are looked for in two classes or more, with two images or more in each")
    assessed = np.flatnonzero(np.isin(labels, usable))
    known = np.searchsorted(usable, labels[assessed])
    some = doubtful(out_of_fold(features[assessed], known), known)
    quality, predicted = np.full(len(labels), np.nan), np.full(len(labels), -1)
    quality[assessed], predicted[assessed] = some.quality, usable[some.predicted]
    return LabelErrors(assessed[some.found], quality, predicted)


def doubtful(shares: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Labels that are probably wrong, by confident learning (Northcutt et al., arXiv 1911.00068) of cleanlab.

    shares: probabilities (images, classes) by models that have not seen the image. labels: (images,), class numbers.
    Raises UserError where cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(NEEDS) from error
    # Of rounded probabilities, as tables have them, the sum is not quite 1.
    shares = shares / np.maximum(shares.sum(1, keepdims=True), 1e-12)
    found = find_label_issues(labels, shares, return_indices_ranked_by="self_confidence", n_jobs=1)
    return LabelErrors(np.asarray(found, dtype=np.int64), shares[np.arange(len(labels)), labels], shares.argmax(1))
