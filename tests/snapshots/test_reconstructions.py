"""Reconstructions that a run saves, of images and of clips."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from hvit.data.augment import Preprocess
from hvit.models.build import build
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.model import MaskedAutoencoder
from hvit.run_names import RECONSTRUCTIONS, picture_file
from hvit.snapshots.reconstructions import keep_strip, reconstruct


def test_strips_of_clips_are_named_by_their_step_and_show_a_middle_frame(tmp_path: Path) -> None:
    config = MaskedConfig(HIERA_SIZES["hiera_micro_16x64"], decoder_dim=16, decoder_depth=1, decoder_heads=2)
    model = MaskedAutoencoder(config, build(config.encoder)).eval()
    preprocess = Preprocess((16, 64, 64), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 1.0)
    clips = torch.randn(2, 3, *config.input_size)
    for step in (0, 30):
        keep_strip(model, preprocess, clips, tmp_path, step)
    strips = sorted((tmp_path / RECONSTRUCTIONS).iterdir())
    assert [path.name for path in strips] == ["step_000000000.png", "step_000000030.png"]
    with Image.open(strips[0]) as strip:
        assert strip.size == (2 * 64, 64)
    assert (tmp_path / picture_file(RECONSTRUCTIONS)).exists()
    visible = model.draw_masks(2)
    assert reconstruct(model, clips, visible).shape == (2, 3, 16 // config.patch[0], 64, 64)
