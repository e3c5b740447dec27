"""Writes a model as an hvit checkpoint: a safetensors file that says which model its weights belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hvit.errors import UserError
from hvit.fields import plain
from hvit.files import replacing
from hvit.labels import spec_from_json
from hvit.models.build import Network, build_empty
from hvit.models.catalogue import NetworkConfig, config_from_json, name_of
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.adapt import is_finite, same_kind
from hvit.models.weights.header import FORMAT, LONGEST_HEADER, check_preprocess, outputs_of
from hvit.models.weights.wrappers import plain_names, unwrapped
from hvit.moved import old_names_of


def save_weights(
    model: Network,
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    preprocess: Mapping[str, object] | None = None,
    confidence: Mapping[str, object] | None = None,
    labels: Mapping[str, object] | None = None,
) -> None:
    """Writes a model's weights as safetensors, with its name, configuration, class names and preprocessing.

    The file appears complete or not at all; an older one of the same name is replaced. `open_weights` can open every
    file that this function writes.

    Args:
        model: Also wrapped (torch.compile, DataParallel, DistributedDataParallel, AveragedModel, prepared for
            inference); with pruned or parametrised weights, which are written with pruning and parametrisation applied;
            with linear layers without a bias, which is written as 0; and with a linear head for another number of
            classes.
        path: The file to write.
        classes: One name per class, text or integers, or none.
        preprocess: JSON values; an `"input_size"` among them must be the model's.
        confidence: JSON values: what a run measured of its probabilities, such as their `"temperature"`.
        labels: What the outputs are, if not one class a sample: as `LabelSpec.as_json` gives it, such as
            `{"kind": "multi", "thresholds": []}` or `{"kind": "regression", "mean": [40.0], "std": [12.0]}`.

    Raises:
        UserError: Before anything is written, for any other model that differs from its configuration, for weights that
            are infinite or not a number, and if class names, preprocess or path do not fit.
    """
    inner = unwrapped(model)
    config = getattr(inner, "config", None)
    if not isinstance(inner, nn.Module) or not isinstance(config, NetworkConfig):
        raise UserError(f"only models of hvit are saved; got a {type(model).__name__}")
    tensors, config = _as_configured(inner, config)
    names = _class_names(classes)
    if names and len(names) != config.num_classes:
        raise UserError(f"the model has {config.num_classes} classes, but {len(names)} names were given")
    preparation = _json_values(preprocess)
    header = {
        "format": FORMAT,
        "name": name_of(config),
        "config": asdict(config),
        "classes": names,
        "preprocess": preparation,
        **({"confidence": dict(confidence)} if confidence else {}),
    }
    check_preprocess(preparation, config, "preprocess")
    if labels is not None:
        header["labels"] = _json_values(labels)
        spec_from_json(header["labels"], tuple(names), outputs_of(config), "labels")
    text = json.dumps(header, allow_nan=False)
    if len(text) > LONGEST_HEADER:
        raise UserError(
            f"class names and preprocess take {len(text):,} characters; at most {LONGEST_HEADER:,} are stored"
        )
    content = save(tensors, {"hvit": text})
    with replacing(path) as file:
        file.write(content)


def _as_configured(model: nn.Module, config: NetworkConfig) -> tuple[dict[str, Tensor], NetworkConfig]:
    """A model's tensors under the names, and in the shapes, that a model built from its configuration has.

    Returns the configuration, too, which has the head's number of classes. Raises UserError for any other difference.
    """
    state = plain_names(model.state_dict())
    head = getattr(model, "head", None)
    if isinstance(head, nn.Linear) and isinstance(model, Encoder) and head.out_features != config.num_classes:
        config = replace(config, num_classes=head.out_features)
    if config_from_json(json.dumps({"config": asdict(config)})) != config:
        raise UserError(f"the configuration of the model cannot be stored: {config}")
    wanted = build_empty(config).state_dict()
    tensors: dict[str, Tensor] = {}
    computed: set[str] = set()
    for name, target in wanted.items():
        tensor = state.pop(name, None)
        if tensor is None:
            tensor = _computed(model, name, target)
            computed.add(name.rpartition(".")[0])
        if tensor is None or tensor.shape != target.shape or not same_kind(tensor, target):
            found = "is not there" if tensor is None else f"is {tensor.dtype} {tuple(tensor.shape)}"
            raise UserError(
                f"this model differs from its configuration and could not be opened again: {name} {found}, and in a "
                f"{config.family} of its sizes it is {target.dtype} {tuple(target.shape)}"
            )
        tensors[name] = tensor
    # Besides what parametrisations keep of a weight that is written as it computes, everything computes something more.
    more = [name for name in state if not _is_source(name, computed)]
    if more:
        raise UserError(
            f"this model has more than its configuration says and could not be opened again: {', '.join(more[:4])}; "
            f"merge adapters into the layers they adapt before saving"
        )
    _check_storable(tensors)
    written, places = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # safetensors refuses tensors that share their memory.
        place = tensor.untyped_storage().data_ptr()
        written[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return written, config


def _computed(model: nn.Module, name: str, target: Tensor) -> Tensor | None:
    """The value of a tensor that the state dict does not have: of a parametrised weight, or of an absent bias."""
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return None
    if leaf == "bias" and isinstance(module, nn.Linear) and module.bias is None:
        return torch.zeros(target.shape)
    if is_parametrized(module, leaf):
        return getattr(module, leaf)
    return None


def _is_source(name: str, computed: set[str]) -> bool:
    return any(name.startswith(f"{path}.parametrizations.") for path in computed)


def _check_storable(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        dense = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
        if not dense or tensor.is_meta:
            what = "has no values (meta tensor)" if tensor.is_meta else f"is {_kind(tensor)} of {tensor.layout}"
            raise UserError(f"{name} {what}; weights are stored as dense tensors")
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not is_finite(tensor)]
    if broken:
        raise UserError(
            f"{len(broken)} of {len(tensors)} tensors hold values that are not a number or infinite "
            f"({', '.join(broken[:4])}), so they are not saved: the training has diverged"
        )


def _class_names(classes: object) -> list[str]:
    """Names of classes as text. Raises UserError for anything that is no sequence of names and whole numbers."""
    values = () if classes is None else plain(classes)
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise UserError(f"class names are a list, one for each class in the order of the logits; got {_kind(classes)}")
    names = []
    for value in values:
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UserError(f"a class name is text or a whole number; got {_kind(value)}")
        names.append(str.__str__(value) if isinstance(value, str) else str(int(value)))
    return names


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _json_values(preprocess: Mapping[str, object] | None) -> dict[str, object] | None:
    """The preparation of images as JSON has it. Raises UserError where JSON does not."""
    if preprocess is None:
        return None

    def other(value: object) -> object:
        made = plain(value)
        if made is value:
            raise TypeError(f"{_kind(value)} is none of them")
        return made

    try:
        return json.loads(json.dumps(dict(preprocess), default=other, allow_nan=False))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise UserError(f"preprocess is a dictionary of JSON values: {error}") from error


__getattr__ = old_names_of(__name__)
