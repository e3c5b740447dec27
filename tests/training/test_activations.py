"""Blocks that forget what they computed learn exactly what others learn, and keep less."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import build_network
from hvit.models.catalogue import entry
from hvit.models.gan.config import GanConfig, build_discriminator, build_generator
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.models.masked.config import MaskedConfig
from hvit.tasks.classify import Classify
from hvit.tasks.extractors import pixel_extractor
from hvit.tasks.generate import Generate
from hvit.tasks.reconstruct import Reconstruct
from hvit.tasks.task import Batch, Task
from hvit.training.activations import checkpoint_activations, checkpointable_blocks
from hvit.training.distribute import Processes
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule
from hvit.training.setup import BatchSource, RunSettings

PREPROCESS = Preprocess((32, 32), (0.5,) * 3, (0.2,) * 3, 1.0)
CLASSES = tuple("0123456789")
BLOCKS = {
    "nest_micro_32": 4, "hiera_micro_32": 4, "mvitv2_micro_32": 4, "mvit_micro_32": 4, "vit_micro_32": 5,
    "hiera_micro_16x64": 4, "mae_hiera_micro_32": 6, "generator": 3,
}  # fmt: skip


def make_task(name: str) -> Task:
    """A task that learns a small network of a family, with stochastic depth where the family has it."""
    torch.manual_seed(0)
    if name == "generator":
        nest = NestGeneratorConfig(output_size=(8, 8), latent_dim=6, dims=(16, 8), heads=(2, 1), depths=(2, 1))
        game = GanConfig(nest, ResidualDiscriminatorConfig(input_size=(8, 8), dims=(4, 8)), r1_weight=3.0, r1_every=1)
        networks = build_generator(game.generator), build_discriminator(game.discriminator)
        return Generate(*networks, game, Preprocess((8, 8), (0.5,) * 3, (0.2,) * 3, 1.0), pixel_extractor(4))
    config = entry(name).config
    if isinstance(config, MaskedConfig):
        return Reconstruct(build_network(config), PREPROCESS, labelled=True)
    return Classify(build_network(replace(config, num_classes=10, drop_path=0.4)), CLASSES, {})


def make_batch(task: Task) -> Batch:
    config = next(iter(task.networks.values())).config
    size = getattr(config, "output_size", None) or config.input_size
    random = torch.Generator().manual_seed(1)
    targets = torch.rand(4, 10, generator=random)
    return {"images": torch.randn(4, 3, *size, generator=random), "targets": targets / targets.sum(1, keepdim=True)}


def trainer(task: Task, folder: Path, **fields: object) -> Trainer:
    loop = LoopConfig(epochs=1, batch_size=4, **fields)  # pyright: ignore[reportArgumentType]
    optimize = OptimizeConfig(warmup_epochs=0, learning_rate_per_256=0.01)
    ranks = Processes(0, 1, torch.device("cpu"))
    schedule = Schedule.of(loop, optimize, 3, ranks)
    settings = RunSettings(folder, loop, optimize, schedule, ranks, seed=5)
    return Trainer(task, BatchSource(lambda start: [], list), settings)


def learn(one: Trainer, steps: int = 3) -> dict[str, list[Tensor]]:
    """The losses, gradients and weights of some steps."""
    gradients = []
    usual = one.optimizer_step

    def watched(phase: object) -> None:
        networks = one.state.networks.values()
        gradients.extend(p.grad.clone() for n in networks for p in n.parameters() if p.grad is not None)
        usual(phase)  # pyright: ignore[reportArgumentType]

    one.optimizer_step = watched
    for _ in range(steps):
        one.train_step(make_batch(one.task))
    losses = [loss for losses in one.state.losses.values() for loss in losses]
    weights = [value.clone() for network in one.state.networks.values() for value in network.state_dict().values()]
    return {"losses": losses, "gradients": gradients, "weights": weights}


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "float32") for name in BLOCKS), ("nest_micro_32", "bfloat16")]
)
def test_learning_is_the_same_bit_for_bit(name: str, precision: str, tmp_path: Path) -> None:
    usual = learn(trainer(make_task(name), tmp_path, precision=precision))
    one = trainer(make_task(name), tmp_path, precision=precision, checkpoint_activations=True)
    forgetful = learn(one)
    for what, values in usual.items():
        assert len(values) == len(forgetful[what]) > 0
        assert all(map(torch.equal, values, forgetful[what])), what


@pytest.mark.parametrize("name", BLOCKS)
def test_every_transformer_block_is_found_and_keeps_its_name_and_type(name: str) -> None:
    task = make_task(name)
    network = copy.deepcopy(next(iter(task.networks.values())))
    names, kinds = [n for n, _ in network.named_parameters()], [type(module) for module in network.modules()]
    assert len(checkpointable_blocks([network])) == BLOCKS[name]
    checkpoint_activations([network])
    assert [n for n, _ in network.named_parameters()] == names
    for module, kind in zip(network.modules(), kinds, strict=True):
        assert isinstance(module, kind)
        assert type(module).__name__ == kind.__name__


@pytest.mark.parametrize("name", BLOCKS)
def test_less_than_half_is_kept_for_the_backward_pass(name: str, tmp_path: Path) -> None:
    kept = [bytes_kept(trainer(make_task(name), tmp_path, checkpoint_activations=on)) for on in (False, True)]
    assert 0 < kept[1] < kept[0] / 2


def bytes_kept(one: Trainer) -> int:
    """What the last phase's loss keeps apart from the parameters."""
    parameters = {
        p.untyped_storage().data_ptr() for network in one.state.networks.values() for p in network.parameters()
    }
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # A phase in which the blocks of the first network learn.
    first = next(iter(one.state.networks))
    phase = next(phase for phase in one.task.phases if phase.network == first)
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = one.task.loss(phase, one.state.wrapped, make_batch(one.task))
    assert loss.requires_grad
    return sum(kept.values())


def test_nothing_is_computed_twice_in_testing() -> None:
    task = make_task("nest_micro_32")
    network = task.networks["model"]
    checkpoint_activations([network])
    calls: list[int] = []
    for block in checkpointable_blocks([network]):
        block.mlp.register_forward_pre_hook(lambda *_: calls.append(1))  # pyright: ignore[reportAttributeAccessIssue]
    images = make_batch(task)["images"]
    with torch.no_grad():
        network(images)
    network.eval()
    network(images).sum().backward()
    assert len(calls) == 2 * BLOCKS["nest_micro_32"]
    network.train()
    network(images).sum().backward()
    assert len(calls) == 4 * BLOCKS["nest_micro_32"]


def test_asking_twice_is_asking_once() -> None:
    network = make_task("vit_micro_32").networks["model"]
    checkpoint_activations([network])
    kinds = [type(module) for module in network.modules()]
    checkpoint_activations([network])
    assert [type(module) for module in network.modules()] == kinds


@pytest.mark.parametrize("name", ["resnet_micro_32", "conv_generator_micro_32"])
def test_blocks_that_change_in_a_forward_pass_are_refused(name: str) -> None:
    network = build_network(entry(name).config)
    with pytest.raises(UserError, match=r"loop\.checkpoint_activations fits transformer blocks"):
        checkpoint_activations([network])


def test_a_trainer_refuses_a_network_without_blocks(tmp_path: Path) -> None:
    task = Classify(build_network(entry("resnet_micro_32").config), CLASSES, {})
    with pytest.raises(UserError, match=r"omit it, and raise --loop\.accumulate"):
        trainer(task, tmp_path, checkpoint_activations=True)


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
@pytest.mark.parametrize("name", ["nest_micro_32", "mae_hiera_micro_32"])
def test_gradients_averaged_over_processes_are_the_same(name: str, tmp_path: Path) -> None:
    results = []
    wrap: Callable[..., nn.Module] = DistributedDataParallel
    for on in (False, True):
        one = trainer(make_task(name), tmp_path, checkpoint_activations=on, accumulate=2)
        one.state.wrapped = {key: wrap(network) for key, network in one.state.networks.items()}
        results.append(learn(one, 2))
    assert all(map(torch.equal, results[0]["gradients"], results[1]["gradients"]))


def test_running_averages_of_such_networks_are_the_same(tmp_path: Path) -> None:
    averages = []
    for on in (False, True):
        task = make_task("nest_micro_32")
        one = trainer(task, tmp_path, checkpoint_activations=on)
        optimize = replace(one.settings.optimize, average_decay=0.9)
        one = Trainer(task, one.batches, replace(one.settings, optimize=optimize))
        learn(one)
        averages.append(list(one.state.averages["model"].module.state_dict().values()))
    assert all(map(torch.equal, *averages))
