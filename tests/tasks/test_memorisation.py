"""A generator that copies its training images is found out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed

from hvit.tasks.extractors import pixel_extractor
from hvit.tasks.memorisation import compare_with_training
from tests.tasks.small_gan import (
    PREPROCESS,
    Copies,
    make_batch,
    signed,
)


def test_a_generator_that_copies_is_as_near_to_the_training_images_as_can_be(tmp_path: Path) -> None:
    training, held_out = [make_batch(step, 64) for step in range(4)], [make_batch(50, 40), make_batch(51, 40)]
    copies = Copies(torch.cat([signed(batch) for batch in training]))
    path = tmp_path / "pictures" / "neighbours.png"
    found = compare_with_training(copies, pixel_extractor(4), PREPROCESS, training, held_out, path)
    assert found["sample_to_training"] == pytest.approx(0, abs=1e-4)
    assert found["held_out_to_training"] > 0.1
    assert path.exists()
    strangers = Copies(torch.cat([signed(make_batch(step, 64)) for step in range(90, 94)]))
    other = compare_with_training(strangers, pixel_extractor(4), PREPROCESS, training, held_out, path)
    assert other["sample_to_training"] == pytest.approx(found["held_out_to_training"], rel=0.2)
    assert other["held_out_to_training"] == found["held_out_to_training"]
