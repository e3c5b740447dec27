"""Sets with other labels, and joined sets: what is read stays, and what has no label has no part in a target."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.mixing import soft_targets
from hvit.data.preprocess import Preprocess
from hvit.data.relabelled import NO_LABEL, Joined, Relabelled
from hvit.data.sets import ImageSet


class Greys(ImageSet):
    """Pictures of one grey each; the picture of number 1 cannot be read, and number 2 takes its place."""

    def __init__(self, levels: list[int], labels: list[int]) -> None:
        self.levels, self.labels = levels, np.array(labels)

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        index = 2 if index == 1 else index
        return Image.new("L", (2, 2), self.levels[index]), int(self.labels[index])

    def stored(self):
        return iter((str(number), bytes([level])) for number, level in enumerate(self.levels))


def test_a_replacement_keeps_its_own_label_and_an_unlabelled_one_gets_none() -> None:
    images = Relabelled(Greys([0, 1, 2, 3], [0, 0, 1, 1]), np.array([0, 0, NO_LABEL, 0]))
    assert [images.read(number, 0)[1] for number in range(4)] == [0, 1, NO_LABEL, 0]
    assert images.read_view(2, 0, 1)[1] == images.read_enough(2, 0, lambda *_: (1, 1))[1] == NO_LABEL
    assert images.name(3) == "3"
    assert len(list(images.stored())) == 4


def test_joined_sets_are_read_one_after_the_other() -> None:
    both = Joined(Greys([10, 11, 12], [0, 0, 1]), Relabelled(Greys([20], [0]), np.array([NO_LABEL])))
    assert both.labels.tolist() == [0, 0, 1, NO_LABEL]
    assert [both.read(number, 0)[0].getpixel((0, 0)) for number in (0, 2, 3)] == [10, 12, 20]
    assert both.read_enough(3, 0, lambda *_: (1, 1))[1] == NO_LABEL
    assert [name for name, _ in both.stored()] == ["0", "1", "2", "unlabelled/0"]


def test_what_has_no_label_has_a_target_of_zeros_even_smoothed_and_on_the_device() -> None:
    smooth = soft_targets([1, NO_LABEL, np.array([0.5, 0.5], np.float32)], 2, 0.2)
    assert torch.allclose(smooth, torch.tensor([[0.1, 0.9], [0.0, 0.0], [0.5, 0.5]]))
    images = Relabelled(Greys([0, 1, 2, 3], [0, 0, 1, 1]), np.array([0, NO_LABEL, 1, NO_LABEL]))
    preprocess = Preprocess((2, 2), (0.5,), (0.5,), 1.0, "nearest")
    for on_device in (False, True):
        augment = AugmentConfig(label_smoothing=0.1, on_device=on_device)
        (batch,) = train_batches(
            images, num_classes=2, preprocess=preprocess, augment=augment, seed=0, batch_size=4, total_steps=1
        )
        assert sorted(batch["targets"].sum(1).tolist())[-1] == 1.0
        assert 0.0 in batch["targets"].sum(1).tolist()
