"""Whether a machine can train a recipe: what is known of the memory it takes, before any is taken."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.machine import total_memory
from hvit.models.build import count_parameters
from hvit.recipe import Recipe
from hvit.runs.kind import Kind
from hvit.training.freezing import count_trained, freeze
from hvit.training.parallel import Division

_LEARNING = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.LayerNorm, nn.BatchNorm2d)


def refuse_too_large(recipe: Recipe, kind: Kind, per_device: int, division: Division) -> None:
    """Raises UserError, with the numbers, where this machine cannot train a recipe.

    per_device: images, or clips, that a device trains on at a time. division: over how many processes. What is counted
    is less than what training takes: the weights with their gradients, the optimizer's numbers and their average; the
    inputs of all layers with weights, which are kept for the gradients; and the batches that the data workers make
    ahead. What can be trained is never refused.
    """
    host, device, world_size = total_memory(), division.ranks.device, division.ranks.world_size
    own = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else host
    weights = 0 if division.offload else weight_bytes(recipe, kind) // division.shard_size
    kept = kept_bytes(recipe, kind, device) * per_device
    if own and weights + kept > own:
        raise UserError(
            f"training takes more than {_in_words(weights)} for the model's weights, gradients and optimizer and "
            f"{_in_words(kept)} for what {per_device:,} inputs at a time leave in it, but {device} has "
            f"{_in_words(own)}: choose a smaller --model, or raise --loop.accumulate (now {recipe.loop.accumulate})"
        )
    config, workers = recipe.model, recipe.loop.workers
    batch = recipe.loop.batch_size // world_size
    waiting = 4 * config.in_channels * prod(config.input_size) * batch * (1 + 2 * workers)
    if host and waiting > host:
        raise UserError(
            f"batches of {batch:,} inputs, of which {workers} data workers make 2 each ahead, take "
            f"{_in_words(waiting)}, but this machine has {_in_words(host)}: lower --loop.batch-size or --loop.workers"
        )


def weight_bytes(recipe: Recipe, kind: Kind) -> int:
    """Bytes of all that is as large as the weights: they, gradients, the optimizer's numbers, and the average."""
    copies = 2 + (2 if recipe.optimize.method == "adamw" else 1) + bool(recipe.optimize.average_decay)
    networks = kind.empty_networks(recipe)
    for network in networks:
        freeze(network, recipe.optimize.always_frozen)
    frozen = sum(count_parameters(network) - count_trained(network) for network in networks)
    frozen += sum(map(count_parameters, kind.fixed_networks(recipe)))
    return 4 * (copies * sum(map(count_trained, networks)) + frozen)


def kept_bytes(recipe: Recipe, kind: Kind, device: torch.device) -> int:
    """Bytes that one input leaves in the layers with weights until the backward pass; 0 where they are forgotten."""
    if recipe.loop.checkpoint_activations:
        return 0
    low = recipe.loop.precision == "bfloat16" or (recipe.loop.precision == "auto" and device.type == "cuda")
    passes = kind.forward_passes(recipe)
    for one in passes:
        freeze(one.network, recipe.optimize.always_frozen)
    count = sum(one.share * _layer_inputs(one.network, *one.inputs) for one in passes)
    return int(count) * (2 if low else 4)


def _layer_inputs(network: nn.Module, *inputs: Tensor) -> int:
    """Numbers in the inputs of all layers with weights that are trained, in one forward pass without memory."""
    seen: dict[int, Tensor] = {}

    def note(module: nn.Module, given: tuple[object, ...]) -> None:
        if given and isinstance(given[0], Tensor):
            seen[id(given[0])] = given[0]  # the tensor stays, so that no other one gets its number

    for module in network.modules():
        if isinstance(module, _LEARNING) and any(one.requires_grad for one in module.parameters()):
            module.register_forward_pre_hook(note)
    with torch.no_grad():
        network.eval()(*inputs)
    return sum(tensor.numel() for tensor in seen.values())


def _in_words(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB"
