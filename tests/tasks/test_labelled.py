"""Every kind of labels has its task."""

from __future__ import annotations

import pytest
from torch import nn

from hvit.errors import UserError
from hvit.labels import LabelSpec
from hvit.tasks.classify import Classify
from hvit.tasks.labelled import task_for
from hvit.tasks.multi_label import MultiLabel
from hvit.tasks.ordinal import Order
from hvit.tasks.regress import Regress


@pytest.mark.parametrize(
    ("kind", "task"), [("single", Classify), ("multi", MultiLabel), ("ordinal", Order), ("regression", Regress)]
)
def test_the_task_of_a_kind(kind: str, task: type) -> None:
    spec = LabelSpec(kind, ("a",), mean=(0.0,), std=(1.0,))  # pyright: ignore[reportArgumentType]
    assert type(task_for(nn.Identity(), spec, {})) is task  # pyright: ignore[reportArgumentType]


def test_a_loss_reaches_its_task_or_is_refused() -> None:
    multi = task_for(nn.Identity(), LabelSpec("multi", ("a",)), {}, "asymmetric")  # pyright: ignore[reportArgumentType]
    assert isinstance(multi, MultiLabel)
    assert multi.loss_name == "asymmetric"
    with pytest.raises(UserError, match="loss asymmetric is not for single labels"):
        task_for(nn.Identity(), LabelSpec("single", ("a", "b")), {}, "asymmetric")  # pyright: ignore[reportArgumentType]
