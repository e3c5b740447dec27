"""Trains small runs of every kind in 1, 2 and 4 processes and prints by how much they differ.

    python benchmarks/processes.py [NAME ...] [--steps 8] [--sharded]

The processes share a batch, and meet by gloo, on the CPU. Each run is compared with that of one process: the largest
difference of a training loss, of a score of its evaluations, and of a weight of its last checkpoint, with the largest
change of a weight since the start, for comparison; and one process that cuts its batches into two parts
(`--loop.accumulate 2`). NAME: some of the runs; default: all. Adam divides by the size of gradients, which would make
much of the rounding of the smallest, so its epsilon is 1e-3.

--sharded: runs whose weights, gradients and optimizer states are sharded over 2 processes (FSDP2) or copied to them
(DDP), each with another setting. Weights are those that a run delivers.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from hvit.data.augment_settings import AugmentConfig
from hvit.data.images.digits import DigitsData
from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.build import build
from hvit.models.gan.config import GanConfig
from hvit.models.gan.conv_generator import ConvolutionGeneratorConfig
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.models.hiera.config import HieraConfig
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.weights.save import save_weights
from hvit.recipe import Recipe
from hvit.tasks.distill_settings import DistillConfig
from hvit.training.checkpoint import newest_checkpoint
from hvit.training.journal import read_journal
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from hvit.verbs import train

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["hvit.verbs.train", "hvit.recipes", "sklearn.datasets", "timm.data", "timm.models.vision_transformer"]
)
_PATIENCE = 600.0

ALL_MIXED = AugmentConfig(
    crop="pad", pad=2, flip=0.5, rand_augment="rand-m9-mstd0.5", erasing=0.5, block_erasing=0.3, label_smoothing=0.1,
    mixup=0.8, cutmix=1.0,
)  # fmt: skip
ON_DEVICE = replace(ALL_MIXED, rand_augment="", on_device=True)


def recipes(teacher: str, steps: int) -> dict[str, Recipe]:
    """A small run of every kind, with all that is drawn at random in it. teacher: weights of a classifier."""
    sizes: dict[str, Any] = {"input_size": (16, 16), "in_channels": 1, "num_classes": 10}
    nest = NestConfig(**sizes, patch_size=(2, 2), dims=(8, 16), heads=(2, 2), depths=(1, 2), drop_path=0.3)
    hiera = HieraConfig(
        **sizes, patch_size=(2, 2), patch_kernel=(3, 3), dims=(8, 16), heads=(1, 2), depths=(1, 1), unit_size=(2, 2),
        query_stride=(2, 2), query_pools=1, unit_attention=(True, False), drop_path=0.3, head_dropout=0.5,
    )  # fmt: skip
    mvit = MvitConfig(
        **sizes, patch_size=(2, 2), patch_kernel=(3, 3), dims=(8, 16), heads=(1, 2), depths=(1, 1),
        unit_attention=(False, False), drop_path=0.3, head_dropout=0.5,
    )  # fmt: skip
    resnet = ResnetConfig(**sizes, dims=(8, 16, 16, 16), depths=(1, 1, 1, 1), stem="conv3", drop_path=0.3)
    vit = VitConfig(**sizes, patch_size=(4, 4), dims=(16,), heads=(2,), depths=(2,), drop_path=0.3)
    plain = replace(hiera, drop_path=0.0, head_dropout=0.0)
    masked = MaskedConfig(encoder=plain, decoder_dim=8, decoder_depth=1, decoder_heads=1)
    images = {"output_size": (16, 16), "out_channels": 1, "latent_dim": 8}
    residual = ResidualDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 8, 8))
    sagan = SaganDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 8, 8), attention_side=8)
    game: dict[str, Any] = {
        "r1_weight": 3.0, "r1_every": 2, "consistency": 2.0, "diff_augment": ("color", "translation", "cutout"),
        "compared": 160,
    }  # fmt: skip
    gan = GanConfig(NestGeneratorConfig(**images, dims=(16, 8), heads=(2, 1), depths=(1, 1)), residual, **game)
    convolutions = GanConfig(
        ConvolutionGeneratorConfig(**images, dims=(8, 8, 8), attention_side=8), sagan, loss="hinge", conditional=True,
        **game,
    )  # fmt: skip
    distill = DistillConfig(teachers=(teacher,), target="both", label_weight=0.5)
    loop = LoopConfig(
        batch_size=32, max_steps=steps, evaluate_steps=max(1, steps // 2), epochs=2, workers=0, device="cpu"
    )
    optimize = OptimizeConfig(learning_rate_per_256=4e-2, warmup_epochs=0.0, average_decay=0.9, epsilon=1e-3)
    usual = Recipe(
        name="usual", summary="compared", model=nest, data=DigitsData(canvas=16), loop=loop, optimize=optimize,
        augment=ALL_MIXED,
    )  # fmt: skip
    return {
        "classification": usual,
        "classification, on the device": replace(usual, model=hiera, augment=ON_DEVICE),
        "classification, MViTv2": replace(usual, model=mvit),
        "classification, ViT of timm": replace(usual, model=vit),
        "classification, ResNet with batch norm": replace(usual, model=resnet),
        "masked pretraining": replace(usual, model=masked, augment=AugmentConfig(crop="pad", flip=0.5)),
        "masked pretraining, dense, blocks": replace(
            usual, model=replace(masked, encoder=replace(nest, drop_path=0.0), encoding="dense", mask_pattern="block"),
            augment=AugmentConfig(),
        ),
        "distillation": replace(usual, distill=distill),
        "generation": replace(usual, model=gan, augment=AugmentConfig(flip=0.5)),
        "generation, batch norm": replace(usual, model=convolutions, augment=AugmentConfig(flip=0.5)),
    }  # fmt: skip


def divided(usual: dict[str, Recipe]) -> dict[str, Recipe]:
    """Small runs, each with a setting that dividing a network over processes could break. usual: of `recipes`."""
    plain = usual["classification"]

    def with_(recipe: Recipe = plain, loop: dict[str, Any] | None = None, **optimize: Any) -> Recipe:
        """With some fields changed, an evaluation every second step, and no running average unless asked for."""
        return replace(
            recipe,
            loop=replace(recipe.loop, evaluate_steps=2, **(loop or {})),
            optimize=replace(recipe.optimize, **{"average_decay": 0.0, **optimize}),
        )

    return {
        "running average": with_(average_decay=0.9),
        "gradient clipping": with_(clip_norm=0.05),
        "layer decay": with_(layer_decay=0.5),
        "frozen layers": with_(freeze="levels:1"),
        "mean of evaluations": with_(loop={"keep": "average"}),
        "SGD, two parts, recomputed activations": with_(
            loop={"accumulate": 2, "checkpoint_activations": True}, method="sgd", nesterov=True
        ),
        "bfloat16": with_(loop={"precision": "bfloat16"}),
        "compiled blocks": with_(loop={"compile": True}),
        "batch norm": with_(usual["classification, ResNet with batch norm"]),
        "MViTv2": with_(usual["classification, MViTv2"]),
        "masked pretraining": with_(usual["masked pretraining"]),
        "distillation": with_(usual["distillation"]),
    }


def save_teacher(folder: Path) -> str:
    """Weights of a small classifier of the digits, at random initialisation."""
    torch.manual_seed(1)
    config = NestConfig(
        input_size=(16, 16), in_channels=1, num_classes=10, patch_size=(2, 2), dims=(8, 16), heads=(2, 2), depths=(1, 1)
    )
    preprocess = {"input_size": (16, 16), "mean": (0.2,), "std": (0.3,), "crop": 1.0, "interpolation": "bilinear"}
    path = folder / "teacher.safetensors"
    save_weights(build(config), path, classes=tuple(map(str, range(10))), preprocess=preprocess)
    return str(path)


def train_together(recipe: Recipe, folder: Path, count: int) -> None:
    """Runs a recipe in so many processes of one thread, without pictures and report.

    Each run compiles for itself: with the code that torch keeps from an earlier run, two processes differ from one by
    more than rounding (7e-3 in a weight, where they differ by 3e-7 with code of their own).
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    everywhere = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    everywhere["TORCHINDUCTOR_CACHE_DIR"] = str(folder.parent / f"compiled_{folder.name}")
    members = [
        _CONTEXT.Process(target=_work, args=(recipe, folder, everywhere | {"RANK": str(rank), "LOCAL_RANK": str(rank)}))
        for rank in range(count)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(_PATIENCE)
    statuses = [member.exitcode for member in members]
    for member in members:
        if member.is_alive():
            member.kill()
    if any(statuses):
        failures = "".join(path.read_text() for path in folder.parent.glob("failure_*.txt"))
        raise SystemExit(f"{folder} in {count} processes ended with {statuses}: {failures}")


def _work(recipe: Recipe, folder: Path, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    for name in ("_finish", "draw_training_images"):
        setattr(train, name, lambda *_: None)
    try:
        train.train(recipe, folder)
    except BaseException as error:
        (folder.parent / f"failure_{environment['RANK']}.txt").write_text(f"{type(error).__name__}: {error}\n")
        raise


@dataclass(frozen=True)
class Left:
    """What a run has left. losses, scores: numbers in the order of the journal. weights: of all its networks."""

    losses: Tensor
    scores: Tensor
    weights: Tensor


def left_by(folder: Path, delivered: bool = False) -> Left:
    """Reads a run folder. delivered: whether the weights are those that the run delivers."""
    if delivered:
        weights = [value.double().flatten() for _, value in sorted(load_file(folder / "weights.safetensors").items())]
    else:
        state, _ = newest_checkpoint(folder, lambda _: True)
        assert state is not None
        weights = [value.double().flatten() for network in state["networks"].values() for value in network.values()]
    rows = read_journal(folder / "journal.jsonl")
    times = {"step", "seconds", "time", "images_per_second", "clips_per_second", "learning_rate"}

    def numbers(kind: str) -> Tensor:
        return torch.tensor(
            [
                float(value)
                for row in rows if row["kind"] == kind
                for name, value in row.items() if isinstance(value, int | float) and name not in times
            ],
            dtype=torch.float64,
        )  # fmt: skip

    return Left(numbers("train"), numbers("evaluate"), torch.cat(weights))


def differences(one: Left, other: Left) -> tuple[float, float, float]:
    """The largest differences of losses, of scores and of weights."""
    pairs = ((one.losses, other.losses), (one.scores, other.scores), (one.weights, other.weights))
    first, second, third = (float((here - there).abs().max()) for here, there in pairs)
    return first, second, third


def _with(recipe: Recipe, **loop: Any) -> Recipe:
    return replace(recipe, loop=replace(recipe.loop, **loop))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--sharded", action="store_true", help="compare sharded with whole weights")
    arguments = parser.parse_args()
    print("| run | compared with one process | losses | scores | weights | weights moved by |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        found = recipes(save_teacher(place), arguments.steps)
        found = divided(found) if arguments.sharded else found
        for title in arguments.names or found:
            recipe, folder = found[title], place / title.replace(" ", "_")
            start = replace(recipe, loop=replace(recipe.loop, max_steps=1, checkpoint_steps=1))
            train_together(start, folder / "start", 1)
            train_together(recipe, folder / "1", 1)
            whole = left_by(folder / "1", arguments.sharded)
            moved = float((whole.weights - left_by(folder / "start", arguments.sharded).weights).abs().max())
            if arguments.sharded:
                others = [(f"2 processes, {mode}", _with(recipe, parallel=mode), 2) for mode in ("ddp", "fsdp")]
            else:
                parts = _with(recipe, accumulate=2)
                others = [("2 processes", recipe, 2), ("4 processes", recipe, 4), ("2 parts", parts, 1)]
            for words, other, count in others:
                train_together(other, folder / words, count)
                loss, score, weight = differences(whole, left_by(folder / words, arguments.sharded))
                print(f"| {title} | {words} | {loss:.1e} | {score:.1e} | {weight:.1e} | {moved:.1e} |", flush=True)


if __name__ == "__main__":
    main()
