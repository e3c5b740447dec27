"""The table of all kinds of runs."""

from __future__ import annotations

from typing import Any

from hvit.runs.classification import Classification
from hvit.runs.generation import Generation
from hvit.runs.kind import Kind
from hvit.runs.pretraining import Pretraining

KINDS: tuple[Kind, ...] = (Classification(), Pretraining(), Generation())


def kind_of(config: Any) -> Kind:
    """The kind that a model's configuration belongs to."""
    return next(kind for kind in KINDS if isinstance(config, kind.configs))
