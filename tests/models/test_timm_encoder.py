"""Models of timm as encoders: timm's own logits, levels that the head takes, layers for decay, clear refusals."""

from __future__ import annotations

import pytest
import timm
import torch

import hvit
from hvit.errors import UserError
from hvit.models.build import build_empty
from hvit.models.catalogue import config_from_json, entry, name_of
from hvit.models.layers.masking import Mask
from hvit.models.timm_encoder import TimmConfig, TimmEncoder
from hvit.models.weights.open import open_weights
from hvit.models.weights.save import save_weights
from hvit.training.freezing import freeze

SMALL = {
    "resnet18": (64, 64),
    "tf_efficientnet_lite0": (64, 64),
    "swin_tiny_patch4_window7_224": (64, 64),
    "pvt_v2_b0": (64, 64),
    "vit_tiny_patch16_224": (64, 64),
    "regnety_002": (64, 96),
}


@pytest.mark.parametrize("name", SMALL)
def test_levels_lead_to_timms_own_logits(name: str) -> None:
    config = TimmConfig(name=name, input_size=SMALL[name], num_classes=3, drop_path=0.1)
    torch.manual_seed(0)
    model = TimmEncoder(config).eval()
    images = torch.randn(2, 3, *config.input_size)
    with torch.no_grad():
        levels, features = model.encode(images)
        wanted = model.network(images)
        found = model.classify(levels[-1], features) if config.class_token else model.classify(levels[-1])
        assert torch.equal(model(images), wanted)
        assert torch.allclose(found, wanted, atol=1e-6)
        assert torch.allclose(model.head(model.features(images)), wanted, atol=1e-6)
    assert tuple(level.shape[-1] for level in levels) == config.dims == model.level_dims
    sides = [level.shape[1] for level in levels]
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) == len(sides)
    assert [tuple(one.shape[1:3]) for one in levels] == [model.level_sizes(level) for level in range(len(levels))]
    assert model.levels_from(len(levels) - 1, levels[-1]) == []
    if len(levels) > 1:
        with pytest.raises(UserError, match="computes its levels in one piece"):
            model.levels_from(0, levels[0])
    depths = [model.level_of(parameter) for parameter, _ in model.named_parameters()]
    assert min(depths) == 0
    assert max(depths) == sum(config.depths)
    assert model.level_of("network." + next(key for key, _ in model.network.named_parameters())) == 0


def test_the_name_leads_to_the_model_and_back(tmp_path) -> None:
    model = hvit.create_model("timm/resnet18", num_classes=4, input_size=64)
    assert name_of(model.config) == "timm/resnet18"
    assert model.config.input_size == (64, 64)
    save_weights(model, tmp_path / "weights.safetensors", classes=["a", "b", "c", "d"])
    opened = open_weights(tmp_path / "weights.safetensors")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(opened.model(images), model.eval()(images))
    assert entry("timm/swin_tiny_patch4_window7_224").config.input_size == (224, 224)
    assert sum(one.numel() for one in build_empty(model.config).parameters()) == sum(
        one.numel() for one in timm.create_model("resnet18", num_classes=4).parameters()
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "resnet_18"}, "timm has no model called 'resnet_18'"),
        ({"name": "hiera_tiny_224"}, "are no feature map"),
        ({"name": "vit_tiny_patch16_224", "input_size": (8, 8)}, "timm"),
        ({"num_classes": -1}, "must be 1 or more"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused_in_a_sentence(changes: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        TimmConfig(**changes)
    if "name" in changes:
        with pytest.raises(UserError, match="stored model configuration"):
            config_from_json('{"config": {"family": "timm", "name": "../../etc"}}')


def test_a_class_token_and_a_mask_are_refused_where_they_do_not_fit() -> None:
    model = TimmEncoder(TimmConfig(name="vit_tiny_patch16_224", input_size=(32, 32), num_classes=2))
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(UserError, match="class token"):
        model.classify(model.levels(images)[-1])
    with pytest.raises(UserError, match="takes no mask"):
        model.levels(images, Mask(torch.ones(1, 2, 2, dtype=torch.bool)))


def test_timms_own_weights_are_loaded_under_its_names(tmp_path) -> None:
    torch.manual_seed(3)
    theirs = timm.create_model("resnet18", num_classes=5).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    images = torch.rand(1, 3, 64, 64)
    model = hvit.create_model("timm/resnet18", num_classes=5, input_size=64, weights=tmp_path / "theirs.pth")
    assert torch.equal(model.eval()(images), theirs(images))
    other = hvit.create_model("timm/resnet18", num_classes=2, input_size=64)
    report = hvit.load_weights(other, tmp_path / "theirs.pth")
    assert set(report.reinitialised) == {"network.fc.weight", "network.fc.bias"}
    with pytest.raises(UserError):
        hvit.load_weights(hvit.create_model("timm/pvt_v2_b0", input_size=64), tmp_path / "theirs.pth")


def test_of_an_architecture_without_named_layers_all_but_the_head_is_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("timm.models.resnet.ResNet.group_matcher")
    with torch.device("meta"):
        model = TimmEncoder(TimmConfig(name="resnet10t", input_size=(40, 48), num_classes=3))
    assert {model.level_of(name) for name, _ in model.named_parameters()} == {0, 1}
    assert {name for name, _ in model.named_parameters() if model.level_of(name) == 1} == {
        "network.fc.weight", "network.fc.bias",
    }  # fmt: skip
    freeze(model, "encoder")
    assert {name for name, one in model.named_parameters() if one.requires_grad} == {
        "network.fc.weight", "network.fc.bias",
    }  # fmt: skip


def test_the_default_is_not_built_to_be_checked_and_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[TimmConfig] = []
    monkeypatch.setattr("hvit.models.timm_encoder._shape_of", checked.append)
    TimmConfig(num_classes=None)
    assert not checked, "every start of the command line would wait for timm"
    others = [
        TimmConfig(name="resnet18"),
        TimmConfig(input_size=(64, 64)),
        TimmConfig(settings='{"strict_img_size": false}'),
    ]
    assert checked == others
