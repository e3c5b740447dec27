"""What a run has trained so far: networks, optimizers, averages and losses, saved and restored bit for bit."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hvit.errors import UserError
from hvit.tasks.task import Task
from hvit.training.activations import checkpoint_activations
from hvit.training.average import RunningAverage
from hvit.training.checkpoint import newest_checkpoint, save_checkpoint
from hvit.training.freezing import freeze
from hvit.training.keep import Kept
from hvit.training.optimize import make_optimizer
from hvit.training.parallel import (
    Division,
    empty,
    fill,
    leaves,
    local,
    parameters_in_order,
    placed_as,
    shard_like,
    skeleton,
)
from hvit.training.setup import RunSettings
from hvit.training.state_file import State

if TYPE_CHECKING:
    from hvit.training.sharded import ShardedCheckpoints

_SECTIONS: Mapping[str, type | tuple[type, ...]] = {
    "step": int,
    "seconds": (int, float),
    "networks": dict,
    "optimizers": dict,
    "averages": dict,
}


class TrainingState:
    """The networks of a task on the device, with all that changes while they train.

    networks: as the task has them. frozen: parts of them that are not trained. wrapped: the networks as the loop calls
    them, averaged over processes and compiled. optimizers, averages: by the name of their network. losses: of each
    phase since the last line of the journal. step: steps done. owes_evaluation: whether the evaluation of this step was
    given up. kept: what is kept of the evaluations. draws_by_sample: whether random numbers belong to samples; in one
    process that continues a run of an earlier version they are drawn for each part of a step, as then.
    """

    def __init__(self, task: Task, settings: RunSettings) -> None:
        self.settings = settings
        loop, optimize, ranks = settings.loop, settings.optimize, settings.ranks
        low_precision = settings.schedule.precision == "bfloat16"
        self.division = division = Division.of(loop, ranks, low_precision, settings.by_block)
        self.networks = dict(task.networks)
        if not division.shards:  # a sharded network is moved block by block
            self.networks = {name: network.to(ranks.device) for name, network in task.networks.items()}
        # The optimizer also has what is released later: it changes nothing that has no gradient.
        self.frozen = self._freeze(optimize.always_frozen)
        if loop.channels_last:
            _lay_channels_last(self.networks.values())
        if loop.checkpoint_activations:
            checkpoint_activations(self.networks.values())
        self.averages: dict[str, RunningAverage] = {}
        self.plain: dict[str, nn.Module] = {}
        if division.shards:
            self.plain = {name: skeleton(network) for name, network in self.networks.items()}
        if optimize.average_decay:
            averaged = {name: (self.plain or self.networks)[name] for name in task.averaged or self.networks}
            self.averages = {name: RunningAverage(one, optimize.average_decay) for name, one in averaged.items()}
        self.wrapped = {name: division.wrap(network) for name, network in self.networks.items()}
        self.sharded: ShardedCheckpoints | None = None
        if division.shards:
            from hvit.training import sharded  # takes as long to import as `parallel` says

            self.sharded = sharded.ShardedCheckpoints(settings.folder, ranks)
        for name, average in self.averages.items() if division.shards else ():
            shard_like(average.module, self.networks[name])
        self.optimizers = {name: make_optimizer(network, optimize) for name, network in self.networks.items()}
        self.released = -1 if optimize.unfreeze_epochs else 0
        self.losses: dict[str, list[Tensor]] = {phase.name: [] for phase in task.phases}
        self.step = self.saved_step = 0
        self.started = self.saved_at = time.monotonic()
        self.owes_evaluation = False
        self.draws_by_sample = True
        self.parametrized = [
            module for network in self.networks.values() for module in network.modules() if is_parametrized(module)
        ]
        self.kept = Kept(loop.keep, task.lower_is_better, settings.schedule.total_steps)

    def release(self) -> None:
        """Lets those layers be trained that gradual unfreezing has reached at this step."""
        optimize = self.settings.optimize
        every = optimize.steps_between_releases(self.settings.schedule.steps_per_epoch)
        released = self.step // every if every else 0
        if released != self.released:
            self.released, self.frozen = released, self._freeze(optimize.freeze, released)

    def _freeze(self, how: str, released: int = 0) -> tuple[nn.Module, ...]:
        return tuple(part for network in self.networks.values() for part in freeze(network, how, released))

    def start_training_mode(self) -> None:
        """Puts the networks into training mode, and what is frozen into evaluation mode."""
        for network in self.networks.values():
            network.train()
        for part in self.frozen:
            part.eval()

    def hold_parametrizations(self) -> None:
        """Keeps what each forward pass in training would change, such as spectral norm, as the last pass left it."""
        for module in self.parametrized:
            module.parametrizations.eval()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]

    @property
    def evaluated_networks(self) -> dict[str, nn.Module]:
        """The networks to evaluate and to ship: running averages where there are any.

        Where networks are sharded these are whole copies, and only inside of `gathered`.
        """
        return self.plain or self._averaged

    @property
    def _averaged(self) -> dict[str, nn.Module]:
        return {
            name: self.averages[name].module if name in self.averages else network
            for name, network in self.networks.items()
        }

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside this block the evaluated networks are whole on every device; all processes enter it together."""
        for name, plain in self.plain.items():
            fill(plain, self._averaged[name], self.settings.ranks.device)
        try:
            yield
        finally:
            for plain in self.plain.values():
                empty(plain)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to train: all steps are done, or the score has not risen for too long."""
        patience = self.settings.loop.patience
        ended = self.step >= self.settings.schedule.total_steps or 0 < patience <= self.kept.stale
        return ended and not self.owes_evaluation

    @property
    def seconds(self) -> float:
        """Seconds that this run has worked, those before a resume included."""
        return round(time.monotonic() - self.started, 3)

    def take_mean_losses(self) -> dict[str, float]:
        """The mean training loss of each phase since the last call. Raises UserError for one that is not finite."""
        means = self.check_losses()
        for name in means:
            self.losses[name].clear()
        return means

    def check_losses(self) -> dict[str, float]:
        """The mean training losses so far, which go on. Raises UserError for one that is not finite."""
        mean = self.settings.ranks.mean
        means = {name: mean(torch.stack(losses).mean()).item() for name, losses in self.losses.items() if losses}
        for loss in means.values():
            self._refuse_unless_finite(loss, "training loss")
        return means

    def check_weights(self) -> None:
        """Raises UserError for weights that are not finite, before anything of them is saved."""
        parameters = [parameter.detach() for network in self.networks.values() for parameter in network.parameters()]
        sizes = [values.abs().max().float() for values in local(parameters) if values.numel()]
        size = torch.stack(sizes).max() if sizes else torch.zeros((), device=self.settings.ranks.device)
        self._refuse_unless_finite(self.settings.ranks.mean(size).item(), "largest weight")

    def _refuse_unless_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"the {what} became {value} before step {self.step}; the last good checkpoint in "
                f"{self.settings.folder} was kept: try a lower --optimize.learning-rate-per-256, "
                f"--optimize.clip-norm 1, --loop.precision float32"
            )

    def save(self) -> None:
        """Writes a checkpoint from which `restore` continues bit for bit. Raises UserError for weights gone bad."""
        self.check_losses()
        self.check_weights()
        folder, ranks = self.settings.folder, self.settings.ranks
        losses = {name: ranks.mean(torch.stack(losses)).cpu() for name, losses in self.losses.items() if losses}
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "losses": losses,
            "owes_evaluation": self.owes_evaluation,
            "belongs_to": dict(self.settings.belongs_to),
            "kept": self.kept.state_dict(),
            "draws": "by sample" if self.draws_by_sample else "by part",
        }
        if self.sharded:
            self.sharded.save(self.step, state)
        else:
            ranks.first_only(lambda: save_checkpoint(folder, self.step, state))
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk, in all processes. Raises UserError where it is not."""
        if self.sharded:
            self.sharded.wait()

    def join(self) -> None:
        """Waits until this process writes nothing any more, however that ended."""
        if self.sharded:
            self.sharded.join()

    def restore(self) -> list[str]:
        """Continues from the newest intact checkpoint, if there is one; returns the names of damaged ones.

        Checkpoints of earlier versions have no losses, nothing of what they belong to, and nothing that is kept; they
        are taken as they are, and go on drawing random numbers as then. Raises
        UserError where all are damaged, or where they are of another recipe or other data.
        """
        folder, ranks, belongs_to = self.settings.folder, self.settings.ranks, self.settings.belongs_to
        state, damaged = newest_checkpoint(folder, self._is_whole, ranks)
        if ranks.is_first:
            for path in damaged:
                print(f"{path} is damaged; an older checkpoint is used", file=sys.stderr)
        if state is None:
            return []
        kept = state.get("belongs_to", {})
        changed = [name for name, value in belongs_to.items() if kept.get(name, value) != value]
        if changed and not self.settings.accepts_changes:
            raise UserError(
                f"the checkpoints in {folder} were written with another {' and '.join(changed)} than plan.json has: "
                f"restore the files of the run, or go on all the same with --accept-changed-data"
            )
        self.step = self.saved_step = state["step"]
        self.started -= state["seconds"]
        self.owes_evaluation = state.get("owes_evaluation", False)
        self._draw_as_before(state.get("draws", "by part") == "by sample")
        for name, values in state.get("losses", {}).items():
            self.losses[name] = list(values.to(ranks.device))
        try:
            if "shards" in state:
                from hvit.training.sharded import with_shards

                state = with_shards(state, self._empty)
            self._place(state)
            for name, network in self.networks.items():
                network.load_state_dict(state["networks"][name])
                self.optimizers[name].load_state_dict(state["optimizers"][name])
            for name, average in self.averages.items():
                average.load_state_dict(state["averages"][name])
            if "kept" in state:
                self.kept.load_state_dict(state["kept"])
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise UserError(
                f"the checkpoints in {folder} are not those of its recipe.json or data: one of them was changed"
            ) from error
        return [path.name for path in damaged]

    def _draw_as_before(self, by_sample: bool) -> None:
        """Goes on drawing random numbers as the run has; where several processes drew their own, that is over."""
        ranks = self.settings.ranks
        self.draws_by_sample = by_sample or ranks.world_size > 1
        if not by_sample and ranks.world_size > 1 and ranks.is_first:
            print(
                f"an older version of hvit drew mixup, cutmix, stochastic depth and other random numbers of this run "
                f"for each process; from step {self.step} on they are those of one process",
                file=sys.stderr,
            )

    def _empty(self, path: tuple[str, ...]) -> Tensor | None:
        """A tensor like the one with these keys in a checkpoint, sharded as the network is; None if it has none."""
        found = self._like(path)
        return None if found is None else torch.zeros_like(found.detach())

    def _like(self, path: tuple[str | int, ...]) -> Tensor | None:
        """The parameter that a tensor with these keys in a checkpoint belongs to."""
        section, name, *keys = path
        if section == "optimizers" and name in self.optimizers and keys[0] == "state":
            parameters, number = parameters_in_order(self.optimizers[str(name)]), int(keys[1])
            return parameters[number] if number < len(parameters) else None
        module = (self.networks if section == "networks" else self.averages).get(str(name))
        return None if module is None else dict(module.named_parameters()).get(str(keys[0]))

    def _place(self, state: State) -> None:
        """Shards the whole tensors of a checkpoint as the networks are, where they are."""
        if not self.division.shards:
            return
        for section in ("networks", "optimizers", "averages"):
            for path, tensor in list(leaves(state[section], (section,))):
                like = self._like(path)
                if like is not None and like.shape == tensor.shape:
                    place: Any = state
                    for key in path[:-1]:
                        place = place[key]
                    place[path[-1]] = placed_as(tensor, like)

    def _is_whole(self, state: State) -> bool:
        """Whether a checkpoint has every section, and is of a step of this run."""
        losses = state.get("losses", {})
        return (
            all(isinstance(state.get(name), kind) for name, kind in _SECTIONS.items())
            and state["step"] > 0
            and 0 <= state["seconds"] < math.inf
            and isinstance(losses, dict)
            and all(isinstance(value, Tensor) and value.ndim == 1 for value in losses.values())
            and set(losses) <= set(self.losses)
            and isinstance(state.get("belongs_to", {}), dict)
        )


def _lay_channels_last(networks: Iterable[nn.Module]) -> None:
    kernels = [value for network in networks for value in network.parameters() if value.ndim == 4]
    if not kernels:
        raise UserError("loop.channels_last fits models with convolutions of images, and this has none: omit it")
    for kernel in kernels:
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
