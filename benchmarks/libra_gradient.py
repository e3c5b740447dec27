"""GradCAT with LibraGrad's backward rule (arXiv 2411.16760), measured by `explanations.py` with the same arguments.

    python benchmarks/libra_gradient.py NesT42=runs/demo_42 --set alone --count 120 --method gradcat

In the backward pass the scale of a norm, the gate of a GELU and the weights of attention are constants, so that
features times gradients add up at every layer but for biases. The forward pass gives the same numbers. NesT only.
"""

from __future__ import annotations

import explanations
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.models.layers.linear import Mlp
from hvit.models.nest import model as nest


def norm(self: nn.LayerNorm, tokens: Tensor) -> Tensor:
    """A layer norm whose scale is a constant."""
    centred = tokens - tokens.mean(-1, keepdim=True)
    scale = (centred.detach().square().mean(-1, keepdim=True) + self.eps).rsqrt()
    return centred * scale * self.weight + self.bias


def mlp(self: Mlp, tokens: Tensor) -> Tensor:
    """An MLP whose GELU multiplies by a constant gate."""
    hidden = self.fc1(tokens)
    gate = F.gelu(hidden, approximate=self.approximate) / torch.where(hidden == 0, 1.0, hidden)
    return self.fc2(hidden * gate.detach())


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention whose weights are constants."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1).detach() @ v


if __name__ == "__main__":
    nn.LayerNorm.forward = norm
    Mlp.forward = mlp
    nest.attend = attend  # pyright: ignore[reportAttributeAccessIssue]
    explanations.main()
