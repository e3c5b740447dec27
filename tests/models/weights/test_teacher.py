"""The teacher is the network of its package."""

from __future__ import annotations

import pytest

from hvit.errors import UserError
from hvit.models.timm_encoder import TimmConfig
from hvit.models.weights import teacher


def test_the_teacher_is_the_network_of_its_package() -> None:
    if teacher.teacher_file() is None:
        pytest.skip("the extra teacher is not installed")
    state = teacher.teacher_state(TimmConfig(input_size=(32, 32)))
    assert len(state) == 296
    assert state["network.classifier.weight"].shape == (1000, 1280)
    with pytest.raises(UserError, match="for colour images"):
        teacher.teacher_state(TimmConfig(in_channels=1))
