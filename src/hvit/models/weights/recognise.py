"""Which format a state dict is in, and which model it belongs to.

Each family's `weights.py` adds one `Format` per layout of other libraries; `FORMATS` gathers them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hvit.errors import UserError
from hvit.markup import some_of
from hvit.models.baselines import RESNET_FORMATS
from hvit.models.catalogue import ModelConfig, NetworkConfig, entry, list_models, name_of
from hvit.models.formats import Format, State, our_format
from hvit.models.hiera.weights import HIERA_FORMATS
from hvit.models.input_sizes import Axes, stated_input_size
from hvit.models.masked.weights import MASKED_FORMATS
from hvit.models.mvit.weights import MVIT_FORMATS
from hvit.models.nest.weights import NEST_FORMATS
from hvit.models.weights.wrappers import is_average, plain_names, prefixes

_MOST_READINGS = 8  # that are tried, of a state dict whose names start with those of several modules
# What reading shapes raises where names are absent, or ranks and sizes are those of no model.
CONTRADICTIONS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
# Fields of a configuration that leave the meaning of the weights alone.
_FREE = (
    "family",
    "input_size",
    "in_channels",
    "num_classes",
    "block_size",
    "drop_path",
    "head_dropout",
    "initialisation",
)

FORMATS: tuple[Format, ...] = (
    our_format(r"network\.|blocks\.\d+\.attention\."),
    *MASKED_FORMATS,
    our_format(r"root\."),  # generators
    *NEST_FORMATS,
    *MVIT_FORMATS,
    *HIERA_FORMATS,
    *RESNET_FORMATS,
)


def detect(state: State) -> str:
    """The name of the format of a state dict, found by its names. Raises UserError for an unknown one."""
    return readings_of(state, "the state dict")[0].format.name


def recognise(
    state: State, where: str = "the state dict", metadata: Mapping[str, object] | None = None
) -> ModelConfig | None:
    """The configuration of the model that a third-party state dict belongs to, or None where it does not show.

    Flax: the shapes decide all but the layers per level of CIFAR sizes, which the catalogue does. timm: heads
    by the catalogue; pooling and GELU as timm's nest_*_jx has them. None for our names: our files say it.
    Raises UserError for an unknown format; where: the source, as the message calls it; metadata: that of the file.
    """
    size = stated_size(metadata or {})
    configs = (
        None if one.format.name == "hvit" else config_of(one.format, one.state, size)
        for one in readings_of(state, where)
    )
    return next((config for config in configs if config is not None), None)


@dataclass(frozen=True)
class Reading:
    """One way to read the names of a state dict."""

    prefix: str
    """What every name starts with that is read; nothing where all are."""
    state: dict[str, Tensor]
    """The tensors without it."""
    others: tuple[str, ...]
    """Names that do not start so."""
    format: Format

    @property
    def is_average(self) -> bool:
        return is_average(self.prefix)


def readings_of(state: State, where: str) -> list[Reading]:
    """The ways to read the names of a state dict, most probable first: as they are, then without what wraps a model.

    Raises UserError where there is none.
    """
    plain = plain_names(state)
    starts = prefixes(plain, (layout.pattern for layout in FORMATS))
    readings = []
    for start in ("", *starts):
        part = {name.removeprefix(start): tensor for name, tensor in plain.items() if name.startswith(start)}
        layout = next((one for one in FORMATS if any(re.match(one.pattern, name) for name in part)), None)
        if layout is not None:
            others = tuple(name for name in plain if not name.startswith(start))
            readings.append(Reading(start, part, others, layout))
        if len(readings) == _MOST_READINGS:
            break
    if not readings:
        format_of(plain, where)
    return readings


def format_of(state: State, where: str = "the state dict") -> Format:
    for layout in FORMATS:
        if any(re.match(layout.pattern, name) for name in state):
            return layout
    if not state:
        raise UserError(f"{where} holds no weights")
    known = ", ".join(dict.fromkeys(layout.name for layout in FORMATS))
    raise UserError(f"{where} is in no known format ({known}); its first names are {some_of(list(state), 3)}")


def config_of(layout: Format, state: State, input_size: Axes | None = None) -> ModelConfig | None:
    try:
        return layout.config(state, input_size)
    except CONTRADICTIONS:
        return None if input_size is None else config_of(layout, state)


def stated_size(metadata: Mapping[str, object]) -> Axes | None:
    """Height and width of the input that a file states, in its own words or in ours."""
    size = metadata.get("input_size")
    if not isinstance(size, tuple) and "hvit" in metadata:
        try:
            size = stated_input_size(json.loads(str(metadata["hvit"])))
        except (TypeError, ValueError, RecursionError):  # damaged metadata are reported where they are needed
            size = None
    return size if isinstance(size, tuple) else None


def is_published(config: NetworkConfig | None) -> bool:
    """Whether a configuration is one of published weights, whose input size is known, whatever its classes."""
    if config is None or name_of(config) not in list_models():
        return False
    row = entry(name_of(config))
    return row.published is not None and row.config.input_size == config.input_size


def looks_like(layout: Format, state: State) -> str:
    config = config_of(layout, state)
    if config is None:
        return ""
    name = name_of(config)
    size = "x".join(map(str, config.input_size))
    known = f"{name} at input {size}"
    return f"; the file looks like {known if ' ' not in name else f'dims {config.dims} and depths {config.depths}'}"


def compare_choices(
    where: str, layout: Format, state: State, metadata: Mapping[str, object], config: NetworkConfig
) -> tuple[str, ...]:
    """Notes on choices that do not show in any shape. Raises UserError where the heads differ."""
    made_with = layout.choices(state, config)
    if "hvit" in metadata:
        try:
            stored = json.loads(str(metadata["hvit"]))["config"]
            stored, config = stored.get("encoder", stored), getattr(config, "encoder", config)
            # Another family's weights fit where all names and shapes do, and its choices have other names.
            kin = stored["family"] == config.family
            made_with = {
                name: value for name, value in stored.items() if name not in _FREE and (kin or name == "heads")
            }
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise UserError(
                f"the metadata of {where} do not say how the weights were made; the file is damaged"
            ) from error
    notes = []
    for name, theirs in made_with.items():
        theirs, mine = tuple(theirs) if isinstance(theirs, list) else theirs, getattr(config, name, None)
        if name == "heads" and theirs != mine:
            raise UserError(f"{where} was made with heads {theirs}, but this model has heads {mine}")
        if theirs != mine:
            notes.append(f"made with {name}={theirs!r}, but this model has {mine!r}")
    if layout.note(config):
        notes.append(layout.note(config))
    return tuple(notes)
