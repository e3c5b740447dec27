"""What a classifier's probabilities are worth: what a run measures, and what its weights carry of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from hvit.errors import UserError
from hvit.metrics.calibration import COLDEST, HOTTEST


@dataclass(frozen=True)
class ConfidenceConfig:
    """What is fitted to the held-out images of a classifier of single labels after training."""

    calibrate: bool = True
    """Fit a temperature to the held-out images, by which logits are divided before probabilities are computed from
    them; classes and logits stay the same."""
    unsure_error: float | None = None
    """Share of wrong answers that is accepted (such as 0.05): below the probability that keeps to it on the held-out
    images, `hvit predict` says unsure; default: it always answers."""
    outliers: bool = True
    """Keep features of up to 1,000 training images next to the weights, so that `hvit predict` says how unlike them an
    image is."""

    def __post_init__(self) -> None:
        if self.unsure_error is not None and not 0 <= self.unsure_error < 1:
            raise UserError(f"confidence.unsure_error must be from 0 to below 1; got {self.unsure_error}")


@dataclass(frozen=True)
class Confidence:
    """What weights carry. temperature: of their probabilities. unsure_below: the probability from which they answer.
    outliers: the checksum of the file of training features next to them."""

    temperature: float = 1.0
    unsure_below: float | None = None
    outliers: str | None = None

    @staticmethod
    def read(stored: Mapping[str, object] | None, where: str) -> Confidence:
        """From the metadata of a weights file; of older ones, which have none, what changes nothing.

        where: the file, for the error. Raises UserError for anything but numbers in their bounds and a checksum.
        """
        if stored is None:
            return Confidence()
        temperature, below, outliers = (stored.get(name) for name in ("temperature", "unsure_below", "outliers"))
        numbers = [value for value in (temperature, below) if value is not None]
        fitting = (
            all(isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in numbers)
            and isinstance(temperature, int | float)
            and COLDEST <= temperature <= HOTTEST
            and isinstance(outliers, str | None)
        )
        if not fitting:
            raise UserError(f"{where} is damaged: what it says of its probabilities cannot be")
        return Confidence(temperature, below, outliers)  # pyright: ignore[reportArgumentType]

    def as_json(self) -> dict[str, object]:
        """As the metadata of a weights file has it."""
        return asdict(self)
