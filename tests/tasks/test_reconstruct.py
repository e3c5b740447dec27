"""Masked pretraining learns, judges itself by the same masks every time, and hands its encoder on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvit.errors import UserError
from hvit.explain.reconstructions import reconstruct
from hvit.models.catalogue import build, build_network, name_of
from hvit.models.hiera import HIERA_SIZES
from hvit.models.layers import spread_mask
from hvit.models.masked import MaskedAutoencoder, MaskedConfig
from hvit.models.translate import load_weights
from hvit.models.weights import open_autoencoder, open_weights
from hvit.tasks.reconstruct import Reconstruct

CONFIG = MaskedConfig(
    replace(HIERA_SIZES["hiera_micro_32"], dims=(8, 16, 32)), decoder_dim=16, decoder_depth=1, decoder_heads=2
)  # fmt: skip


def make(config: MaskedConfig = CONFIG) -> MaskedAutoencoder:
    torch.manual_seed(0)
    model = build_network(config)
    assert isinstance(model, MaskedAutoencoder)
    return model


def some_batches(count: int = 2, size: int = 6) -> list[dict[str, torch.Tensor]]:
    draws = torch.Generator().manual_seed(1)
    return [
        {"images": torch.randn(size, 3, 32, 32, generator=draws), "targets": torch.arange(size) % 2}
        for _ in range(count)
    ]


def test_the_loss_falls_on_one_batch() -> None:
    task = Reconstruct(make(), {})
    (batch,) = some_batches(1)
    optimizer = torch.optim.AdamW(task.networks["model"].parameters(), lr=3e-3)
    losses = []
    for step in range(25):
        torch.manual_seed(step % 2)
        loss = task.loss(task.phases[0], task.networks, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_evaluations_hide_the_same_and_two_are_equal() -> None:
    task = Reconstruct(make().eval(), {})
    first = task.evaluate(task.networks, some_batches())
    torch.rand(3)
    assert task.evaluate(task.networks, some_batches()) == first
    assert first["count"] == 12
    assert 0 <= first["nearest_neighbours"] <= 1


def test_training_masks_follow_the_seed_of_the_step() -> None:
    model = make()
    torch.manual_seed(5)
    one = model.draw_masks(4)
    other = model.draw_masks(4)
    torch.manual_seed(5)
    assert torch.equal(model.draw_masks(4), one)
    assert not torch.equal(one, other)


def test_weights_come_back_whole_and_are_no_classifier(tmp_path: Path) -> None:
    task = Reconstruct(make(), {"mean": [0.5]})
    task.save(tmp_path, task.networks)
    model, preprocess = open_autoencoder(tmp_path / "weights.safetensors")
    assert preprocess == {"mean": [0.5]}
    assert model.config == CONFIG
    assert name_of(model.config).startswith("mae_")
    for name, tensor in task.networks["model"].state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    with pytest.raises(UserError, match="masked autoencoder, which tells no classes"):
        open_weights(tmp_path / "weights.safetensors")
    classifier = build(CONFIG.encoder)
    report = load_weights(classifier, tmp_path / "weights.safetensors")
    assert {name.split(".")[0] for name in report.missing} == {"head"}
    with pytest.raises(UserError, match="heads"):
        load_weights(build(replace(CONFIG.encoder, heads=(2, 2, 2))), tmp_path / "weights.safetensors")


def test_reconstructions_leave_what_was_seen_and_take_contrast_from_the_image() -> None:
    images = some_batches(1)[0]["images"]
    model = make().eval()
    kept = model.draw_masks(len(images))
    shown = reconstruct(model, images, kept)
    seen = spread_mask(kept, (32, 32))[:, None].expand_as(images)
    assert torch.equal(shown[seen], images[seen])
    assert not torch.equal(shown[~seen], images[~seen])
    with torch.no_grad():
        for parameter in model.tell.parameters():
            parameter.zero_()  # tells zero: every hidden patch becomes its own mean
    flat = reconstruct(model, images, kept)
    patches = images.unfold(2, 8, 8).unfold(3, 8, 8)
    means = patches.mean((1, 4, 5))[:, None].repeat_interleave(8, 2).repeat_interleave(8, 3).expand_as(images)
    torch.testing.assert_close(flat[~seen], means[~seen], rtol=1e-4, atol=1e-4)
