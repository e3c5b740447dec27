"""Targets are shares of all classes, and are mixed as the images are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hvit.data.augment_settings import AugmentConfig
from hvit.data.mixing import mix, soft_targets


def test_soft_targets_spread_the_smoothed_share_over_all_classes() -> None:
    shares = np.array([0.5, 0.5, 0, 0], dtype=np.float32)
    targets = soft_targets([2, shares], 4, label_smoothing=0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.45, 0.45, 0.05, 0.05]]))


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_are_mixed_as_the_pictures_are(kind: str, batch: int) -> None:
    """Picture i is constant i-th unit vector over the channels, so its mean colour is its target."""
    targets = torch.eye(batch)
    config = AugmentConfig(**{kind: 1.0})
    changed = 0
    for step in range(20):
        images = targets[:, :, None, None].expand(-1, -1, 40, 40).clone()
        mixed, mixed_targets = mix(config, images, targets, 0, step)
        torch.testing.assert_close(mixed.mean((2, 3)), mixed_targets)
        torch.testing.assert_close(mixed_targets.sum(1), torch.ones(batch))
        changed += not torch.equal(mixed_targets, targets)
        if kind == "cutmix":
            assert set(mixed.unique().tolist()) <= {0.0, 1.0}
        if batch % 2:
            assert torch.equal(mixed_targets[-1], targets[-1])
    assert changed == 0 if batch == 1 else changed > 15


def test_soft_targets_are_mixed_too_and_mixing_follows_from_its_numbers() -> None:
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    config = AugmentConfig(mixup=1.0)
    results = {}
    for numbers in [(0, 0), (1, 0), (0, 1)]:
        once, again = (mix(config, torch.zeros(2, 1, 4, 4), targets, *numbers)[1] for _ in range(2))
        assert torch.equal(once, again)
        torch.testing.assert_close(once[0, 0], once[0, 1])
        results[numbers] = once[0, 0].item()
    assert len(set(results.values())) == 3


def test_the_probabilities_of_mixing_are_kept() -> None:
    def share_of_mixed(config: AugmentConfig) -> tuple[float, float]:
        mixed, blended = 0, 0
        for step in range(200):
            images, targets = mix(config, torch.eye(2)[:, :, None, None].repeat(1, 1, 16, 16), torch.eye(2), 0, step)
            mixed += not torch.equal(targets, torch.eye(2))
            blended += bool(((images > 0) & (images < 1)).any())
        return mixed / 200, blended / 200

    assert share_of_mixed(AugmentConfig(mixup=1.0, mix_probability=0.0)) == (0, 0)
    half, _ = share_of_mixed(AugmentConfig(mixup=1.0, mix_probability=0.5))
    assert half == pytest.approx(0.5, abs=0.12)
    always, blended = share_of_mixed(AugmentConfig(mixup=1.0, cutmix=1.0, mix_switch=0.25))
    assert always > 0.9
    assert blended == pytest.approx(0.75, abs=0.12)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_clips_are_mixed_as_pictures_are_with_the_same_rectangle_of_all_frames(kind: str) -> None:
    config = AugmentConfig(**{kind: 1.0})
    images = torch.rand(5, 3, 24, 20)
    clips = images[:, :, None].expand(-1, -1, 4, -1, -1).clone()
    changed = 0
    for step in range(10):
        mixed, targets = mix(config, images.clone(), torch.eye(5), 0, step)
        mixed_clips, clip_targets = mix(config, clips.clone(), torch.eye(5), 0, step)
        assert torch.equal(targets, clip_targets)
        assert torch.equal(mixed_clips, mixed[:, :, None].expand(-1, -1, 4, -1, -1))
        changed += not torch.equal(mixed_clips, clips)
    assert changed > 5
