"""Models of clips of other libraries behind the encoder contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvit.data.clips.settings import ClipData
from hvit.errors import UserError
from hvit.models.build import build, build_empty, count_parameters
from hvit.models.clip_baselines import ClipBaseline, ClipBaselineConfig
from hvit.recipes import get_recipe
from hvit.recipes.families import with_family
from hvit.verbs import evaluate, train

SMALL = {
    "r2plus1d_18": ClipBaselineConfig(name="r2plus1d_18", input_size=(8, 32, 32), num_classes=3),
    "swin3d_t": ClipBaselineConfig(
        name="swin3d_t", input_size=(8, 32, 32), num_classes=3, dims=(16, 32), heads=(1, 2), depths=(2, 2)
    ),
    "videomae": ClipBaselineConfig(
        name="videomae",
        input_size=(8, 32, 32),
        num_classes=3,
        patch_size=(2, 8, 8),
        dims=(32,),
        heads=(2,),
        depths=(2,),
    ),
    "timesformer": ClipBaselineConfig(
        name="timesformer",
        input_size=(8, 32, 32),
        num_classes=3,
        patch_size=(1, 8, 8),
        dims=(32,),
        heads=(2,),
        depths=(2,),
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_map_leads_to_the_librarys_own_logits(name: str) -> None:
    torch.manual_seed(0)
    model = build(SMALL[name]).eval()
    assert isinstance(model, ClipBaseline)
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        theirs = (
            model.network(clips.transpose(1, 2)).logits if name in ("videomae", "timesformer") else model.network(clips)
        )
        torch.testing.assert_close(model(clips), theirs, atol=1e-5, rtol=1e-5)
        [level], token = model.encode(clips)
        torch.testing.assert_close(model.classify(level, token), theirs, atol=1e-5, rtol=1e-5)
    assert tuple(level.shape[1:4]) == model.level_sizes(0)
    assert level.shape[-1] == model.level_dims[0]
    depths = {model.level_of(name) for name, _ in model.named_parameters()}
    assert depths == set(range(max(depths) + 1))


def test_the_published_sizes_have_the_printed_parameters() -> None:
    printed = {"r2plus1d_18": 31_505_325, "s3d": 8_320_048, "swin3d_t": 28_158_070, "videomae": 86_534_800}
    printed["timesformer"] = 121_400_000  # with 8 frames
    for name, parameters in printed.items():
        config = ClipBaselineConfig(name=name)  # pyright: ignore[reportArgumentType]
        assert count_parameters(build_empty(config)) == pytest.approx(parameters, rel=0.005)


def test_the_tokens_of_a_timesformer_lie_in_time_rows_and_columns() -> None:
    """Without attention and MLP a token of the map depends on the pixels of its own place alone."""
    config = replace(SMALL["timesformer"], input_size=(2, 16, 16))
    model = build(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("dense.weight", "dense.bias")) and ".encoder." in name:
            torch.nn.init.zeros_(parameter)
    clips = torch.randn(1, 3, 2, 16, 16)
    other = clips.clone()
    other[:, :, 1, :8, 8:] += 1
    changed = (model.levels(other)[0] - model.levels(clips)[0]).abs().amax(-1)[0] > 1e-6
    assert changed.nonzero().tolist() == [[1, 0, 1]]
    with pytest.raises(UserError, match="classifies its class token"):
        model.classify(model.levels(clips)[0])


@pytest.mark.parametrize("name", ["videomae", pytest.param("timesformer", marks=pytest.mark.long)])
def test_a_recipe_of_clips_trains_and_scores_one(name: str, tmp_path: Path, clip_folder: Path) -> None:
    recipe = with_family(get_recipe("hiera_micro_actions"), ["--model.family", "clip_baseline"])
    assert isinstance(recipe.model, ClipBaselineConfig)
    small = replace(SMALL[name], input_size=(8, 32, 32), num_classes=None)
    loop = replace(recipe.loop, epochs=1, max_steps=2, batch_size=4, workers=0, device="cpu")
    recipe = replace(recipe, model=small, data=ClipData(root=str(clip_folder)), loop=loop)
    scores = train.train(recipe, tmp_path / "run")
    assert evaluate.evaluate(tmp_path / "run")["top1"] == scores["top1"]


def test_impossible_sizes_are_refused_in_one_sentence() -> None:
    for changes, sentence in (
        ({"name": "s3d", "input_size": (8, 32, 32)}, "s3d takes 16 frames"),
        ({"name": "r2plus1d_18", "dims": (32, 64, 128, 256)}, "has dims"),
        ({"name": "videomae", "patch_size": (3, 16, 16)}, "must be divisible"),
        ({"name": "timesformer", "patch_size": (2, 8, 8)}, "must start with 1"),
        ({"name": "swin3d_t", "in_channels": 1}, "takes colour"),
        ({"name": "swin3d_t", "dims": (16, 48), "heads": (1, 2), "depths": (2, 2)}, "doubles"),
    ):
        with pytest.raises(UserError, match=sentence):
            ClipBaselineConfig(**changes)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="trains on images, and the family clip_baseline"):
        with_family(get_recipe("nest_micro_cifar10"), ["--model.family", "clip_baseline"])
    with pytest.raises(UserError, match="trains on clips, and the family vit"):
        with_family(get_recipe("hiera_micro_actions"), ["--model.family", "vit"])
