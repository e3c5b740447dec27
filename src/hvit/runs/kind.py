"""What a kind of run is: the part of training and scoring that differs between, say, classification and generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from hvit.data.batches import small_set_notes
from hvit.data.open import Splits
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import count_parameters, without_memory
from hvit.models.sizes import SizedConfig
from hvit.models.weights.open import OpenedWeights
from hvit.recipe import Recipe
from hvit.tasks.task import Scores, Task
from hvit.training.distribute import Processes
from hvit.training.freezing import NOTHING, count_trained, freeze, highest_frozen
from hvit.training.loop import Trainer
from hvit.training.schedule import Schedule, few_steps_notes
from hvit.training.setup import BatchSource, RunSettings

Built = TypeVar("Built", bound=nn.Module | tuple[nn.Module, ...])
"""What a kind trains: a model, or several networks."""
Report = Callable[[dict[str, str]], object]
"""Called with lines a person reads, by their titles."""


def silent(lines: dict[str, str]) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True)
class Prepared:
    """A recipe that fits its data, with the data opened and everything that follows from both."""

    recipe: Recipe
    splits: Splits
    preprocess: Preprocess
    schedule: Schedule
    ranks: Processes

    @property
    def sample_kind(self) -> str:
        """What the data is made of: images or clips."""
        return "clips" if self.preprocess.takes_clips else "images"


@dataclass(frozen=True)
class ScoreRequest:
    """What `hvit evaluate` was asked for."""

    target: Path
    """A run folder or a weights file."""
    opened: OpenedWeights[Any]
    """The weights of the target."""
    data_kind: str | None
    """What to evaluate on; default: the data of the run."""
    root: str | None
    """Where that data is."""
    ranks: Processes
    """The processes that score together, and where this one runs."""
    report: Report
    """Called with notes on the data and on what was chosen."""
    fast: bool
    """Whether the model is prepared for inference first."""
    auroc: bool = False
    """Whether the area under the ROC curve and the average precision of every class are computed."""

    @property
    def device(self) -> torch.device:
        """Where to run."""
        return self.ranks.device


@dataclass(frozen=True)
class ForwardPass:
    """A pass of training through a network without memory, for counting what it leaves for the backward pass."""

    network: nn.Module
    """On torch's meta device."""
    inputs: tuple[Tensor, ...]
    """One sample, on the same device."""
    share: float = 1.0
    """The share of the input that is computed, such as the visible mask units."""


def empty_input(config: SizedConfig) -> Tensor:
    """One image or clip (1, channels, *input_size) without memory, as a configuration's network takes it."""
    return torch.empty(1, config.in_channels, *config.input_size, device="meta")


def plain_preprocess(config: SizedConfig) -> Preprocess:
    """How images become a model's input where no data says it: mean and standard deviation are a half."""
    half = (0.5,) * config.in_channels
    return Preprocess(config.input_size, half, half)


def refuse_labels(recipe: Recipe, splits: Splits) -> None:
    """Raises UserError where a run without a classifier gets labels, or a loss, that only classifiers take."""
    if recipe.loss != "auto":
        raise UserError(f"loss {recipe.loss} is for classifiers, and this run trains none: omit --loss")
    if splits.train.weights is not None:
        raise UserError("weights of classes and samples are for classifiers: omit --data.balance and weight columns")
    kind = splits.labels.kind
    if kind not in ("single", "ordinal"):
        raise UserError(
            f"this run takes classes or no labels, and those of the table are {splits.labels.describe()}: train with "
            "--data.labels none"
        )


class Kind(ABC, Generic[Built]):
    """One kind of run. A new one is a file with a subclass, and a line in `hvit.runs.kinds`."""

    configs: ClassVar[tuple[type, ...]]
    """Configurations of a recipe's model, and of the weights a run leaves, that belong to this kind."""
    can_be_prepared: ClassVar[bool] = False
    """Whether its models can be prepared for inference."""
    tests: ClassVar[bool] = True
    """Whether a finished run is scored on the test set, where there is one; others leave it alone."""
    whole_because: ClassVar[str] = ""
    """Why several processes may not compile and shard its networks block by block; empty where they may."""
    trains_in_steps: ClassVar[bool] = True
    """Whether a run trains in steps, so that `hvit plan` can count what one takes."""
    on_timm: ClassVar[bool] = True
    """Whether timm may have published weights of its models."""

    def takes(self, recipe: Recipe) -> bool:
        """Whether a recipe is of this kind; the first kind of the table that says so runs it."""
        return isinstance(recipe.model, self.configs)

    def settle(self, recipe: Recipe, download: bool) -> tuple[Recipe, str]:
        """The recipe with what depends on this machine decided, and a sentence on it; most recipes leave nothing open.

        download: whether something may be downloaded now.
        """
        return recipe, ""

    def with_full_paths(self, recipe: Recipe) -> Recipe:
        """The recipe with the paths of its model made absolute; most models have none."""
        return recipe

    def fit_splits(self, recipe: Recipe, splits: Splits) -> Splits:
        """The data as this kind uses it, such as with some labels only; usually as it was opened."""
        return splits

    @property
    def by_block(self) -> bool:
        """Whether several processes may compile and shard its networks block by block."""
        return not self.whole_because

    @abstractmethod
    def fit_to_data(self, recipe: Recipe, splits: Splits) -> Recipe:
        """The recipe with the number of classes of the data, where it leaves that open (None).

        Raises UserError for data that it cannot train on, and for another number of classes.
        """

    @abstractmethod
    def describe(self, recipe: Recipe) -> dict[str, str]:
        """The lines of the plan about the model and what it is evaluated with."""

    def describe_training(self, prepared: Prepared) -> dict[str, str]:
        """The lines of the plan about steps and learning rate."""
        recipe, schedule, what = prepared.recipe, prepared.schedule, prepared.sample_kind
        batch, repeats, part = recipe.loop.batch_size, recipe.loop.repeats, schedule.images_per_device
        return {
            **self._frozen(prepared),
            "steps": f"{schedule.total_steps:,} of {batch} {what} ({batch // part} x {part})"
            f"{f', each {repeats} times,' if repeats > 1 else ','} {schedule.steps_per_epoch:,} an epoch",
            "learning rate": schedule.describe_learning_rate(),
        }

    def describe_delivery(self, prepared: Prepared) -> dict[str, str]:
        """The line of the plan about which weights are delivered, and what they are scored on."""
        loop, splits, what = prepared.recipe.loop, prepared.splits, prepared.sample_kind
        chosen = {
            "best": "the weights of the best evaluation",
            "average": "the mean of the weights of the evaluations in the last quarter",
            "last": "the weights of the last step",
        }[loop.keep]
        chooses = loop.keep == "best" or loop.patience > 0
        if not (chooses or loop.keep == "average" or splits.test):
            return {}
        lines = [chosen]
        if loop.patience:
            evaluations = "1 evaluation" if loop.patience == 1 else f"{loop.patience:,} evaluations"
            lines.append(f"training stops after {evaluations} without a better score")
        if splits.test and self.tests:
            lines.append(f"scores are of the {len(splits.test):,} test {what}, which choose nothing")
        elif chooses:
            lines.append(
                f"the {len(splits.held_out):,} held-out {what} choose and are scored, because there are no test "
                f"{what}: scores are a little too good"
            )
        return {"delivers": "; ".join(lines)}

    def _frozen(self, prepared: Prepared) -> dict[str, str]:
        """The lines of the plan about frozen layers, where there are some, and when they are released."""
        recipe, schedule = prepared.recipe, prepared.schedule
        how, every = recipe.optimize.freeze, recipe.optimize.steps_between_releases(schedule.steps_per_epoch)
        if how == NOTHING:
            return {}
        networks = self.empty_networks(recipe)
        for network in networks:
            freeze(network, how)
        trained, everything = sum(map(count_trained, networks)), sum(map(count_parameters, networks))
        lines = {"frozen": f"{how}: {trained:,} of {everything:,} parameters are trained"}
        if not every:
            return lines
        stages = max(len(highest_frozen(network, how)) for network in networks) - 1
        reached = [f"{every * number:,}" for number in range(1, stages + 1) if every * number < schedule.total_steps]
        unit = "level" if any(len(network.config.depths) > 1 for network in networks) else "layer"  # pyright: ignore
        lines["unfrozen"] = f"one {unit} more, from the top, the stem last, from step {', '.join(reached) or 'none'} on"
        if len(reached) < stages:
            lines["unfrozen"] += f"; {stages - len(reached)} of {stages} stay frozen, because the run ends before"
        return lines

    def estimate(self, prepared: Prepared, model: Built) -> dict[str, str]:
        """Lines of a plan that is only printed, about how long the run takes on this machine; most kinds have none."""
        return {}

    def training_notes(self, prepared: Prepared) -> tuple[str, ...]:
        """Sentences for the plan of a run that will not train well as it is."""
        recipe, what, size = prepared.recipe, prepared.sample_kind, len(prepared.splits.train)
        few = few_steps_notes(
            recipe.loop, recipe.optimize, size, prepared.ranks, what, from_weights=recipe.weights is not None
        )
        return (*small_set_notes(size, recipe.loop.batch_size, what), *few)

    def statistics(self, recipe: Recipe, splits: Splits) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel that inputs are normalised with; those of the data."""
        return splits.mean, splits.std

    @abstractmethod
    def build(self, recipe: Recipe) -> Built:
        """The model, or the networks, of a recipe at random initialisation."""

    def for_training(self, prepared: Prepared) -> Prepared:
        """How training batches are made; usually as the run's model takes images."""
        return prepared

    def fixed_networks(self, recipe: Recipe) -> tuple[nn.Module, ...]:
        """Networks that a run uses in addition to its own and does not train, for counting the memory they take."""
        return ()

    def empty_networks(self, recipe: Recipe) -> tuple[nn.Module, ...]:
        """The networks of a recipe without memory, for counting. Raises UserError for sizes that none can have."""
        with without_memory(recipe.model):
            built = self.build(recipe)
        return (built,) if isinstance(built, nn.Module) else tuple(built)

    def forward_passes(self, recipe: Recipe) -> list[ForwardPass]:
        """The passes of a training step, for counting the memory that it takes; usually one, of a whole input."""
        return [ForwardPass(network, (empty_input(recipe.model),)) for network in self.empty_networks(recipe)]

    def as_built(self, networks: tuple[nn.Module, ...]) -> Any:
        """The networks of `empty_networks` as `build` gives them."""
        return networks[0]

    def for_plan(self, recipe: Recipe) -> Recipe:
        """The recipe with what its options change in the network, as `fit_to_data` would have it; usually nothing."""
        return recipe

    def step_size(self, recipe: Recipe) -> tuple[int, ...]:
        """The size in which training images, or clips, are made where no data says it; usually the model's."""
        return recipe.model.input_size

    def plan_notes(self, recipe: Recipe) -> tuple[str, ...]:
        """Sentences on what a plan of such a run assumes besides."""
        return ()

    def bare_task(self, recipe: Recipe, model: Built) -> Task:
        """The task of a recipe without its data, of which only losses can be computed; `hvit plan` counts on them."""
        raise NotImplementedError(f"{type(self).__name__} trains in other ways, as trains_in_steps has to say")

    def starting_config(self, recipe: Recipe) -> Any:
        """The configuration of that part of the model that takes the recipe's weights, where it names some."""
        return recipe.model

    def starting_network(self, model: Built) -> nn.Module:
        """The network of a built model that takes the recipe's weights, where it names some."""
        assert isinstance(model, nn.Module)
        return model

    @abstractmethod
    def make_task(self, prepared: Prepared, model: Built, folder: Path) -> Task:
        """What is trained: networks, losses and evaluation. folder: the run folder."""

    def learn(
        self, task: Task, prepared: Prepared, batches: BatchSource, settings: RunSettings, **facts: object
    ) -> Scores:
        """Trains the task to its end and returns its scores; in steps, unless a kind has another way.

        facts: more for the journal's first line.
        """
        return Trainer(task, batches, settings).run(**facts)

    def look(self, prepared: Prepared, folder: Path) -> Any:
        """What `finish` needs of much of the data, computed by all processes for the first; most kinds need nothing."""
        return None

    @abstractmethod
    def finish(self, prepared: Prepared, task: Task, scores: Scores, folder: Path, looked: Any = None) -> None:
        """Adds to the scores of a trained run whose weights are written, and leaves its last pictures.

        looked: what `look` gave. Only the first process is asked.
        """

    @abstractmethod
    def score(self, request: ScoreRequest) -> Scores:
        """Scores weights again on held-out data. Raises UserError where the data does not fit."""
