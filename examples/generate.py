"""Paints digits with a small transposed NesT, and walks from one to another: latents in, images out.

A generator of hvit is a `torch.nn.Module` like any other. Without weights this script fits a tiny one to real digits by
an ordinary loop that learns a latent for every digit along with the network (Bojanowski et al., arXiv 1707.05776), so
that it needs no discriminator. With weights it paints what those have learned.

    python examples/generate.py [WEIGHTS] [PICTURE]

WEIGHTS: a run folder or weights file of a generator, such as `hvit train nest_gan_digits_32` leaves; "-" for none.
PICTURE: where the walks are drawn; left out, walks.png in the current folder.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import hvit

ROWS, STEPS = 6, 8


def fit_generator(steps: int = 150) -> tuple[nn.Module, Tensor]:
    """A generator of 8 x 8 digits, and a latent (1, latent_dim) of each of some real ones."""
    pixels, _ = load_digits(return_X_y=True)
    images = torch.tensor(pixels[:256], dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1  # from -1 to 1
    generator = hvit.create_model(
        "nest_generator_digits_32", output_size=8, latent_dim=32, dims=(64, 32), heads=(2, 1), depths=(1, 1)
    )
    latents = nn.Parameter(torch.randn(len(images), 32))
    optimizer = torch.optim.Adam([{"params": generator.parameters()}, {"params": [latents], "lr": 3e-2}], lr=4e-3)
    for step in range(steps):
        chosen = torch.randint(len(images), (64,))
        loss = F.mse_loss(generator(latents[chosen]), images[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: mean squared error {loss.item():.3f}")
    return generator.eval(), latents.detach()


def main(weights: str = "-", picture: str = "walks.png") -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the model is so small that more threads wait for each other longer than they work
    if weights == "-":
        generator, latents = fit_generator()
    else:
        generator = hvit.open_generator(weights).model
        latents = torch.randn(2 * ROWS, generator.config.latent_dim)
    config = generator.config
    rows = []
    for first, last in latents[: 2 * ROWS].unflatten(0, (ROWS, 2)):
        way = torch.stack([first.lerp(last, step / (STEPS - 1)) for step in range(STEPS)])
        # A generator of classes is asked for one by its number.
        label = torch.full((STEPS,), len(rows) % config.num_classes) if config.num_classes else None
        with torch.no_grad():
            images = generator(way, label)  # (batch, channels, height, width), from -1 to 1
        rows.append(torch.cat(list(images.clamp(-1, 1)), dim=2))
    pixels = ((torch.cat(rows, dim=1) / 2 + 0.5) * 255).byte().permute(1, 2, 0).numpy()
    drawn = Image.fromarray(pixels[..., 0] if config.out_channels == 1 else pixels)
    drawn.resize((drawn.width * 4, drawn.height * 4), Image.Resampling.NEAREST).save(picture)
    print(f"{ROWS} walks between latents are drawn in {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
