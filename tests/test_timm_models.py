"""timm makes hvit's models by name, and what its scripts and optimisers ask of a model is there."""

from __future__ import annotations

import argparse
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models import load_checkpoint, model_parameters, resume_checkpoint, safe_model_name
from timm.optim import create_optimizer_v2, optimizer_kwargs, param_groups_layer_decay
from timm.scheduler import create_scheduler_v2
from timm.utils import CheckpointSaver, ModelEmaV3, dispatch_clip_grad

import hvit
import hvit.timm_models
from hvit.errors import UserError

NAMES = ("nest_micro_32", "mvit_micro_32", "mvitv2_micro_32", "hiera_micro_32")
EVERY = pytest.mark.parametrize("name", NAMES)


def make(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(f"hvit_{name}", **arguments).eval()


def test_every_image_classifier_is_registered_and_no_model_of_timm_is_replaced() -> None:
    ours = set(timm.list_models("hvit_*"))
    assert {f"hvit_{name}" for name in (*NAMES, "hiera_tiny_224", "nest_tiny_224")} <= ours
    assert all(not name.startswith("hvit_") for name in timm.list_models(module="hiera"))
    assert "hvit_nest_tiny_224.untrained" not in ours
    assert "hvit_nest_tiny_224" in timm.list_models("hvit_*", pretrained=True)
    assert "hvit_nest_micro_32" not in timm.list_models("hvit_*", pretrained=True)
    with pytest.raises(ValueError, match="looks like a Hugging Face Hub repo id"):
        timm.create_model("hvit/nest_micro_32")


@EVERY
def test_the_model_is_hvit_s_own_with_timm_s_arguments(name: str) -> None:
    found = make(name, num_classes=7, in_chans=1, img_size=64, drop_path_rate=0.2, drop_rate=0.0)
    torch.manual_seed(0)
    own: Any = hvit.create_model(name, num_classes=7, in_channels=1, input_size=64, drop_path=0.2).eval()
    images = torch.randn(2, 1, 64, 64)
    assert torch.equal(found(images), own(images))
    assert found.state_dict().keys() == own.state_dict().keys()
    assert found.pretrained_cfg["input_size"] == (1, 64, 64)
    assert found.default_cfg["num_classes"] == found.num_classes == 7
    assert resolve_data_config({}, model=found)["input_size"] == (1, 64, 64)


@EVERY
def test_features_only_gives_the_levels(name: str) -> None:
    images = torch.randn(2, 3, 32, 32)
    found, whole = make(name, features_only=True), make(name)
    levels = whole.levels(images)
    for one, level, dim, stride in zip(
        found(images), levels, found.feature_info.channels(), found.feature_info.reduction(), strict=True
    ):
        assert torch.equal(one, level.movedim(-1, 1))
        assert one.shape == (2, dim, 32 // stride, 32 // stride)
    (last,) = make(name, features_only=True, out_indices=(1,))(images)
    assert torch.equal(last, levels[1].movedim(-1, 1))
    features, maps = whole.forward_intermediates(images, indices=1, output_fmt="NHWC")
    assert torch.equal(features, whole.forward_features(images))
    assert torch.equal(maps[0], levels[-1])
    with pytest.raises(UserError, match="norm=False"):
        whole.forward_intermediates(images, norm=True)


@EVERY
def test_features_and_head_are_the_model(name: str) -> None:
    model, images = make(name), torch.randn(2, 3, 32, 32)
    features = model.forward_features(images)
    assert torch.equal(model.forward_head(features), model(images))
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    assert torch.equal(model.get_classifier()(pooled), model(images))
    model.reset_classifier(5)
    assert model(images).shape == (2, 5)
    assert model.config.num_classes == model.num_classes == 5
    model.reset_classifier(0)
    assert torch.equal(model(images), pooled)
    with pytest.raises(UserError, match="global_pool is that or None, not 'max'"):
        model.reset_classifier(5, "max")
    torch.testing.assert_close(make(name, num_classes=0)(images).shape, pooled.shape)


@EVERY
def test_optimisers_averages_and_checkpointing_of_timm_work(name: str) -> None:
    model, images = make(name, drop_path_rate=0.0), torch.randn(2, 3, 32, 32)
    model.train()
    kept = model.no_weight_decay()
    assert all(one.endswith(("positions", "class_token")) for one in kept)
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.7)
    scales = {group["lr_scale"] for group in groups}
    assert len(scales) == sum(model.config.depths) + 2
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.7)
    average = ModelEmaV3(model, decay=0.5)
    model(images).square().mean().backward()
    wanted = [one.grad.clone() for one in model.parameters() if one.grad is not None]
    model.zero_grad()
    model.set_grad_checkpointing()
    model(images).square().mean().backward()
    for one, other in zip((one.grad for one in model.parameters() if one.grad is not None), wanted, strict=True):
        torch.testing.assert_close(one, other)
    model.set_grad_checkpointing(False)
    assert not any("forward" in vars(type(one)) and one.__class__ is not type(one) for one in model.modules())
    optimizer.step()
    average.update(model)


@EVERY
def test_whole_models_are_copied_and_pickled(name: str) -> None:
    model, images = make(name), torch.randn(2, 3, 32, 32)
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(one(images), model(images))
        assert one.pretrained_cfg == model.pretrained_cfg


@EVERY
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_two_steps_of_timm_s_training_script_are_resumed_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    """What timm's train.py calls, in its order, with the options that it always passes."""
    options = argparse.Namespace(
        model=f"hvit_{name}", opt="adamw", lr=1e-3, weight_decay=0.05, momentum=0.9, layer_decay=0.75, input_size=None,
        img_size=None, crop_pct=None, mean=None, std=None, interpolation="",
    )  # fmt: skip

    def make_model(checkpoint: str = "") -> Any:
        model = timm.create_model(
            options.model, pretrained=False, in_chans=3, num_classes=4, drop_rate=0.0, drop_path_rate=0.1,
            drop_block_rate=None, global_pool=None, bn_momentum=None, bn_eps=None, scriptable=False,
            checkpoint_path=checkpoint,
        )  # fmt: skip
        model.set_grad_checkpointing(enable=True)
        return model.to(memory_format=torch.channels_last).train()

    def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
        torch.manual_seed(7)
        images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        torch.nn.functional.cross_entropy(model(images), torch.tensor([1, 3])).backward()
        dispatch_clip_grad(model_parameters(model, exclude_head=False), value=1.0, mode="norm")
        optimizer.step()
        optimizer.zero_grad()

    torch.manual_seed(0)
    model = make_model()
    with torch.no_grad():
        model.get_classifier().weight.mul_(0.5)
    settings = resolve_data_config(vars(options), model=model)
    assert (settings["input_size"], settings["crop_pct"]) == ((3, 32, 32), 1.0)
    assert safe_model_name(options.model) == options.model
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=options))
    average = ModelEmaV3(model, decay=0.5, use_warmup=True)
    schedule, _ = create_scheduler_v2(optimizer, num_epochs=2, warmup_epochs=0, updates_per_epoch=1)
    step(model, optimizer)
    average.update(model, step=1)
    schedule.step(1)
    saver = CheckpointSaver(
        model, optimizer, args=options, model_ema=average, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=0.5)
    resumed = make_model()
    again = create_optimizer_v2(resumed, **optimizer_kwargs(cfg=options))
    assert resume_checkpoint(resumed, str(tmp_path / "last.pth.tar"), again, weights_only=False, log_info=False) == 1
    for one, its in ((model, optimizer), (resumed, again)):
        step(one, its)
    assert all(torch.equal(one, resumed.state_dict()[key]) for key, one in model.state_dict().items())
    averaged = make_model(str(tmp_path / "model_best.pth.tar"))
    load_checkpoint(averaged, str(tmp_path / "last.pth.tar"), use_ema=True, weights_only=False)
    assert all(torch.equal(one, averaged.state_dict()[key]) for key, one in average.module.state_dict().items())


def test_weights_are_published_ones_or_a_file(tmp_path) -> None:
    with pytest.raises(UserError, match="timm has no weights for 'nest_micro_32'"):
        make("nest_micro_32", pretrained=True)
    wanted: Any = hvit.create_model("nest_micro_32")
    hvit.save_weights(wanted, tmp_path / "mine.safetensors")
    overlay = {"file": str(tmp_path / "mine.safetensors")}
    found = make("nest_micro_32", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(wanted.eval().forward_head(wanted.forward_features(images), pre_logits=True), found(images))


def test_what_timm_cannot_have_is_refused() -> None:
    with pytest.raises(UserError, match="pools by 'avg'; omit global_pool"):
        make("nest_micro_32", global_pool="max")
    with pytest.raises(UserError, match="have no field 'head_dropout'"):
        make("nest_micro_32", drop_rate=0.1)
    assert make("hiera_micro_32", drop_rate=0.1).config.head_dropout == 0.1
