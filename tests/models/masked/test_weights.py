"""Weights and checkpoints of masked autoencoders, those of earlier versions included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hvit.models.baselines import VIT_SIZES
from hvit.models.build import build
from hvit.models.catalogue import entry
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES, MaskedConfig
from hvit.models.masked.model import MaskedAutoencoder, present_name
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.weights.load import load_weights

SPARSE = MaskedConfig(HIERA_SIZES["hiera_micro_32"], decoder_dim=16, decoder_depth=1, decoder_heads=2)
DENSE = replace(SPARSE, encoder=MVIT_SIZES["mvitv2_micro_32"], encoding="dense")
BOTH = pytest.mark.parametrize("config", [SPARSE, DENSE], ids=["sparse", "dense"])


def make(config: MaskedConfig, seed: int) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    return MaskedAutoencoder(config, build(config.encoder))


def as_before(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """A state dict as version 0.1 wrote it."""
    old = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("prediction.", "tell.")
        old["hidden_token" if name == "mask_token" and model.config.encoding == "dense" else name] = tensor
    assert any(name.startswith("tell.") for name in old)
    return old


@pytest.mark.parametrize("name", ["mae_vit_micro_32", "maskfeat_mvitv2_micro_32", "maskfeat_mvitv2_micro_16x64"])
def test_a_classifier_starts_from_a_vit_and_from_maskfeat(name: str) -> None:
    config = MASKED_SIZES[name]
    pretrained = make(config, 0)
    classifier = build(entry(name.partition("_")[2]).config)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    report = load_weights(classifier, pretrained.state_dict())
    assert all("head" in key for key in report.missing), report
    assert all("relative" in key for key in report.resized), "only positions in the level that is not pooled"
    assert bool(report.resized) == name.startswith("maskfeat")
    kept = {key for key, value in classifier.state_dict().items() if torch.equal(value, before[key])}
    assert {key for key in kept if "norm" not in key and "bias" not in key} == {
        key for key in before if "head.weight" in key
    }


def test_the_norm_after_a_vits_mean_is_that_of_its_autoencoder() -> None:
    encoder = replace(VIT_SIZES["vit_micro_32"], norm_after_mean=True)
    pretrained = make(replace(MASKED_SIZES["mae_vit_micro_32"], encoder=encoder), 0)
    torch.nn.init.normal_(pretrained.norm.weight)
    classifier = build(encoder)
    assert all("head" in key for key in load_weights(classifier, pretrained.state_dict()).missing)
    assert torch.equal(classifier.state_dict()["network.fc_norm.weight"], pretrained.norm.weight)


@BOTH
def test_weights_of_version_0_1_are_loaded_whole(config: MaskedConfig) -> None:
    source, target = make(config, 0), make(config, 1)
    report = load_weights(target, as_before(source))
    assert not report.missing
    assert not report.dropped
    assert all(torch.equal(*pair) for pair in zip(source.parameters(), target.parameters(), strict=True))


@BOTH
def test_checkpoints_of_version_0_1_are_restored_averages_included(config: MaskedConfig) -> None:
    source, target = make(config, 0), make(config, 1)
    target.load_state_dict(as_before(source))
    assert all(torch.equal(*pair) for pair in zip(source.parameters(), target.parameters(), strict=True))
    average = AveragedModel(make(config, 2))
    old = {f"module.{name}": tensor for name, tensor in as_before(source).items()}
    average.load_state_dict(old | {"n_averaged": torch.tensor(3)})
    restored = average.module.state_dict()
    assert all(torch.equal(tensor, restored[name]) for name, tensor in source.state_dict().items())


def test_present_names_stay() -> None:
    assert present_name("tell.weight") == "prediction.weight"
    assert present_name("hidden_token") == "mask_token"
    for name in ("prediction.bias", "mask_token", "encoder.tell.weight", "decoder.0.norm1.weight"):
        assert present_name(name) == name
