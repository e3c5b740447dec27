"""Weights of ours on disk, as safetensors files that say which model they belong to; and any weights as a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save

from hvit.errors import UserError
from hvit.files import replacing
from hvit.models.catalogue import Network, NetworkConfig, build_network, config_from_json, name_of
from hvit.models.checkpoints import read_checkpoint
from hvit.models.gan import Generator
from hvit.models.layers import Encoder
from hvit.models.masked import MaskedAutoencoder
from hvit.models.translate import WeightsReport, copy_weights, fit, recognise

_FORMAT = 1


Model = TypeVar("Model", bound=Network, covariant=True)


@dataclass(frozen=True)
class OpenedWeights(Generic[Model]):
    """A model made from a weights file, and what the file says about it."""

    model: Model
    """The model with the file's weights, float32, on the CPU, in evaluation mode."""
    name: str
    """Its catalogue name, or "custom <family>"."""
    classes: tuple[str, ...]
    """Names of the classes in the order of the logits; empty where the file has none."""
    preprocess: dict[str, Any] | None
    """How images are prepared for it, as JSON values; None where the file does not say."""
    report: WeightsReport
    """What became of every tensor of the file."""


def save_weights(
    model: Network,
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    preprocess: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model's weights as safetensors, with its name, configuration, class names and image preparation.

    The file appears whole or not at all; an older one of the same name is replaced. classes: one name per class, or
    none. preprocess: JSON values. Raises UserError where the file cannot be written or the class names do not fit.
    """
    if classes and len(classes) != model.config.num_classes:
        raise UserError(
            f"the model tells {model.config.num_classes} classes apart, but {len(classes)} names were given"
        )
    header = {
        "format": _FORMAT,
        "name": name_of(model.config),
        "config": asdict(model.config),
        "classes": list(classes),
        "preprocess": dict(preprocess) if preprocess is not None else None,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as file:
        file.write(save(tensors, {"hvit": json.dumps(header)}))


def open_weights(path: str | Path) -> OpenedWeights[Encoder]:
    """The model that a weights file holds, ready to use.

    path: a file of ours, a run folder, or a file of others whose shapes tell the model (see `translate.recognise`).
    Raises UserError where the file cannot be read, or does not say which model it holds, or contradicts itself, and
    for masked autoencoders and generators, which do not classify.
    """
    opened = open_any(path)
    if isinstance(opened.model, Generator):
        raise UserError(f"{path} holds a generator, which makes images: `hvit generate {path}`")
    if isinstance(opened.model, MaskedAutoencoder):
        raise UserError(
            f"{path} holds a masked autoencoder, which tells no classes; train a classifier from it: "
            f"`hvit train RECIPE --weights {path}`"
        )
    return opened  # pyright: ignore[reportReturnType]


def open_autoencoder(path: str | Path) -> OpenedWeights[MaskedAutoencoder]:
    """The masked autoencoder that a weights file holds, ready to use.

    path: as for `open_weights`. Raises UserError as there, and for a classifier.
    """
    opened = open_any(path)
    if not isinstance(opened.model, MaskedAutoencoder):
        raise UserError(f"{path} holds no masked autoencoder")
    return opened  # pyright: ignore[reportReturnType]


def open_generator(path: str | Path) -> OpenedWeights[Generator]:
    """The generator that a weights file holds, ready to use.

    path: as for `open_weights`. Raises UserError as there, and for a file that holds no generator.
    """
    opened = open_any(path)
    if not isinstance(opened.model, Generator):
        raise UserError(f"{path} holds {opened.name}, which makes no images; `hvit recipes '*gan*'` lists what does")
    return opened  # pyright: ignore[reportReturnType]


def open_any(path: str | Path) -> OpenedWeights[Network]:
    """As `open_weights`, for classifiers, masked autoencoders and generators."""
    model, report, header, config = _open(path)
    return OpenedWeights(
        model=model,
        name=name_of(config),
        classes=_classes(header, config, path),
        preprocess=header.get("preprocess"),
        report=report,
    )


def _open(path: str | Path) -> tuple[Network, WeightsReport, dict[str, Any], NetworkConfig]:
    """The model in a weights file, in evaluation mode, what became of the tensors, the header, the configuration."""
    state, metadata = read_checkpoint(path)
    header = _header(metadata["hvit"], path) if "hvit" in metadata else {}
    config = _config(header, path) if header else recognise(state, str(path), metadata)
    if config is None:
        raise UserError(
            f"{path} does not say which model its weights belong to; create the model by name and load them into it"
        )
    # A configuration of untrusted sizes becomes a model without memory first, and is compared with the file.
    if sum(config.depths) > len(state):
        raise UserError(f"{path} contradicts itself: {sum(config.depths)} layers, but {len(state)} tensors")
    try:
        with torch.device("meta"):
            model = build_network(config)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise UserError(f"{path} asks for a model of impossible size") from error
    ready, report = fit(model, state, str(path), metadata, position_resize=None)
    model.to_empty(device="cpu")
    copy_weights(model, ready)
    return model.eval(), report, header, config


def _header(text: str, path: str | Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read") from error
    if not isinstance(header, dict) or not isinstance(header.get("preprocess"), dict | None):
        raise UserError(f"{path} is damaged: its metadata are not those of a model")
    if header.get("format") != _FORMAT:
        raise UserError(f"{path} has format {header.get('format')!r}; this version of hvit reads format {_FORMAT}")
    return header


def _config(header: dict[str, Any], path: str | Path) -> NetworkConfig:
    try:
        return config_from_json(json.dumps({"config": header.get("config")}))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _classes(header: dict[str, Any], config: NetworkConfig, path: str | Path) -> tuple[str, ...]:
    classes = header.get("classes") or []
    fitting = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not fitting or len(classes) not in (0, config.num_classes):
        raise UserError(f"{path} is damaged: its class names are not {config.num_classes} names")
    return tuple(classes)
