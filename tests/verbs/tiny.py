"""A NesT so small that a run on the 8 x 8 digits takes seconds, as a recipe and as options of the command line."""

from __future__ import annotations

from hvit.data.images.digits import DigitsData
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig

# A NesT so small that a run on the 8 x 8 scans takes seconds.
TINY = NestConfig(
    input_size=(8, 8), in_channels=1, num_classes=10, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1),
    drop_path=0.2,
)  # fmt: skip


RECIPE = Recipe(
    name="tiny",
    summary="A test",
    model=TINY,
    data=DigitsData(canvas=8),
    optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=1, average_decay=0.9),
    loop=LoopConfig(epochs=2, batch_size=128, checkpoint_steps=3, workers=0, device="cpu"),
)


ON_THE_COMMAND_LINE = [
    *("--data.canvas", "8", "--model.input-size", "8", "8", "--model.patch-size", "1", "1"),
    *("--model.dims", "8", "16", "--model.heads", "2", "2", "--model.depths", "1", "1"),
    *("--loop.batch-size", "128", "--loop.epochs", "2", "--loop.checkpoint-steps", "3", "--loop.device", "cpu"),
    *("--loop.workers", "0"),
]
