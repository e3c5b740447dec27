"""Loading weights into a model: hvit checkpoints and third-party checkpoints, with a report on every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.markup import shown, some_of
from hvit.models.build import Network
from hvit.models.formats import Format, State
from hvit.models.input_sizes import Axes, stated_input_size
from hvit.models.layers.grids import PositionResize
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.timm_encoder import TimmEncoder
from hvit.models.weights.adapt import adapt, has_other_classes, head_names, inflate, is_finite, same_kind
from hvit.models.weights.position_tables import lay_out_positions
from hvit.models.weights.read import read_checkpoint
from hvit.models.weights.recognise import (
    CONTRADICTIONS,
    FORMATS,
    compare_choices,
    config_of,
    detect,
    format_of,
    is_published,
    looks_like,
    readings_of,
    recognise,
    stated_size,
)
from hvit.models.weights.sections import flat_state
from hvit.models.weights.timm import download_timm, timm_arguments, to_timm
from hvit.models.weights.wrappers import unwrapped

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
    """What does not follow from names and shapes, and the user should know."""

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
        lines += [f"{title}: {some_of(items)}" for title, items in rows.items() if items]
        return "\n".join(lines if len(lines) > 1 else [*lines, "nothing resized, left fresh or unused"])


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, object],
    *,
    position_resize: PositionResize = "auto",
    weights_input_size: Sequence[int] | None = None,
) -> WeightsReport:
    """Copies weights in any known format into a model, and reports what happened to each tensor.

    A head for another number of classes keeps its values. Position embeddings are resized. The patch convolution is
    summed over colours for one-channel images, divided among three channels, or repeated over more channels and scaled
    by 3 / channels.

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
    inner = unwrapped(model)
    if not isinstance(inner, Network):
        raise UserError(f"weights are loaded into models of hvit; got a {type(inner).__name__}")
    if not isinstance(source, Mapping | str | Path):
        raise UserError(f"weights are a path or a state dict; got a {type(source).__name__}")
    if isinstance(source, Mapping):
        where, (state, section) = "the state dict", flat_state(source)
        metadata = {"input_size": stated_input_size(source)} | ({"section": section} if section else {})
    else:
        where, (state, metadata) = shown(str(source)), read_checkpoint(source)
    ready, report = fit(inner, state, where, metadata, position_resize, weights_input_size)
    copy_weights(inner, ready)
    return report


def copy_weights(model: nn.Module, ready: State) -> None:
    """Copies tensors into those of the same names in a model; all have to fit."""
    wanted = model.state_dict()
    with torch.no_grad():
        for name, tensor in ready.items():
            wanted[name].copy_(tensor)


def fit(
    model: Network,
    state: State,
    where: str,
    metadata: Mapping[str, object],
    position_resize: PositionResize | None,
    weights_input_size: Sequence[int] | None = None,
) -> tuple[dict[str, Tensor], WeightsReport]:
    """The tensors of a state dict under the model's names and in its shapes, and the report; the model is only read.

    The model may be on the meta device. where: the source, as messages call it. metadata: that of the file.
    position_resize: as in `load_weights`, or None where every shape has to be the model's and nothing may be missing.
    weights_input_size: as in `load_weights`.
    Raises UserError where state and model differ in more than that, and where weights are no finite numbers.
    """
    if isinstance(model, TimmEncoder):
        state = model.with_our_names(state)
    readings = readings_of(state, where)
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
    model: Network,
    state: State,
    where: str,
    metadata: Mapping[str, object],
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
    layout = format_of(state, where)
    wanted = model.state_dict()
    try:
        ours = layout.translate(state, model.config)
    except UserError:
        raise
    except CONTRADICTIONS as error:
        raise UserError(f"{where} ({layout.name}) does not fit this model: its tensors do not fit together") from error
    sizes = _named_size(weights_input_size), stated_size(metadata)
    ours, assumed = lay_out_positions(ours, model.config, f"{where} ({layout.name})", *sizes)
    if assumed and is_published(config_of(layout, state)):
        assumed = []
    inflated = inflate(ours, wanted) if position_resize else {}
    resized = {name: (tuple(ours[name].shape), tuple(wanted[name].shape)) for name in inflated if name in ours}
    ours |= inflated
    head = head_names(model, wanted) if position_resize else set()
    # A head for other classes differs in its first axis only; its weight and bias are then left alone together.
    fresh = {name for name in head if name in ours and has_other_classes(ours[name], wanted[name])} and head
    ready = {}
    for name, target in wanted.items():
        if name in fresh or (name in head and name not in ours):
            continue
        found = ours.get(name)
        if found is not None and not same_kind(found, target):
            raise _misfit(name, found, target, model, where, layout, state)
        if found is not None and found.shape != target.shape:
            found = adapt(model, name, found, tuple(target.shape), position_resize) if position_resize else None
            resized.setdefault(name, (tuple(ours[name].shape), tuple(target.shape)))
        if found is None:
            raise _misfit(name, ours.get(name), target, model, where, layout, state)
        ready[name] = found
    dropped = tuple(name for name in ours if name not in wanted)
    parts = {name for name, _ in model.named_children()}
    none = getattr(model, "head", None)
    headless = tuple(f"{path}." for path, one in model.named_modules() if one is none and isinstance(one, nn.Identity))
    for name in dropped:
        if name.split(".")[0] in parts and not name.startswith(headless):
            raise _misfit(name, ours[name], None, model, where, layout, state)
    notes = compare_choices(where, layout, state, metadata, model.config)
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


def _check_finite(ready: State, where: str) -> None:
    """Refuses (UserError) tensors that hold no numbers: on no device, not a number, or infinite."""
    empty = [name for name, tensor in ready.items() if tensor.is_meta]
    if empty:
        raise UserError(f"{where} has shapes but no values (meta tensors): {some_of(empty)}")
    broken = [name for name, tensor in ready.items() if tensor.is_floating_point() and not is_finite(tensor)]
    if broken:
        raise UserError(
            f"{where} holds values that are not a number or infinite, in {len(broken)} of {len(ready)} tensors: "
            f"{some_of(broken)}; the training that left them has diverged, or the file is damaged"
        )


def _misfit(
    name: str, found: Tensor | None, target: Tensor | None, model: Network, where: str, layout: Format, state: State
) -> UserError:
    alike = found is not None and target is not None and not (same_kind(found, target) and found.shape != target.shape)

    def place(tensor: Tensor | None, what: str) -> str:
        if tensor is None:
            return f"not in the {what}"
        return f"{tensor.dtype if alike else tuple(tensor.shape)} in the {what}"

    both = f"{shown(name[:200])} is {place(found, 'file')} and {place(target, 'model')}"
    config = model.config.encoder if isinstance(model, MaskedAutoencoder) else model.config
    sizes = f"the model has dims {config.dims} and depths {config.depths}"
    return UserError(f"{where} ({layout.name}) does not fit this model: {both}; {sizes}{looks_like(layout, state)}")


def _named_size(size: Sequence[int] | None) -> Axes | None:
    if size is not None and (len(size) != 2 or any(type(side) is not int or side < 1 for side in size)):
        raise UserError(f"weights_input_size is a height and a width in pixels, such as (224, 224); got {size!r}")
    return None if size is None else tuple(size)
