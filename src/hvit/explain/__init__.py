"""Why a model predicts a class: trees of image blocks, maps of four methods, pictures, and measures."""

from __future__ import annotations

from hvit.explain.drawing.canvas import save_figure
from hvit.explain.drawing.map_picture import draw_cam
from hvit.explain.drawing.tree_picture import draw_trees
from hvit.explain.methods.baseline_images import mean_image
from hvit.explain.methods.block_shapley import block_shapley, block_shapley_clips
from hvit.explain.methods.cam import class_activation_map, class_activation_map_batch, normalise, upsample
from hvit.explain.methods.gradcam import grad_cam, grad_cam_plus_plus
from hvit.explain.methods.gradcat import gradcat, gradcat_batch, has_tree
from hvit.explain.methods.rollout import attention_rollout
from hvit.explain.methods.table import MAP_METHODS, methods_for
from hvit.explain.tree import QUADRANTS, ClipTree, Node, Prediction, Removal, Tree

__all__ = [
    "MAP_METHODS",
    "QUADRANTS",
    "ClipTree",
    "Node",
    "Prediction",
    "Removal",
    "Tree",
    "attention_rollout",
    "block_shapley",
    "block_shapley_clips",
    "class_activation_map",
    "class_activation_map_batch",
    "draw_cam",
    "draw_trees",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradcat",
    "gradcat_batch",
    "has_tree",
    "mean_image",
    "methods_for",
    "normalise",
    "save_figure",
    "upsample",
]
