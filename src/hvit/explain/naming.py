"""What the methods are called, and what their values mean, for a reader."""

from __future__ import annotations

from typing import NamedTuple

TREE = "gradcat"


class Method(NamedTuple):
    """A method as a reader knows it, and what its values mean in a sentence."""

    title: str
    meaning: str


METHODS = {
    TREE: Method("GradCAT", "The path of blocks that add most to the class's logit."),
    "cam": Method("CAM", "What each place adds to the class's logit, exactly."),
    "gradcam": Method("Grad-CAM", "Channels weighted by the mean gradient of the class's logit."),
    "gradcam++": Method("Grad-CAM++", "Channels weighted by the gradient's positive parts."),
    "rollout": Method("Rollout", "Attention followed through all layers; the same for every class."),
}
"""The methods by their key, in the order in which they are shown."""


def method_of(key: str) -> Method:
    """How a method is called and what it means; one that is not in `METHODS` is called by its key."""
    return METHODS.get(key, Method(key, ""))
