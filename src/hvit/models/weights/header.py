"""What the metadata of an hvit checkpoint hold: checks that saving and opening share."""

from __future__ import annotations

from collections.abc import Mapping

from hvit.errors import UserError
from hvit.models.sizes import SizedConfig

FORMAT = 1
LONGEST_HEADER = 10_000_000  # characters: class names of 300,000 classes


def outputs_of(config: SizedConfig) -> int:
    """How many outputs a configuration's model has; 0 where it says nothing about classes."""
    count = getattr(config, "num_classes", None)
    return count if isinstance(count, int) else 0


def check_preprocess(preprocess: Mapping[str, object] | None, config: SizedConfig, where: str) -> None:
    """Refuses (UserError) a preparation of images for another input than the model's."""
    size = (preprocess or {}).get("input_size")
    if size is not None and size != list(config.input_size):
        raise UserError(
            f"{where} prepares images for input_size {size!r:.100}, but the model takes {list(config.input_size)}"
        )
