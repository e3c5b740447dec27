"""A model from a weights file: hvit checkpoints, which say what they hold, and others whose shapes do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from hvit.errors import UserError
from hvit.files import read_object
from hvit.labels import LabelSpec, spec_from_json
from hvit.markup import shown
from hvit.models.build import Network, build_empty, in_memory
from hvit.models.catalogue import NetworkConfig, config_from_json, name_of
from hvit.models.gan.generator import Generator
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.weights.header import FORMAT, LONGEST_HEADER, check_preprocess, outputs_of
from hvit.models.weights.hub import named_on_hub
from hvit.models.weights.load import WeightsReport, copy_weights, fit, recognise
from hvit.models.weights.read import read_checkpoint
from hvit.run_names import RECIPE, WEIGHTS

_SIZES = ("name", "in_channels", "dims", "depths")
"""Fields of a configuration that no run changes."""

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
    labels: LabelSpec
    """What the outputs are: one class a sample where the file does not say."""
    confidence: dict[str, Any] | None = None
    """What a run measured of its probabilities, as JSON values; None where the file does not say."""


def open_weights(path: str | Path) -> OpenedWeights[Encoder]:
    """Opens a weights file and returns its model.

    Args:
        path: An hvit checkpoint, a run folder, `hf:owner/name` for a model of the Hugging Face Hub, or a third-party
            checkpoint whose shapes determine the model.

    Raises:
        UserError: If the file cannot be read, does not determine its model or is inconsistent, and for masked
            autoencoders and generators, which are not classifiers.
    """
    opened = open_any(path)
    if isinstance(opened.model, Generator):
        raise UserError(f"{path} holds a generator, which makes images: `hvit generate {path}`")
    if isinstance(opened.model, MaskedAutoencoder):
        raise UserError(
            f"{path} holds a masked autoencoder, which predicts no classes; train a classifier from it: "
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
    """Opens the generator in a weights file.

    Args:
        path: As for `open_weights`.

    Raises:
        UserError: As for `open_weights`, and for a file without a generator.
    """
    opened = open_any(path)
    if not isinstance(opened.model, Generator):
        raise UserError(f"{path} holds {opened.name}, which makes no images; `hvit recipes '*gan*'` lists what does")
    return opened  # pyright: ignore[reportReturnType]


def open_any(path: str | Path) -> OpenedWeights[Network]:
    """As `open_weights`, for classifiers, masked autoencoders and generators."""
    model, report, header, config = _open(path)
    where = shown(str(path))
    preprocess = header.get("preprocess")
    preparation = preprocess if isinstance(preprocess, dict) else None
    check_preprocess(preparation, config, where)
    classes = _classes(header, config, where)
    return OpenedWeights(
        model=model,
        name=name_of(config),
        classes=classes,
        preprocess=preparation,
        report=report,
        labels=spec_from_json(header.get("labels"), classes, outputs_of(config), where),
        confidence=confidence if isinstance(confidence := header.get("confidence"), dict) else None,
    )


def _open(path: str | Path) -> tuple[Network, WeightsReport, dict[str, object], NetworkConfig]:
    """The model in a weights file, in evaluation mode, what became of the tensors, the header, the configuration."""
    state, metadata = read_checkpoint(path)
    where = shown(str(path))
    header = _header(str(metadata["hvit"]), where) if "hvit" in metadata else {}
    config = _config(header, where) if header else recognise(state, where, metadata)
    if config is None:
        raise UserError(
            f"{where} does not say which model its weights belong to; create the model by name and load them into it"
        )
    _check_recipe(path, config, where)
    # A configuration of untrusted sizes becomes a model without memory first, and is compared with the file.
    if sum(config.depths) > len(state):
        raise UserError(f"{where} contradicts itself: {sum(config.depths)} layers, but {len(state)} tensors")
    try:
        model = build_empty(config)
    except UserError as error:
        raise UserError(f"{where} asks for a model of impossible size: {str(error)[:500]}") from error
    ready, report = fit(model, state, where, metadata, position_resize=None)
    model = in_memory(model, config)
    copy_weights(model, ready)
    return model.eval(), report, header, config


def _check_recipe(path: str | Path, config: NetworkConfig, where: str) -> None:
    """Raises UserError where the weights in a run folder are those of another model than its recipe says.

    A recipe that cannot be read says nothing here; what needs it refuses it.
    """
    try:
        model = read_object(Path(path) / RECIPE, LONGEST_HEADER)["model"] if named_on_hub(path) is None else {}
        said = model["encoder"] if model["family"] == "probe" else model
        pairs = [(said, json.loads(json.dumps(asdict(config))))]
        if said["family"] == "masked" == pairs[0][1]["family"]:
            pairs.append((said["encoder"], pairs[0][1]["encoder"]))
        differ = [
            f"{name} {shown(str(now[name])[:100])}, and not {shown(str(then[name])[:100])}"
            for then, now in pairs
            for name in ("family", *_SIZES)
            if name in then and name in now and then[name] != now[name]
        ]
    except (UserError, KeyError, TypeError):
        return
    if differ and said["family"] != "gan":  # of whose networks the file has the generator
        raise UserError(
            f"the weights in {where} are of another model than its {RECIPE} says ({differ[0]}): put the run's own "
            f"{WEIGHTS} back, or name the file itself"
        )


def _header(text: str, where: str) -> dict[str, object]:
    try:
        header = json.loads(text) if len(text) <= LONGEST_HEADER else None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is damaged: its metadata cannot be read") from error
    if not isinstance(header, dict) or not isinstance(header.get("preprocess"), dict | None):
        raise UserError(f"{where} is damaged: its metadata are not those of a model")
    if header.get("format") != FORMAT:
        raise UserError(
            f"{where} has format {str(header.get('format'))[:40]!a}; this version of hvit reads format {FORMAT}"
        )
    return header


def _config(header: dict[str, object], where: str) -> NetworkConfig:
    try:
        return config_from_json(json.dumps({"config": header.get("config")}))
    except UserError as error:
        raise UserError(f"{where}: {str(error)[:500]}") from error


def _classes(header: dict[str, object], config: NetworkConfig, where: str) -> tuple[str, ...]:
    stored = header.get("classes")
    classes = [] if stored is None else stored
    fitting = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not isinstance(classes, list) or not fitting or len(classes) not in (0, config.num_classes):
        raise UserError(f"{where} is damaged: its class names are not {config.num_classes} names")
    return tuple(classes)
