"""Masked pretraining learns, is evaluated with the same masks every time, and hands its encoder on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import build, build_network
from hvit.models.catalogue import name_of
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.layers.masking import spread_mask
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.masks import MaskPattern
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.masked.targets import make_targets
from hvit.models.weights.load import load_weights
from hvit.models.weights.open import open_autoencoder, open_weights
from hvit.snapshots.reconstructions import reconstruct
from hvit.tasks.reconstruct import Reconstruct
from hvit.tasks.task import Before, join

CONFIG = MaskedConfig(
    replace(HIERA_SIZES["hiera_micro_32"], dims=(8, 16, 32)), decoder_dim=16, decoder_depth=1, decoder_heads=2
)  # fmt: skip

PREPROCESS = Preprocess((32, 32), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 1.0)


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
    task = Reconstruct(make(), PREPROCESS, labelled=True)
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


def test_evaluations_mask_the_same_and_two_are_equal() -> None:
    task = Reconstruct(make().eval(), PREPROCESS, labelled=True)
    first = task.evaluate(task.networks, some_batches())
    torch.rand(3)
    assert task.evaluate(task.networks, some_batches()) == first
    assert first["count"] == 12
    assert 0 <= first["nearest_neighbours"] <= 1
    assert 0 <= first["linear_probe"] <= 1


@pytest.mark.parametrize("pattern", ["random", "block"])
def test_the_outputs_of_parts_of_a_set_are_those_of_the_whole(pattern: MaskPattern) -> None:
    task = Reconstruct(make(replace(CONFIG, mask_pattern=pattern)).eval(), PREPROCESS, labelled=True)
    batches = some_batches(3)
    whole = task.outputs(task.networks, batches)
    for first in range(4):
        rest = task.outputs(task.networks, batches[first:], Before(first, 6 * first))
        parts = join([task.outputs(task.networks, batches[:first]), rest])
        assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_the_loss_and_the_share_explained_are_those_over_all_masked_patches() -> None:
    task = Reconstruct(make().eval(), PREPROCESS, labelled=False)
    batches = some_batches(2, 5)
    scores = task.evaluate(task.networks, batches)
    model = task.model
    generator = torch.Generator().manual_seed(20306)
    visible = [model.draw_masks(5, generator) for _ in batches]
    images = torch.cat([batch["images"] for batch in batches])
    with torch.no_grad():
        predictions = model(images, torch.cat(visible))
        loss = model.loss(predictions, images, torch.cat(visible)).item()
    wanted = make_targets(images, CONFIG.patch, CONFIG.target)[model.masked_patches(torch.cat(visible))]
    assert scores["loss"] == pytest.approx(loss, rel=1e-5)
    assert scores["explained_variance"] == pytest.approx(1 - loss / wanted.var(correction=0).item(), rel=1e-4, abs=1e-5)
    assert "nearest_neighbours" not in scores
    assert task.score in scores


@pytest.mark.long
def test_the_watched_images_are_saved_at_every_evaluation_and_drawn_together(tmp_path: Path) -> None:
    watched = some_batches(1)[0]["images"]
    task = Reconstruct(make(), PREPROCESS, labelled=True, watched=watched)
    sizes = []
    for step in (0, 20, 60):
        task.draw(tmp_path, task.networks, step)
        with Image.open(tmp_path / "pictures/reconstructions.png") as picture:
            sizes.append(picture.height)
        if step == 20:  # strips of more steps
            for other in (10, 30, 40, 50):
                shutil.copy(tmp_path / "reconstructions" / "step_000000000.png",
                            tmp_path / "reconstructions" / f"step_{other:09d}.png")  # fmt: skip
    strips = sorted(path.name for path in (tmp_path / "reconstructions").iterdir())
    assert strips == [f"step_{step:09d}.png" for step in (0, 10, 20, 30, 40, 50, 60)]
    with Image.open(tmp_path / "reconstructions" / strips[0]) as strip:
        assert strip.size == (6 * 32, 32)
    assert sizes[2] - sizes[1] == 3 * (sizes[1] - sizes[0])  # from two steps to five, the most that are drawn


def test_grey_images_are_drawn_and_histograms_are_not(tmp_path: Path) -> None:
    grey = replace(CONFIG, encoder=replace(CONFIG.encoder, in_channels=1))
    preprocess = Preprocess((32, 32), (0.5,), (0.2,), 1.0)
    images = some_batches(1)[0]["images"][:, :1]
    task = Reconstruct(make(grey), preprocess, labelled=True, watched=images)
    task.draw(tmp_path / "grey", task.networks, 1)
    assert (tmp_path / "grey/pictures/reconstructions.png").exists()
    task = Reconstruct(make(replace(grey, target="hog")), preprocess, labelled=True, watched=images)
    task.save_weights(tmp_path / "hog", task.networks)
    task.draw(tmp_path / "hog", task.networks, 1)
    assert [path.name for path in (tmp_path / "hog").iterdir()] == ["weights.safetensors"]


def test_training_masks_follow_the_seed_of_the_step() -> None:
    model = make()
    torch.manual_seed(5)
    one = model.draw_masks(4)
    other = model.draw_masks(4)
    torch.manual_seed(5)
    assert torch.equal(model.draw_masks(4), one)
    assert not torch.equal(one, other)


def test_weights_come_back_whole_and_are_no_classifier(tmp_path: Path) -> None:
    task = Reconstruct(make(), PREPROCESS, labelled=True)
    task.save_weights(tmp_path, task.networks)
    opened = open_autoencoder(tmp_path / "weights.safetensors")
    model = opened.model
    assert Preprocess(**(opened.preprocess or {})) == PREPROCESS
    assert model.config == CONFIG
    assert name_of(model.config).startswith("mae_")
    for name, tensor in task.networks["model"].state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    with pytest.raises(UserError, match="masked autoencoder, which predicts no classes"):
        open_weights(tmp_path / "weights.safetensors")
    classifier = build(CONFIG.encoder)
    report = load_weights(classifier, tmp_path / "weights.safetensors")
    assert {name.split(".")[0] for name in report.missing} == {"head"}
    with pytest.raises(UserError, match="heads"):
        load_weights(build(replace(CONFIG.encoder, heads=(2, 2, 2))), tmp_path / "weights.safetensors")


def test_reconstructions_leave_visible_patches_and_take_contrast_from_the_image() -> None:
    images = some_batches(1)[0]["images"]
    model = make().eval()
    visible = model.draw_masks(len(images))
    shown = reconstruct(model, images, visible)
    seen = spread_mask(visible, (32, 32))[:, None].expand_as(images)
    assert torch.equal(shown[seen], images[seen])
    assert not torch.equal(shown[~seen], images[~seen])
    with torch.no_grad():
        for parameter in model.prediction.parameters():
            parameter.zero_()  # predicts zero: every masked patch becomes its own mean
    flat = reconstruct(model, images, visible)
    patches = images.unfold(2, 8, 8).unfold(3, 8, 8)
    means = patches.mean((1, 4, 5))[:, None].repeat_interleave(8, 2).repeat_interleave(8, 3).expand_as(images)
    torch.testing.assert_close(flat[~seen], means[~seen], rtol=1e-4, atol=1e-4)
