"""Writes the run folders of `tests/data/runs_0_1`: small runs of every kind, as the version before 0.2 left them.

Run it with the old version only: `git worktree add old COMMIT`, copy this file into it, and there
`python write_fixture.py OUT`. It leaves for each kind a finished run, the same run interrupted after its first
checkpoint, and `expected.json`: what that version predicted, explained and scored. The pages and pictures of a run are
left away, because no verb reads them.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from hvit.data.digits import DigitsData
from hvit.models.gan_config import GAN_SIZES
from hvit.models.hiera_config import HieraConfig
from hvit.run import train
from PIL import Image

from hvit.cli import main
from hvit.models.masked import MaskedConfig
from hvit.models.nest import NestConfig
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

LOOP = LoopConfig(epochs=2, batch_size=128, checkpoint_steps=3, max_steps=6, evaluate_steps=3, workers=0, device="cpu")
OPTIMIZE = OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=0.2, average_decay=0.9)


def recipes() -> dict[str, Recipe]:
    """A tiny recipe of every kind of run."""
    data = DigitsData(canvas=8)
    nest = NestConfig(
        input_size=(16, 16), in_channels=1, num_classes=10, patch_size=(2, 2), dims=(8, 16), heads=(2, 2),
        depths=(1, 1), drop_path=0.1,
    )  # fmt: skip
    hiera = HieraConfig(
        input_size=(16, 16), in_channels=1, num_classes=10, patch_size=(2, 2), patch_kernel=(3, 3), dims=(8, 16),
        heads=(1, 2), depths=(1, 1), unit_size=(2, 2), query_stride=(2, 2), query_pools=1,
        unit_attention=(True, False),
    )  # fmt: skip
    gan = GAN_SIZES["nest_gan_digits_32"]
    gan = replace(
        gan, conditional=True, compared=64,
        generator=replace(gan.generator, dims=(16, 8), heads=(2, 2), depths=(1, 1), output_size=(16, 16), latent_dim=8),
        discriminator=replace(gan.discriminator, input_size=(16, 16), dims=(4, 8, 8)),
    )  # fmt: skip
    usual = Recipe(name="tiny", summary="A test", model=nest, data=data, optimize=OPTIMIZE, loop=LOOP)
    return {
        "classification": replace(usual, name="nest_micro_digits"),
        "pretraining": replace(
            usual,
            name="hiera_micro_mae_cifar10",
            model=MaskedConfig(encoder=hiera, decoder_dim=8, decoder_depth=1, decoder_heads=1),
        ),
        "generation": replace(
            get_recipe("nest_gan_digits_32"), model=gan, loop=replace(LOOP, batch_size=32), data=DigitsData(canvas=8)
        ),
    }


def say(*arguments: str | Path) -> str:
    """What a verb prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main([str(one) for one in arguments])
    return out.getvalue()


def write(out: Path) -> None:
    """Writes all folders and what this version answers."""
    out.mkdir(parents=True)
    random = np.random.default_rng(0)
    image = out / "image.png"
    Image.fromarray(random.integers(0, 255, (16, 16)).astype(np.uint8)).save(image)
    expected: dict[str, object] = {}
    for kind, recipe in recipes().items():
        folder = out / kind
        train(recipe, folder)
        answers: dict[str, object] = {"evaluate": json.loads(say("evaluate", folder, "--json", "--device", "cpu"))}
        if kind == "classification":
            answers["predict"] = json.loads(say("predict", folder, image, "--json", "--device", "cpu"))
            explained = say("explain", folder, image, "--json", "--device", "cpu", "--out", out / "explained")
            answers["explain"] = json.loads(explained)["trees"]
            shutil.rmtree(out / "explained")
        for name in ("report.html", "pictures"):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        interrupted = out / f"{kind}_interrupted"
        shutil.copytree(folder, interrupted)
        newest = sorted((interrupted / "checkpoints").iterdir())[-1]
        newest.unlink()
        for name in ("weights.safetensors", "scores.json"):
            (interrupted / name).unlink()
        shutil.rmtree(folder / "checkpoints")
        for place in (folder, interrupted):
            environment = json.loads((place / "environment.json").read_text())
            environment["command"] = ["hvit", "train", recipe.name]
            (place / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
        expected[kind] = answers
    (out / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
