"""Every way from our weights to another library's is known by family and library."""

from __future__ import annotations

from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.build import build_network
from hvit.models.weights.convert import difference_from, way_of
from tests.models.weights.small import MICRO, shaken


def test_a_library_without_the_family_is_refused_with_those_that_have_it() -> None:
    model: Any = build_network(MICRO)
    with pytest.raises(UserError, match="'nest' are not converted to transformers: they are converted to timm, "):
        way_of(model, "transformers")


def test_models_with_other_weights_differ() -> None:
    ours: Any = shaken(build_network(MICRO))
    way = way_of(ours, "timm")
    assert way.peer is not None
    peer = way.peer(ours)
    assert difference_from(peer, ours) > 1e-2
    peer.load_state_dict(way.state(ours))
    assert difference_from(peer, ours) < 1e-5
