"""How long a run trains and in what portions, and the numbers that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hvit.errors import UserError, check_choices
from hvit.machine import has_bfloat16
from hvit.training.distribute import Processes
from hvit.training.optimize import OptimizeConfig, learning_rate_at

GOOD_STEPS, GOOD_STEPS_FROM_WEIGHTS = 1000, 250
"""Optimizer steps that a plan advises at least, where a run has few: from random initialisation, and from weights."""
FEW = 0.4
"""Share of these below which steps are few; the recipes of embedded digits learn in a little more."""
FEWEST_STEPS_AN_EPOCH = 20
LARGE_BATCH = 256
"""The smallest batch of the recipes that are meant for large GPUs or several."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and in what portions a run trains, and on what device."""

    epochs: int = 300
    """Passes over the training set."""
    batch_size: int = 1024
    """Images per step, over all devices and accumulated parts."""
    accumulate: int = 1
    """Parts a device's share of the batch is cut into, one after the other, to save memory."""
    repeats: int = 1
    """How often each image or clip is in its batch, augmented anew each time (repeated sampling). Epochs, those of the
    warm-up too, count the copies: a pass over the set with 2 repeats is 2 epochs."""
    max_steps: int = 0
    """Stop after this many steps, whatever epochs says; 0: no limit."""
    evaluate_every: int = 1
    """Epochs between evaluations (the last epoch is always evaluated)."""
    evaluate_steps: int = 0
    """Steps between evaluations, in place of epochs; 0: as evaluate_every says."""
    checkpoint_steps: int = 0
    """Steps between checkpoints; 0: at every evaluation and every five minutes."""
    keep: Literal["last", "best", "average"] = "last"
    """Which weights the run delivers: those of its last step; those of the evaluation with the best score on the
    validation images (of equal scores the lower loss); or the mean over the evaluations of the last quarter of its
    steps."""
    patience: int = 0
    """Stop after so many evaluations in a row without a better score on the validation images; 0: never."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on a GPU that has it, float32 elsewhere."""
    compile: bool = False
    """Compile the networks with torch.compile: slower to start, faster after. On a CPU it needs a C++ compiler."""
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    """With compile: torch's mode. reduce-overhead replays CUDA graphs, for small models on a GPU; max-autotune tries
    more kernels. On a CPU reduce-overhead is no faster than default."""
    checkpoint_activations: bool = False
    """Forget what transformer blocks compute and compute it again in the backward pass: far less memory, a slower step,
    the same gradients."""
    parallel: Literal["auto", "ddp", "fsdp", "hsdp"] = "auto"
    """How several processes share the work. ddp: each has all weights; fsdp: weights, gradients and optimizer states
    are sharded over all of them (FSDP2); hsdp: sharded within groups, and copied from group to group. auto: ddp."""
    shard_size: int = 0
    """With hsdp: processes over which one copy of the weights is sharded; 0: those of one machine."""
    offload: bool = False
    """With fsdp or hsdp: keep shards and optimizer states in the memory of the host: less device memory, slower."""
    channels_last: bool = False
    """Keep the channels of a pixel side by side in memory: faster for models of convolutions, such as ResNets; of
    transformers it changes little. Sums are rounded in another order."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run; auto takes a GPU if there is one."""
    workers: int = 2
    """Processes that read and augment images; 0 does it in the training process."""

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("epochs", "batch_size", "accumulate", "repeats", "evaluate_every"):
            if getattr(self, name) < 1:
                raise UserError(f"loop.{name} must be 1 or more; got {getattr(self, name)}")
        if self.compile_mode != "default" and not self.compile:
            raise UserError(f"loop.compile_mode {self.compile_mode} needs --loop.compile")
        for name in ("max_steps", "evaluate_steps", "checkpoint_steps", "patience", "workers"):
            if getattr(self, name) < 0:
                raise UserError(f"loop.{name} must be 0 or more; got {getattr(self, name)}")
        if self.shard_size < 0 or (self.shard_size and self.parallel != "hsdp"):
            raise UserError(
                f"loop.shard_size is the number of processes that share one copy of the weights with --loop.parallel "
                f"hsdp, 1 or more; got {self.shard_size} and parallel {self.parallel}"
            )
        if self.offload and self.parallel not in ("fsdp", "hsdp"):
            raise UserError(f"loop.offload needs --loop.parallel fsdp or hsdp; got {self.parallel}")
        if self.patience and self.keep == "average":
            raise UserError(
                "loop.keep average takes the mean over the last quarter of the planned steps, which loop.patience may "
                "not reach: choose one of them"
            )


@dataclass(frozen=True)
class Schedule:
    """The numbers that follow from a recipe, its data and the devices."""

    steps_per_epoch: int
    total_steps: int
    cosine_steps: int
    warmup_steps: float
    peak_learning_rate: float
    final_learning_rate: float
    start_learning_rate: float
    images_per_device: int
    precision: str

    @staticmethod
    def of(loop: LoopConfig, optimize: OptimizeConfig, steps_per_epoch: int, ranks: Processes) -> Schedule:
        """Derives the schedule. Raises UserError where the batch does not divide over devices and parts."""
        parts = ranks.world_size * loop.accumulate
        if loop.batch_size % parts:
            raise UserError(
                f"loop.batch_size {loop.batch_size} must be divisible by {ranks.world_size} devices "
                f"x {loop.accumulate} accumulated parts"
            )
        if optimize.unfreeze_epochs and ranks.world_size > 1:
            raise UserError(
                f"optimize.unfreeze_epochs {optimize.unfreeze_epochs:g} changes while it trains which gradients are "
                f"averaged, which {ranks.world_size} processes cannot: start it without torchrun, or train in two "
                f"runs, the second from the weights of the first"
            )
        total = loop.epochs * steps_per_epoch
        can = ranks.device.type == "cuda" and has_bfloat16("cuda")
        bfloat16 = loop.precision == "bfloat16" or (loop.precision == "auto" and can)
        return Schedule(
            steps_per_epoch=steps_per_epoch,
            total_steps=min(total, loop.max_steps) if loop.max_steps else total,
            cosine_steps=total,
            warmup_steps=optimize.warmup_epochs * steps_per_epoch,
            peak_learning_rate=optimize.learning_rate_per_256 * loop.batch_size / 256,
            final_learning_rate=optimize.final_learning_rate_per_256 * loop.batch_size / 256,
            start_learning_rate=optimize.start_learning_rate_per_256 * loop.batch_size / 256,
            images_per_device=loop.batch_size // parts,
            precision="bfloat16" if bfloat16 else "float32",
        )

    def describe_learning_rate(self) -> str:
        """The course of the learning rate in words."""
        if self.warmup_steps >= self.cosine_steps:
            last = self.learning_rate(self.cosine_steps)
            return f"rises in all {self.cosine_steps:,} steps, to {last:.3g} only: the warm-up is longer than the run"
        peak, warmup = f"{self.peak_learning_rate:.3g}", f"{self.warmup_steps:,.0f}"
        final = f"{self.final_learning_rate:.3g}"
        start = f"from {self.start_learning_rate:.3g} " if self.start_learning_rate else ""
        rise = f"rises {start}to {peak} in {warmup} steps" if self.warmup_steps else f"{peak} at the first step"
        constant = self.final_learning_rate == self.peak_learning_rate
        return f"{rise}, then {'constant' if constant else f'a cosine to {final} at step {self.cosine_steps:,}'}"

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0; `max_steps` cuts a run short without changing its rates."""
        peak, final = self.peak_learning_rate, self.final_learning_rate
        return learning_rate_at(step, peak, self.warmup_steps, self.cosine_steps, final, self.start_learning_rate)


def few_steps_notes(
    loop: LoopConfig, optimize: OptimizeConfig, size: int, ranks: Processes, what: str, from_weights: bool = False
) -> tuple[str, ...]:
    """Sentences for the plan of a run that is too short to train well, or has a batch for more data, and what to set.

    size: how many images or clips (`what`) there are to train on. from_weights: whether training starts from weights,
    which takes fewer steps. `max_steps` does not count: it is there to cut a run short.
    """
    an_epoch = max(1, size // loop.batch_size)
    steps = loop.epochs * an_epoch
    good = GOOD_STEPS_FROM_WEIGHTS if from_weights else GOOD_STEPS
    batch, epochs = _enough_steps(loop, size, ranks, good)
    settings = [f"--loop.batch-size {batch}"] if batch < loop.batch_size else []
    settings += [f"--loop.epochs {epochs}"] if epochs > loop.epochs else []
    follows = ", and the learning rate follows" if batch < loop.batch_size else ""
    advice = f"{' '.join(settings)} would make {epochs * max(1, size // batch):,} steps{follows}"
    notes = []
    if loop.batch_size >= LARGE_BATCH and an_epoch < FEWEST_STEPS_AN_EPOCH and settings:
        notes.append(
            f"A batch of {loop.batch_size:,} is meant for large GPUs, or several, and far more than {size:,} {what}: "
            f"they make {'1 step' if an_epoch == 1 else f'{an_epoch} steps'} an epoch: {advice}."
        )
    elif steps < FEW * good:
        start = "weights" if from_weights else "random initialisation"
        are_few = "1 step is" if steps == 1 else f"{steps:,} steps are"
        notes.append(f"{are_few} little to train from {start}, where {good:,} are a good start: {advice}.")
    if optimize.warmup_epochs >= loop.epochs:
        notes.append(
            f"The warm-up takes {optimize.warmup_epochs:g} epochs and the run {loop.epochs}: the learning rate never "
            f"reaches its peak: set --optimize.warmup-epochs {loop.epochs / 10:g}, or more --loop.epochs."
        )
    return tuple(notes)


def _enough_steps(loop: LoopConfig, size: int, ranks: Processes, good: int) -> tuple[int, int]:
    """A batch and a number of epochs that make enough steps: at most the batch, and at least the epochs, of the run."""
    unit = ranks.world_size * loop.accumulate * loop.repeats
    wanted = max(8, size // FEWEST_STEPS_AN_EPOCH)
    batch = min(loop.batch_size, unit * 2 ** math.floor(math.log2(max(1, wanted / unit))))
    return batch, max(loop.epochs, math.ceil(good / max(1, size // batch)))
