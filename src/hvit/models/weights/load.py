"""Other people's weights: which format a state dict is in, its tensors under our names, and loading them.

Each family's `translate_<family>` adds one `Format` per foreign layout; loading and the error messages are shared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.markup import shown
from hvit.models.baselines import RESNET_FORMATS
from hvit.models.formats import Format, State, our_format
from hvit.models.hiera.weights import HIERA_FORMATS
from hvit.models.input_sizes import Axes, stated_input_size
from hvit.models.layers.grids import PositionResize
from hvit.models.masked.weights import MASKED_FORMATS
from hvit.models.mvit.weights import MVIT_FORMATS
from hvit.models.nest.weights import NEST_FORMATS
from hvit.models.weights.position_tables import lay_out_positions
from hvit.models.weights.read import flat_state, read_checkpoint
from hvit.models.weights.timm import download_timm, timm_arguments, to_timm
from hvit.models.weights.wrappers import is_average, plain_names, prefixes, unwrapped

__all__ = [
    "FORMATS",
    "Format",
    "PositionResize",
    "WeightsReport",
    "copy_weights",
    "detect",
    "download_timm",
    "fit",
    "load_weights",
    "read_checkpoint",
    "recognise",
    "timm_arguments",
    "to_timm",
]


@dataclass(frozen=True)
class WeightsReport:
    """What became of every tensor when weights were loaded into a model."""

    format: str
    """Name of the format found."""
    matched: tuple[str, ...]
    """Our names of all tensors that were loaded, resized ones included."""
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    """Our names of the tensors that changed shape: shape in the file, shape in the model."""
    reinitialised: tuple[str, ...] = ()
    """Tensors of the head that were left as the model had them, because the file's are for another class count."""
    dropped: tuple[str, ...] = ()
    """Tensors in the file that the model has no place for."""
    missing: tuple[str, ...] = ()
    """Tensors of the head that the file does not have; left as the model had them."""
    notes: tuple[str, ...] = ()
    """What names and shapes cannot tell, and the user should know."""

    def __str__(self) -> str:
        count = len(self.matched)
        lines = [
            f"{count} of {count + len(self.reinitialised) + len(self.missing)} tensors loaded, format: {self.format}"
        ]
        changes = [f"{name} {old} -> {new}" for name, (old, new) in self.resized.items()]
        rows = {
            "resized": changes,
            "left fresh (other number of classes)": self.reinitialised,
            "left fresh (not in the file)": self.missing,
            "unused": self.dropped,
            "note": self.notes,
        }
        lines += [f"{title}: {_some(items)}" for title, items in rows.items() if items]
        return "\n".join(lines if len(lines) > 1 else [*lines, "nothing resized, left fresh or unused"])


def detect(state: State) -> str:
    """The name of the format of a state dict, found by its names. Raises UserError for an unknown one."""
    return _readings(state, "the state dict")[0].format.name


def load_weights(
    model: Any,
    source: str | Path | Mapping[str, Any],
    *,
    position_resize: PositionResize = "auto",
    weights_input_size: Sequence[int] | None = None,
) -> WeightsReport:
    """Copies weights in any known format into a model, and reports what happened to each tensor.

    A head for another number of classes keeps its values. Position embeddings are resized. The patch convolution is
    summed over colours for one-channel images, or divided among three channels.

    Args:
        model: A model of hvit.
        source: A file, a run folder, a folder of official Flax checkpoints, or a state dict.
        position_resize: One of the family's `position_resizes`, or `"auto"` for the first of them.
        weights_input_size: Height and width in pixels that the weights are for, which flat position tables (the
            authors', timm's, transformers') do not show. Default: what the file says; if it says nothing, a table is
            assumed to be square or to fit the model's own token grid, and the report says so.

    Raises:
        UserError: If a flat table is ambiguous, and for anything else that does not fit. The model is unchanged then.
    """
    model = unwrapped(model)
    if not hasattr(model, "position_resizes"):
        raise UserError(f"weights are loaded into models of hvit; got a {type(model).__name__}")
    if not isinstance(source, Mapping | str | Path):
        raise UserError(f"weights are a path or a state dict; got a {type(source).__name__}")
    if isinstance(source, Mapping):
        where, (state, section) = "the state dict", flat_state(source)
        metadata = {"input_size": stated_input_size(source)} | ({"section": section} if section else {})
    else:
        where, (state, metadata) = shown(str(source)), read_checkpoint(source)
    ready, report = fit(model, state, where, metadata, position_resize, weights_input_size)
    copy_weights(model, ready)
    return report


def copy_weights(model: nn.Module, ready: State) -> None:
    """Copies tensors into those of the same names in a model; all have to fit."""
    wanted = model.state_dict()
    with torch.no_grad():
        for name, tensor in ready.items():
            wanted[name].copy_(tensor)


def fit(
    model: Any,
    state: State,
    where: str,
    metadata: Mapping[str, Any],
    position_resize: PositionResize | None,
    weights_input_size: Sequence[int] | None = None,
) -> tuple[dict[str, Tensor], WeightsReport]:
    """The tensors of a state dict under the model's names and in its shapes, and the report; the model is only read.

    The model may be on the meta device. where: the source, as messages call it. metadata: that of the file.
    position_resize: as in `load_weights`, or None where every shape has to be the model's and nothing may be missing.
    weights_input_size: as in `load_weights`.
    Raises UserError where state and model differ in more than that, and where weights are no finite numbers.
    """
    readings = _readings(state, where)
    fitting, refusals = [], []
    for reading in readings:
        if any(reading.prefix.startswith(one.prefix) for one, _ in fitting):
            continue  # a part of what fits already
        try:
            fitting.append((reading, _fit(model, reading.state, where, metadata, position_resize, weights_input_size)))
        except UserError as error:
            refusals.append(error)
        if fitting and fitting[0][0].is_average:
            break
    if not fitting:
        raise refusals[0]
    reading, (ready, report) = fitting[0]
    if len(fitting) > 1 and not reading.is_average:
        starts = ", ".join(repr(shown(one.prefix[:60])) for one, _ in fitting)
        raise UserError(f"{where} holds several models that fit, under names that start with {starts}; give one alone")
    _check_finite(ready, where)
    if reading.others:
        report = replace(
            report,
            dropped=(*report.dropped, *reading.others),
            notes=(*report.notes, f"read from the names that start with {shown(reading.prefix[:60])!r}"),
        )
    return ready, report


def _fit(
    model: Any,
    state: State,
    where: str,
    metadata: Mapping[str, Any],
    position_resize: PositionResize | None,
    weights_input_size: Sequence[int] | None,
) -> tuple[dict[str, Tensor], WeightsReport]:
    """As `fit`, for a state dict whose names start as its format has them."""
    if position_resize == "auto":
        position_resize = model.position_resizes[0]
    elif position_resize and position_resize not in model.position_resizes:
        ways = " or ".join(repr(way) for way in ("auto", *model.position_resizes))
        raise UserError(
            f"position embeddings of {model.config.family} models are resized by {ways}, not by {position_resize!r}"
        )
    layout = _format_of(state, where)
    wanted = model.state_dict()
    try:
        ours = layout.translate(state, model.config)
    except UserError:
        raise
    except _CONTRADICTIONS as error:
        raise UserError(f"{where} ({layout.name}) does not fit this model: its tensors do not fit together") from error
    sizes = _named_size(weights_input_size), _stated_size(metadata)
    ours, assumed = lay_out_positions(ours, model.config, f"{where} ({layout.name})", *sizes)
    if assumed and _is_published(_config_of(layout, state)):
        assumed = []
    inflated = _inflate(ours, wanted) if position_resize else {}
    resized = {name: (tuple(ours[name].shape), tuple(wanted[name].shape)) for name in inflated if name in ours}
    ours |= inflated
    head = _head_names(model, wanted) if position_resize else set()
    # A head for other classes differs in its first axis only; its weight and bias are then left alone together.
    fresh = {name for name in head if name in ours and _other_classes(ours[name], wanted[name])} and head
    ready = {}
    for name, target in wanted.items():
        if name in fresh or (name in head and name not in ours):
            continue
        found = ours.get(name)
        if found is not None and not _same_kind(found, target):
            raise _misfit(name, found, target, model, where, layout, state)
        if found is not None and found.shape != target.shape:
            found = _adapt(model, name, found, tuple(target.shape), position_resize) if position_resize else None
            resized.setdefault(name, (tuple(ours[name].shape), tuple(target.shape)))
        if found is None:
            raise _misfit(name, ours.get(name), target, model, where, layout, state)
        ready[name] = found
    dropped = tuple(name for name in ours if name not in wanted)
    parts = {name for name, _ in model.named_children()}
    for name in dropped:
        if name.split(".")[0] in parts:
            raise _misfit(name, ours[name], None, model, where, layout, state)
    notes = _compare_choices(where, layout, state, metadata, model.config)
    notes = (*notes, *assumed)
    if inflated:
        notes = (*notes, "weights of images: kernels are shared out over the frames, and positions in time start at 0")
    if "section" in metadata:
        notes = (*notes, f"read from the part {metadata['section']!r} of the file")
    return ready, WeightsReport(
        format=layout.name,
        matched=tuple(ready),
        resized=resized,
        reinitialised=tuple(name for name in wanted if name in fresh and name in ours),
        dropped=dropped,
        missing=tuple(name for name in wanted if name not in ready and name not in ours),
        notes=notes,
    )


def recognise(state: State, where: str = "the state dict", metadata: Mapping[str, Any] | None = None) -> Any:
    """The configuration of the model that a foreign state dict belongs to, or None where it cannot be told.

    Flax: the shapes tell everything, except the layers per level of CIFAR sizes, which the catalogue does. timm: heads
    by the catalogue; pooling and GELU as timm's nest_*_jx has them. None for our names: our files say it.
    Raises UserError for an unknown format; where: the source, as the message calls it; metadata: that of the file.
    """
    size = _stated_size(metadata or {})
    configs = (
        None if one.format.name == "hvit" else _config_of(one.format, one.state, size)
        for one in _readings(state, where)
    )
    return next((config for config in configs if config is not None), None)


@dataclass(frozen=True)
class _Reading:
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


def _readings(state: State, where: str) -> list[_Reading]:
    """The ways to read the names of a state dict, the likeliest first: as they are, then without what wraps a model.

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
            readings.append(_Reading(start, part, others, layout))
        if len(readings) == _MOST_READINGS:
            break
    if not readings:
        _format_of(plain, where)
    return readings


def _same_kind(found: Tensor, target: Tensor) -> bool:
    """Whether both are real, floating or whole numbers."""
    return (found.is_floating_point(), found.is_complex()) == (target.is_floating_point(), target.is_complex())


def _check_finite(ready: State, where: str) -> None:
    """Refuses (UserError) tensors that hold no numbers: on no device, not a number, or infinite."""
    empty = [name for name, tensor in ready.items() if tensor.is_meta]
    if empty:
        raise UserError(f"{where} has shapes but no values (meta tensors): {_some(empty)}")
    broken = [name for name, tensor in ready.items() if tensor.is_floating_point() and not is_finite(tensor)]
    if broken:
        raise UserError(
            f"{where} holds values that are not a number or infinite, in {len(broken)} of {len(ready)} tensors: "
            f"{_some(broken)}; the training that left them has diverged, or the file is damaged"
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether all values of a floating-point tensor are finite; in one pass, without a copy where they are."""
    if tensor.element_size() == 1:
        tensor = tensor.float()  # torch adds and compares no 8-bit floats
    total = tensor.sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    return bool(total.isfinite()) or bool(tensor.isfinite().all())


def _inflate(ours: Mapping[str, Tensor], wanted: State) -> dict[str, Tensor]:
    """What a model of clips takes of a model of images in another shape; nothing where both are of one kind.

    A kernel is repeated along time and divided by the number of repeats (arXiv 1705.07750), so that on a clip that
    stands still it gives what it gave on the image. What tells times apart starts at 0.
    """
    made = {}
    for name, target in wanted.items():
        found = ours.get(name)
        if found is not None and (found.ndim, target.ndim) == (4, 5) and found.shape[2:] == target.shape[3:]:
            frames = target.shape[2]
            made[name] = (found.float() / frames)[:, :, None].expand(-1, -1, frames, -1, -1)
    if made:
        of_time = (name for name in wanted if re.search(r"(temporal|relative_time)_positions$", name))
        made |= {name: torch.zeros(wanted[name].shape) for name in of_time if name not in ours}
    return made


def _other_classes(tensor: Tensor, target: Tensor) -> bool:
    return tensor.shape[1:] == target.shape[1:] and tensor.shape[:1] != target.shape[:1]


def _misfit(
    name: str, found: Tensor | None, target: Tensor | None, model: Any, where: str, layout: Format, state: State
) -> UserError:
    alike = found is not None and target is not None and not (_same_kind(found, target) and found.shape != target.shape)

    def place(tensor: Tensor | None, what: str) -> str:
        if tensor is None:
            return f"not in the {what}"
        return f"{tensor.dtype if alike else tuple(tensor.shape)} in the {what}"

    both = f"{shown(name[:200])} is {place(found, 'file')} and {place(target, 'model')}"
    config = getattr(model.config, "encoder", model.config)
    sizes = f"the model has dims {config.dims} and depths {config.depths}"
    return UserError(f"{where} ({layout.name}) does not fit this model: {both}; {sizes}{_alike(layout, state)}")


def _format_of(state: State, where: str = "the state dict") -> Format:
    for layout in FORMATS:
        if any(re.match(layout.pattern, name) for name in state):
            return layout
    if not state:
        raise UserError(f"{where} holds no weights")
    known = ", ".join(dict.fromkeys(layout.name for layout in FORMATS))
    raise UserError(f"{where} is in no known format ({known}); its first names are {_some(list(state), 3)}")


def _config_of(layout: Format, state: State, input_size: Axes | None = None) -> Any:
    try:
        return layout.config(state, input_size)
    except _CONTRADICTIONS:
        return None if input_size is None else _config_of(layout, state)


def _stated_size(metadata: Mapping[str, Any]) -> Axes | None:
    """Height and width of the input that a file states, in its own words or in ours."""
    size = metadata.get("input_size")
    if not isinstance(size, tuple) and "hvit" in metadata:
        try:
            size = stated_input_size(json.loads(metadata["hvit"]))
        except (TypeError, ValueError, RecursionError):  # damaged metadata are reported where they are needed
            size = None
    return size if isinstance(size, tuple) else None


def _named_size(size: Sequence[int] | None) -> Axes | None:
    if size is not None and (len(size) != 2 or any(type(side) is not int or side < 1 for side in size)):
        raise UserError(f"weights_input_size is a height and a width in pixels, such as (224, 224); got {size!r}")
    return None if size is None else tuple(size)


def _is_published(config: Any) -> bool:
    """Whether a configuration is one of published weights, whose input size is known, whatever its classes."""
    from hvit.models.catalogue import entry, list_models, name_of

    if config is None or name_of(config) not in list_models():
        return False
    row = entry(name_of(config))
    return row.published is not None and row.config.input_size == config.input_size


def _alike(layout: Format, state: State) -> str:
    from hvit.models.catalogue import name_of  # the catalogue loads weights with this module

    config = _config_of(layout, state)
    if config is None:
        return ""
    name = name_of(config)
    size = "x".join(map(str, config.input_size))
    known = f"{name} at input {size}"
    return f"; the file looks like {known if ' ' not in name else f'dims {config.dims} and depths {config.depths}'}"


def _head_names(model: nn.Module, names: Iterable[str]) -> set[str]:
    head = getattr(model, "head", None)
    paths = [f"{path}." for path, module in model.named_modules() if module is head]
    return {name for name in names if name.startswith(tuple(paths))}


def _adapt(model: Any, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
    """The tensor in another shape, where the difference is another input size or colour for grey; else None."""
    if not tensor.numel():
        return None
    old = tuple(tensor.shape)
    is_stem = "patch_embed" in name or name == "network.conv1.weight"
    if is_stem and len(old) == len(shape) >= 3 and (old[0], old[2:]) == (shape[0], shape[2:]):
        if (old[1], shape[1]) == (3, 1):
            return tensor.float().sum(1, keepdim=True)
        if (old[1], shape[1]) == (1, 3):
            return tensor.float().expand(shape) / 3
    return model.resize_positions(name, tensor.float(), shape, how)


def _compare_choices(
    where: str, layout: Format, state: State, metadata: Mapping[str, Any], config: Any
) -> tuple[str, ...]:
    """Notes on choices that do not show in any shape. Raises UserError where the heads differ."""
    made_with = layout.choices(state, config)
    if "hvit" in metadata:
        try:
            stored = json.loads(metadata["hvit"])["config"]
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


def _some(items: Iterable[str], count: int = 4) -> str:
    items = [shown(item[:200]) for item in items]
    return ", ".join(items[:count]) + (f" and {len(items) - count} more" if len(items) > count else "")


_MOST_READINGS = 8  # that are tried, of a state dict whose names start with those of several modules
# What reading shapes raises where names are absent, or ranks and sizes are those of no model.
_CONTRADICTIONS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)

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
