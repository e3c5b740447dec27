"""Why a model decides: the blocks that speak for a class (GradCAT), class activation maps, and pictures of both."""

from __future__ import annotations

from hvit.explain.cam import class_activation_map, class_activation_map_batch, normalise, upsample
from hvit.explain.canvas import save_figure
from hvit.explain.gradcat import Node, Tree, gradcat, gradcat_batch
from hvit.explain.tree_picture import draw_cam, draw_trees

__all__ = [
    "Node",
    "Tree",
    "class_activation_map",
    "class_activation_map_batch",
    "draw_cam",
    "draw_trees",
    "gradcat",
    "gradcat_batch",
    "normalise",
    "save_figure",
    "upsample",
]
