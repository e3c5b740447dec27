"""Why a model decides: the blocks that speak for a class (GradCAT), maps of four methods, pictures, and measures."""

from __future__ import annotations

from hvit.explain.cam import class_activation_map, class_activation_map_batch, normalise, upsample
from hvit.explain.canvas import save_figure
from hvit.explain.gradcam import grad_cam, grad_cam_plus_plus
from hvit.explain.gradcat import Node, Tree, gradcat, gradcat_batch, has_tree
from hvit.explain.methods import MAP_METHODS, methods_for
from hvit.explain.rollout import attention_rollout
from hvit.explain.tree_picture import draw_cam, draw_trees

__all__ = [
    "MAP_METHODS",
    "Node",
    "Tree",
    "attention_rollout",
    "class_activation_map",
    "class_activation_map_batch",
    "draw_cam",
    "draw_trees",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradcat",
    "gradcat_batch",
    "has_tree",
    "methods_for",
    "normalise",
    "save_figure",
    "upsample",
]
