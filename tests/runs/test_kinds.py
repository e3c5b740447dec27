"""A new kind of run is one file and one line: the toy kind of CONTRIBUTING.md is described and trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from hvit.data.images.digits import DigitsData
from hvit.models.gan.config import GAN_SIZES
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.runs import kinds
from hvit.runs.classification import Classification
from hvit.runs.generation import Generation
from hvit.runs.kind import Prepared
from hvit.runs.kinds import kind_of
from hvit.runs.pretraining import Pretraining
from hvit.tasks.classify import Classify
from hvit.tasks.task import Batch, Networks, Phase, Task
from hvit.training.journal import read_journal
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from hvit.verbs import train


def test_every_configuration_has_its_kind() -> None:
    for config, kind in (
        (NestConfig(), Classification),
        (HIERA_SIZES["hiera_micro_32"], Classification),
        (MASKED_SIZES["mae_hiera_micro_32"], Pretraining),
        (GAN_SIZES["nest_gan_64"], Generation),
        (GAN_SIZES["nest_gan_64"].generator, Generation),
    ):
        assert type(kind_of(config)) is kind


class Halved(Classify):
    """Classification by half of the cross entropy."""

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        return super().loss(phase, networks, batch) / 2


class Toy(Classification):
    """The toy kind of CONTRIBUTING.md."""

    configs = (NestConfig,)

    def describe(self, recipe: Recipe) -> dict[str, str]:
        return {"model": "a NesT", "loss": "half of the cross entropy"}

    def finish(self, prepared: Prepared, task: Task, scores: dict[str, Any], folder: Path, looked: Any = None) -> None:
        scores["kind"] = "toy"

    def make_task(self, prepared: Prepared, model: Any, folder: Path) -> Task:
        return Halved(model, prepared.splits.classes, asdict(prepared.preprocess))


@pytest.mark.long
def test_a_toy_kind_is_trained_by_the_front_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "write_report", lambda folder: folder)
    sizes: dict[str, Any] = {
        "input_size": (8, 8), "in_channels": 1, "num_classes": 10, "patch_size": (1, 1), "dims": (8, 16),
        "heads": (2, 2), "depths": (1, 1),
    }  # fmt: skip
    loop = LoopConfig(epochs=1, batch_size=256, max_steps=2, workers=0, device="cpu")
    usual = Recipe(
        name="toy", summary="A test", model=NestConfig(**sizes), data=DigitsData(canvas=8),
        optimize=OptimizeConfig(learning_rate_per_256=1e-9), loop=loop,
    )  # fmt: skip
    lines: dict[str, str] = {}
    train.train(usual, tmp_path / "usual")
    monkeypatch.setattr(kinds, "KINDS", (Toy(), *kinds.KINDS))
    scores = train.train(usual, tmp_path / "toy", lines.update)
    assert scores["kind"] == "toy"
    assert lines["loss"] == "half of the cross entropy"
    halved, whole = (
        next(row["loss"] for row in read_journal(tmp_path / name / "journal.jsonl") if row["kind"] == "train")
        for name in ("toy", "usual")
    )
    assert halved == pytest.approx(whole / 2, rel=1e-4)
