"""`create_model`: a model of the catalogue by name, with random initialisation or loaded weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hvit.models.build import Network, build_network, check_memory
from hvit.models.catalogue import change, entry
from hvit.models.weights import load as translate


def create_model(
    name: str,
    weights: Any = None,
    *,
    position_resize: translate.PositionResize = "auto",
    weights_input_size: Sequence[int] | None = None,
    **changes: Any,
) -> Network:
    """A model of the catalogue, with new weights or with somebody's.

    Most names are classifiers; those that start with mae_ are masked autoencoders, and those of generators say so.

    name: as `list_models` gives it. weights: None for new ones; a file or state dict in any known format; or "timm"
    for the published weights as timm's authors converted them. position_resize: how position embeddings are
    resized where the weights were made for another input size; weights_input_size: that size, height and width in
    pixels, where the file does not show it (see `translate.load_weights`). changes: any field of the model's
    configuration, such as `num_classes=10`.
    Raises UserError for an unknown name or field, an impossible size, and weights that do not fit.
    """
    config = change(entry(name).config, **changes)
    if changes:
        check_memory(config)
    if isinstance(weights, str) and weights == "timm":
        weights = translate.download_timm(name)
    model = build_network(config)
    if weights is not None:
        translate.load_weights(model, weights, position_resize=position_resize, weights_input_size=weights_input_size)
    return model
