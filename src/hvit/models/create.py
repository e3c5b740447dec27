"""`create_model`: a model of the catalogue by name, with random initialisation or loaded weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from hvit.errors import UserError
from hvit.models.build import Network, build_network, check_memory
from hvit.models.catalogue import change, entry
from hvit.models.layers.grids import PositionResize
from hvit.models.weights import load as translate


def create_model(
    name: str,
    weights: str | Path | Mapping[str, object] | None = None,
    *,
    pretrained: bool = False,
    position_resize: PositionResize = "auto",
    weights_input_size: Sequence[int] | None = None,
    **changes: object,
) -> Network:
    """Creates a model of the catalogue, randomly initialised or with given weights.

    Most names are classifiers. Names that start with `mae_` are masked autoencoders; names with `generator` and
    `transgan_like_64` are generators.

    Args:
        name: A name that `list_models` returns.
        weights: None for random initialisation; a file, run folder or state dict in any known format; or `"timm"` for
            the published weights as timm's authors converted them.
        pretrained: True for the published weights, downloaded as timm's authors converted them: what `weights="timm"`
            does. A head for another number of classes starts fresh.
        position_resize: How position embeddings are resized if the weights are for another input size: `"plane"`,
            `"block"`, `"unit"`, or `"auto"` for the family's default.
        weights_input_size: Height and width in pixels that the weights are for, if the file does not say so (see
            `load_weights`).
        changes: Fields of the model's configuration, such as `num_classes=10`.

    Raises:
        UserError: For an unknown name or field, an impossible size, and weights that do not fit.
    """
    if not isinstance(pretrained, bool) or (pretrained and weights is not None):
        raise UserError(
            f"pretrained is True or False, and True is for a model without weights of its own; got pretrained="
            f"{pretrained!r}{'' if weights is None else ' and weights'}"
        )
    if position_resize not in get_args(PositionResize):
        raise UserError(
            f"position_resize must be one of {', '.join(get_args(PositionResize))}; got {position_resize!r:.100}"
        )
    if pretrained:
        weights = "timm"
    if weights is None and weights_input_size is not None:
        raise UserError("weights_input_size is of weights that are loaded: give weights, too, or omit it")
    config = change(entry(name).config, **changes)
    if changes:
        check_memory(config)
    if isinstance(weights, str) and weights == "timm":
        weights = translate.download_timm(name)
    model = build_network(config)
    if weights is not None:
        translate.load_weights(model, weights, position_resize=position_resize, weights_input_size=weights_input_size)
    return model
