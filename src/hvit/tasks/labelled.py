"""The task that trains and scores a model for labels of any kind."""

from __future__ import annotations

from collections.abc import Mapping

from hvit.labels import LabelSpec
from hvit.models.layers.encoder import Encoder
from hvit.tasks.classify import Classify
from hvit.tasks.confidence import Confidence
from hvit.tasks.losses import LossName, chosen_loss
from hvit.tasks.multi_label import MultiLabel
from hvit.tasks.ordinal import Order
from hvit.tasks.regress import Regress


def task_for(
    model: Encoder,
    labels: LabelSpec,
    preprocess: Mapping[str, object],
    loss: LossName = "auto",
    positive_weights: tuple[float, ...] = (),
    confidence: Confidence | None = None,
) -> Classify:
    """The task for labels. loss, positive_weights: as of `MultiLabel`. confidence: as of `Classify`.

    Raises UserError for a loss of other labels.
    """
    name = chosen_loss(loss, labels.kind)
    if labels.kind == "multi":
        return MultiLabel(model, labels, preprocess, name, positive_weights)
    if labels.kind == "regression":
        return Regress(model, labels, preprocess)
    kind = Order if labels.kind == "ordinal" else Classify
    return kind(model, labels.names, preprocess, confidence, labels)
