"""Targets as shares of all classes, and mixup and cutmix of a batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hvit.data.augment_settings import AugmentConfig
from hvit.data.sets import Target
from hvit.errors import UserError
from hvit.labels import LabelKind
from hvit.randomness import seeded


def soft_targets(
    targets: list[Target], num_classes: int, label_smoothing: float = 0.0, kind: LabelKind = "single"
) -> Tensor:
    """Targets as shares: (batch, num_classes) float32, each row summing to 1; of several classes 0 to 1 each.

    label_smoothing: the share that is spread evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567); of
    several classes, over yes and no of each. The row of a sample without a label (-1) is all zeros, so that it has no
    part in a cross entropy. kind: of ordered classes neighbours have a share, too: in the proportion of
    exp(-distance²) (Díaz & Marathe 2019, "Soft labels for ordinal regression", equation 1). Numbers stay as they are.
    """
    if kind in ("multi", "regression"):
        values = torch.from_numpy(np.stack([np.asarray(target, np.float32) for target in targets]))
        return values if kind == "regression" else values * (1 - label_smoothing) + label_smoothing / 2
    shares = torch.zeros(len(targets), num_classes)
    if kind == "ordinal":
        distances = torch.arange(num_classes) - torch.tensor(targets)[:, None]
        shares += (-distances.float().square()).softmax(dim=1)
        targets = []
    for row, target in zip(shares, targets, strict=kind != "ordinal"):
        if isinstance(target, np.ndarray):
            row += torch.from_numpy(target)
        elif target >= 0:
            row[target] = 1
    smooth = shares * (1 - label_smoothing) + label_smoothing / num_classes
    absent = [number for number, target in enumerate(targets) if isinstance(target, int) and target < 0]
    smooth[absent] = 0
    return smooth


def join_weights(targets: Tensor, weights: Tensor) -> Tensor:
    """Targets times their weights, and these as one more column, so that both are mixed alike.

    targets: (batch, outputs). weights: (batch,), how much each sample weighs in the loss.
    """
    return torch.cat([targets * weights[:, None], weights[:, None]], dim=1)


def part_weights(joined: Tensor) -> tuple[Tensor, Tensor]:
    """Mixed targets and weights from what `join_weights` gave.

    A mixture weighs as much as its parts, and its target is their weighted mean: for a loss that is linear in the
    target, such as any cross entropy, that is the mean of the weighted losses of both.
    """
    weights = joined[:, -1]
    return joined[:, :-1] / weights.clamp_min(1e-12)[:, None], weights


def check_mixing(config: AugmentConfig, batch_size: int, world_size: int) -> None:
    """Raises UserError where pictures that are to be mixed would be in different processes."""
    if world_size > 1 and batch_size // world_size % 2 and (config.mixup or config.cutmix):
        raise UserError(
            f"mixup and cutmix mix pairs of images, and the {batch_size // world_size} images of each of the "
            f"{world_size} processes are an odd number: choose a loop.batch_size that {2 * world_size} divides"
        )


def mix(config: AugmentConfig, images: Tensor, targets: Tensor, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Mixes the pictures of a batch in pairs, first with last, by mixup or cutmix; the targets are mixed alike.

    Of several processes each mixes its own pictures, which are pairs of the whole batch (see `randomness.places_of`).
    As in timm one choice, one weight and one rectangle are drawn for all pairs; here for those of all processes.

    images: (batch, channels, height, width) or (batch, channels, frames, height, width), changed in place; cutmix
    exchanges the same rectangle of all frames. targets: (batch, num_classes). Of an odd batch the last picture stays as
    it is. Pure in (seed, step).
    Source: mixup (arXiv 1710.09412), cutmix (arXiv 1905.04899).
    """
    even = len(images) // 2 * 2
    if even == 0 or not (config.mixup or config.cutmix):
        return images, targets
    from timm.data.mixup import Mixup

    # timm mixes class numbers only. With every picture as a class of its own, the targets it returns are the
    # weights of the pictures in the mixture, and these mix soft targets, too.
    mixer = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=config.mix_probability,
        switch_prob=config.mix_switch,
        label_smoothing=0.0,
        num_classes=even,
    )
    with seeded(seed, "mix", step, 0):
        # timm cuts along the third and fourth axes, so the frames of clips join the channels.
        _, weights = mixer(images[:even].view(even, -1, *images.shape[-2:]), torch.arange(even))
    weights = weights.to(targets.device, non_blocking=True)
    return images, torch.cat([weights @ targets[:even], targets[even:]])
