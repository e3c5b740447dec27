"""The methods that give maps, by name, all with one call, and which of them a model allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from hvit.explain.methods.cam import class_activation_map_batch, head_of
from hvit.explain.methods.gradcam import grad_cam, grad_cam_plus_plus
from hvit.explain.methods.gradcat import has_tree
from hvit.explain.methods.request import Classes, classifier_of, classifies_a_token
from hvit.explain.methods.rollout import attention_rollout, vision_transformer
from hvit.models.layers.encoder import Encoder

MapMethod = Callable[[nn.Module, Tensor, Classes | None], np.ndarray]

MAP_METHODS: dict[str, MapMethod] = {
    "cam": class_activation_map_batch,
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "rollout": attention_rollout,
}
"""Each is called as method(model, images, classes) with images (batch, channels, height, width) and classes as in
`gradcat_batch`, and returns maps (batch, k, rows, columns) float32, larger where there is more evidence."""


def methods_for(model: Encoder) -> tuple[str, ...]:
    """Lists the explanation methods that an encoder supports, the most informative first.

    Raises:
        UserError: For a model without classes.
    """
    network = classifier_of(model)
    allowed = {
        "block_shapley": True,
        "gradcat": has_tree(network),
        "cam": isinstance(head_of(network), nn.Linear) and not classifies_a_token(network),
        "gradcam": True,
        "gradcam++": True,
        "rollout": vision_transformer(network) is not None,
    }
    return tuple(name for name, possible in allowed.items() if possible)
