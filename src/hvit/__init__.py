"""Hierarchical vision transformers: train, pretrain, explain and generate.

    model = hvit.create_model("nest_tiny_224", num_classes=10)
    maps = model.levels(images)                      # feature grids, fine to coarse
    logits = model(images)                           # (batch, num_classes), never softmaxed
    tree = hvit.explain.gradcat(model, image, 3)     # why class 3?
"""

from __future__ import annotations

from hvit import explain
from hvit.errors import UserError
from hvit.models.catalogue import create_model, list_models
from hvit.models.translate import load_weights
from hvit.models.weights import open_weights, save_weights

__all__ = ["UserError", "create_model", "explain", "list_models", "load_weights", "open_weights", "save_weights"]
