"""Hierarchical vision transformers: train them, evaluate them, and explain their predictions.

model = hvit.create_model("nest_tiny_224", num_classes=10)
maps = model.levels(images)                      # feature maps, fine to coarse
logits = model(images)                           # (batch, num_classes), never softmaxed
tree = hvit.explain.gradcat(model, image, 3)     # why class 3?
images = hvit.create_model("nest_generator_64")(latents)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hvit.moved import find_old_modules

if TYPE_CHECKING:
    from hvit import explain
    from hvit.errors import UserError
    from hvit.models.catalogue import list_models
    from hvit.models.create import create_model
    from hvit.models.inference.prepare import prepare_for_inference
    from hvit.models.weights.load import load_weights
    from hvit.models.weights.open import open_generator, open_weights
    from hvit.models.weights.save import save_weights
    from hvit.verbs.fit import fit
    from hvit.verbs.pretrained import from_pretrained

__all__ = [
    "UserError",
    "create_model",
    "explain",
    "fit",
    "from_pretrained",
    "list_models",
    "load_weights",
    "open_generator",
    "open_weights",
    "prepare_for_inference",
    "save_weights",
]

_HOMES = {
    "UserError": "hvit.errors",
    "create_model": "hvit.models.create",
    "fit": "hvit.verbs.fit",
    "from_pretrained": "hvit.verbs.pretrained",
    "list_models": "hvit.models.catalogue",
    "load_weights": "hvit.models.weights.load",
    "open_generator": "hvit.models.weights.open",
    "open_weights": "hvit.models.weights.open",
    "prepare_for_inference": "hvit.models.inference.prepare",
    "save_weights": "hvit.models.weights.save",
}

find_old_modules()


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used, so that `hvit --help` need not wait for torch."""
    if name == "explain":
        return import_module("hvit.explain")
    if name not in _HOMES:
        raise AttributeError(f"module 'hvit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
