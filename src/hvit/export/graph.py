"""What is exported of a model: a module with the inputs and outputs of the file, and what the file says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.explain.methods.request import levels_and_logits
from hvit.labels import LabelSpec
from hvit.models.catalogue import name_of
from hvit.models.gan.generator import Generator
from hvit.models.layers.encoder import Encoder
from hvit.runtime.about import About, Precision
from hvit.snapshots.answers import answers_of

Output = Literal["logits", "levels"]


@dataclass(frozen=True)
class Graph:
    """A module that can be exported. module: takes `inputs`, for any batch, and gives a tensor for each name."""

    module: nn.Module
    inputs: tuple[tuple[str, Tensor], ...]
    """Names and examples of two inputs each, along the first axis."""
    outputs: tuple[str, ...]
    about: About

    @torch.no_grad()
    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """As `runtime.open.Exported.run`, by the model itself."""
        found = self.module(*(torch.from_numpy(np.ascontiguousarray(one)) for one in inputs))
        found = found if isinstance(found, tuple) else (found,)
        return dict(zip(self.outputs, (one.float().numpy() for one in found), strict=True))


class ClassifierGraph(nn.Module):
    """An encoder's logits and feature maps; with preprocessing inside, bytes in and probabilities out."""

    scale: Tensor
    shift: Tensor

    def __init__(
        self, model: Encoder, outputs: tuple[Output, ...], inside: Preprocess | None, cool: float, labels: LabelSpec
    ) -> None:
        """inside: the statistics to normalise by, None for normalised inputs. cool: the temperature."""
        super().__init__()
        self.model, self.outputs, self.inside, self.cool = model, outputs, inside is not None, cool
        self.labels = labels
        if inside is not None:
            mean, std = np.array(inside.mean), np.array(inside.std)
            shape = (-1, *[1] * len(inside.input_size))
            numbers = (1 / (255 * std), -mean / std)
            scale, shift = (torch.from_numpy(one.astype(np.float32)).reshape(shape) for one in numbers)
            self.register_buffer("scale", scale, persistent=False)
            self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """images: (batch, channels, *size), normalised; inside: (batch, *size, channels) uint8."""
        dtype = next(self.model.parameters()).dtype
        if self.inside:
            images = images.permute(0, images.ndim - 1, *range(1, images.ndim - 1)).float()
            images = images * self.scale.float() + self.shift.float()
        images = images.to(dtype)
        if self.outputs == ("logits",):
            maps, logits = [], self.model(images)
        elif "logits" in self.outputs:
            maps, logits = levels_and_logits(self.model, images)
        else:
            maps, logits = self.model.levels(images), None
        found = [] if logits is None else [self._answer(logits.float())]
        found += [one.float() for one in maps]
        return found[0] if len(found) == 1 else tuple(found)

    def _answer(self, logits: Tensor) -> Tensor:
        return answers_of(logits / self.cool, self.labels) if self.inside else logits


class GeneratorGraph(nn.Module):
    """A generator's images, from -1 to 1; with preprocessing inside (batch, height, width, channels) uint8."""

    def __init__(self, model: Generator, inside: bool) -> None:
        super().__init__()
        self.model, self.inside = model, inside

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """latents: (batch, latent_dim) float32. labels: (batch,) int64, of a generator with classes."""
        images = self.model(latents.to(next(self.model.parameters()).dtype), labels).float()
        if not self.inside:
            return images
        return (images.permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def classifier_graph(
    model: Encoder,
    outputs: tuple[Output, ...],
    preprocess: Preprocess,
    stored: dict[str, object],
    *,
    inside: bool = False,
    classes: tuple[str, ...] = (),
    labels: LabelSpec | None = None,
    temperature: float = 1.0,
    unsure_below: float | None = None,
    precision: Precision = "float32",
) -> Graph:
    """The graph of a classifier or of an encoder. stored: the preprocessing as JSON has it.

    Raises UserError for outputs that are unknown, twice or none.
    """
    if not outputs or len(set(outputs)) != len(outputs) or set(outputs) - {"logits", "levels"}:
        raise UserError(f"--outputs are logits, levels or both; got {' '.join(outputs) or 'none'}")
    config = model.config
    labels = labels or LabelSpec("single", classes)
    module = ClassifierGraph(model.eval(), outputs, preprocess if inside else None, temperature, labels).eval()
    answers = "values" if labels.kind == "regression" else "probabilities"
    names = ((answers if inside else "logits",) if "logits" in outputs else ()) + (
        tuple(f"level_{level}" for level in range(len(model.level_dims))) if "levels" in outputs else ()
    )
    size = config.input_size
    example = torch.rand(2, config.in_channels, *size)
    if inside:
        example = torch.randint(0, 256, (2, *size, config.in_channels), dtype=torch.uint8)
    about = About(
        kind="classifier" if "logits" in outputs else "features",
        name=name_of(config),
        input_size=tuple(size),
        channels=config.in_channels,
        num_classes=len(classes) or config.num_classes or 0,
        precision=precision,
        inside=inside,
        classes=classes,
        preprocess=stored,
        labels=labels.as_json(),
        temperature=temperature,
        unsure_below=unsure_below,
    )
    return Graph(module, (("images", example),), names, about)


def generator_graph(model: Generator, *, inside: bool = False, precision: Precision = "float32") -> Graph:
    """The graph of a generator."""
    config = model.config
    inputs = [("latents", torch.randn(2, config.latent_dim))]
    if config.num_classes:
        inputs.append(("labels", torch.arange(2) % config.num_classes))
    about = About(
        kind="generator",
        name=name_of(config),
        input_size=tuple(config.output_size),
        channels=config.out_channels,
        num_classes=config.num_classes,
        precision=precision,
        inside=inside,
        latent_dim=config.latent_dim,
    )
    return Graph(GeneratorGraph(model.eval(), inside).eval(), tuple(inputs), ("images",), about)
