"""Files of torch are read without executing anything in them, and unwrapped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hvit.models.nest.model import Nest
from hvit.models.weights.load import load_weights, to_timm
from tests.models.weights.small import MICRO


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("section", [None, "model", "state_dict", "model_state", "state_dict_ema"])
def test_torch_files_are_unwrapped(tmp_path: Path, section: str | None, legacy: bool) -> None:
    source, target, file = Nest(MICRO), Nest(MICRO), tmp_path / "some.pth"
    state = {f"module.{name}": tensor for name, tensor in to_timm(source).items()}
    held = {section: state, "epoch": 3, "other": [1, 2]} if section else state
    torch.save(held, file, _use_new_zipfile_serialization=not legacy)
    assert load_weights(target, file).format == "timm nest"
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)
