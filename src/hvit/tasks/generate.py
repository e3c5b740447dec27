"""Generation: a generator and a discriminator train against each other; generated images are compared with real ones.

Goodfellow et al., "Generative Adversarial Networks", arXiv 1406.2661. Three phases, as in StyleGAN2's code: the
discriminator classifies real and generated images, every few steps its gradients are penalised (lazy R1), and the
generator is trained to be classified as real.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.metrics.frechet import (
    Extractor,
    FeatureStatistics,
    frechet_distance,
    kernel_distance,
    precision_recall,
    spread,
)
from hvit.models.gan.config import GanConfig
from hvit.models.gan.discriminators import Discriminator
from hvit.models.gan.generator import Generator
from hvit.models.gan.sampling import draw_latents, labels_in_order
from hvit.models.weights.save import save_weights
from hvit.randomness import draw_for_each
from hvit.run_names import WEIGHTS
from hvit.snapshots.samples import keep_samples
from hvit.tasks.adversarial import augment, discriminator_loss, generator_loss, r1_penalty
from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Scores, Task, join

_LATENT_SEED = 2105
_LATENTS_TO_SETTLE = 256
_MOST_FOR_PRECISION = 5_000
_MOST_FOR_KERNEL = 2_000
_LEAST_DIVERSITY = 0.1
_LEAST_LOSS = 0.02


class Generate(Task):
    """Trains a generator of images like those of a set.

    generator, discriminator: of the configuration's sizes. config: their objective. preprocess: how an image becomes a
    batch's numbers. extractor: features that samples are evaluated with. classes: names of the classes whose labels
    are given; empty where the networks have none. reference: statistics of the images to compare with; default: the
    held-out ones. Latents and augmentations are drawn from torch's generator, which the loop seeds at every step, for
    the places of the images in the whole batch.
    """

    score = "negative_distance"
    averaged = ("generator",)

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        config: GanConfig,
        preprocess: Preprocess,
        extractor: Extractor,
        classes: tuple[str, ...] = (),
        reference: FeatureStatistics | None = None,
    ) -> None:
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.config, self.preprocess, self.extractor, self.classes = config, preprocess, extractor, classes
        self.reference, self.real, self.real_is_seen = reference, _Real(), False
        rate = config.discriminator_rate
        phases = [Phase("discriminate", "discriminator", rate=rate), Phase("generate", "generator")]
        if config.r1_weight:
            phases.insert(1, Phase("penalise", "discriminator", every=config.r1_every, rate=rate))
        self.phases = tuple(phases)

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """The loss of a phase on batch["images"] (batch, channels, height, width), normalised.

        With classes the generated images have the labels of the real ones, batch["targets"]: class numbers (batch,) or
        shares (batch, classes), of which the largest counts.
        """
        images, labels = self._signed(batch["images"]), self._labels(batch)
        if phase.name == "discriminate":
            return self._discriminate(networks, images, labels)
        if phase.name == "penalise":
            return self._penalise(networks, images, labels)
        return self._generate(networks, images, labels)

    def _discriminate(self, networks: Networks, images: Tensor, labels: Tensor | None) -> Tensor:
        config = self.config
        with torch.no_grad():
            generated = networks["generator"](self._latents(images), labels).float()
        both = torch.cat([images, generated])
        shown = augment(both, config.diff_augment)
        if config.consistency:
            shown = torch.cat([shown, augment(both, config.consistency_augment)])
        # All in one pass: several processes average gradients once a pass.
        asked = None if labels is None else labels.repeat(len(shown) // len(images))
        logits = networks["discriminator"](shown, asked).float().split(len(both))
        real, fake = logits[0].chunk(2)
        loss = discriminator_loss(real, fake, config.loss)
        if config.consistency:
            # Real and generated images weigh alike (bCR: Zhao et al., arXiv 2002.04724, algorithm 1).
            moved = (logits[0] - logits[1]).square().chunk(2)
            loss = loss + config.consistency * (moved[0].mean() + moved[1].mean())
        return loss

    def _penalise(self, networks: Networks, images: Tensor, labels: Tensor | None) -> Tensor:
        images = images.detach().requires_grad_()
        # Compiled networks cannot be differentiated twice, and low precision is too coarse for it.
        discriminator = getattr(networks["discriminator"], "_orig_mod", networks["discriminator"])
        with torch.autocast(images.device.type, enabled=False):
            logits = discriminator(augment(images, self.config.diff_augment), labels)
            penalty = r1_penalty(logits, images)
        # The second term is 0: with it every weight has a gradient, which several processes wait for.
        return self.config.r1_weight * self.config.r1_every * penalty + 0.0 * logits.sum()

    def _generate(self, networks: Networks, images: Tensor, labels: Tensor | None) -> Tensor:
        generated = networks["generator"](self._latents(images), labels)
        discriminator = _alone(networks["discriminator"])
        with _frozen(discriminator):
            logits = discriminator(augment(generated.float(), self.config.diff_augment), labels)
        return generator_loss(logits.float(), self.config.loss)

    @torch.no_grad()
    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        """Logits and features of held-out images and of as many generated ones, from the same latents every time."""
        generator, discriminator = networks["generator"], networks.get("discriminator")
        assert isinstance(generator, Generator)
        self._settle(generator)
        recognise = self.extractor.recognise if self.classes and self.extractor.classes == self.classes else None
        parts, count = list[Outputs](), before.samples
        for number, batch in enumerate(batches if count < self.config.compared else (), start=before.batches):
            images, labels = self._signed(batch["images"]), self._labels(batch)
            latents = draw_latents(self.config.generator, len(images), _LATENT_SEED, "evaluation latents", number)
            part: Outputs = {}
            with torch.autocast(images.device.type, enabled=False):
                generated = generator(latents.to(images.device), labels).clamp(-1, 1)
                if discriminator is not None:
                    part["real_logits"] = discriminator(images, labels).cpu()
                    part["generated_logits"] = discriminator(generated, labels).cpu()
                if recognise is not None and labels is not None:
                    part["recognised"] = (recognise(generated / 2 + 0.5) == labels).cpu()
                part["generated"] = torch.from_numpy(self.extractor.features(generated / 2 + 0.5))
                if not self.real_is_seen:
                    part["real"] = torch.from_numpy(self.extractor.features(images / 2 + 0.5))
            parts.append(part)
            count += len(images)
            if count >= self.config.compared:
                break
        self.real_is_seen = True
        return join(parts)

    def scores_of(self, outputs: Outputs) -> Scores:
        """Compares generated images with held-out ones.

        "loss" and "generator_loss" are those on held-out images, where there is a discriminator. "distance" is the
        Frechet distance that "measure" names, in the features of "features", from the images of "split";
        "distance_of_halves" is that between two halves of the held-out images, for comparison. "kernel_distance", which
        "kernel_measure" names, is that from 2,000 held-out images at most to as many generated ones. "precision" and
        "recall" are shares. "diversity" is the mean distance between two generated images, "distinctness" the median
        distance of one to the nearest other, both as multiples of real ones. "recognised" is the share of generated
        images that are predicted as the class that was asked for, where there are classes and the extractor is a
        classifier of the same. "collapsed" says whether diversity or distinctness is below a tenth, and "warning" what
        is wrong, if anything. Raises UserError where there are fewer than two images, and for images that are not
        finite.
        """
        points = outputs["generated"].numpy()
        if len(points) < 2:
            raise UserError(f"generated images are compared with two held-out ones or more; there are {len(points)}")
        if "real" in outputs:
            self.real.measure(outputs["real"].numpy(), self.extractor)
        scores = {"count": len(points), **self._compare(points)}
        if "real_logits" in outputs:
            real, generated = outputs["real_logits"], outputs["generated_logits"]
            scores["loss"] = discriminator_loss(real, generated, self.config.loss).item()
            scores["generator_loss"] = generator_loss(generated, self.config.loss).item()
        if "recognised" in outputs:
            scores["recognised"] = outputs["recognised"].double().mean().item()
        warning = _warning(scores)
        return scores | ({"warning": warning} if warning else {})

    def _settle(self, generator: Generator) -> None:
        config, device = self.config.generator, next(generator.parameters()).device
        latents = draw_latents(config, _LATENTS_TO_SETTLE, _LATENT_SEED, "settling latents")
        labels = labels_in_order(config, len(latents))
        with torch.autocast(device.type, enabled=False):
            generator.settle(latents.to(device), None if labels is None else labels.to(device))

    def _compare(self, points: np.ndarray) -> Scores:
        """Distances between the features of generated images (images, dim) and those of real ones."""
        source, real = self.extractor.source, self.real
        reference = self.reference or real.statistics
        distance = frechet_distance(reference, FeatureStatistics.of(points, source, "generated"))
        precision, recall = precision_recall(real.points[:_MOST_FOR_PRECISION], points[:_MOST_FOR_PRECISION])
        kernel = kernel_distance(real.points[:_MOST_FOR_KERNEL], points[:_MOST_FOR_KERNEL])
        mine, usual = spread(points), real.spread
        diversity = mine.mean_distance / max(usual.mean_distance, 1e-12)
        distinctness = mine.nearest_distance / max(usual.nearest_distance, 1e-12)
        return {
            "distance": distance,
            "negative_distance": -distance,
            "distance_of_halves": real.distance_of_halves,
            "precision": precision,
            "recall": recall,
            "diversity": diversity,
            "distinctness": distinctness,
            "collapsed": min(diversity, distinctness) < _LEAST_DIVERSITY,
            "kernel_distance": kernel,
            "measure": source.measure,
            "kernel_measure": source.kernel_measure,
            "features": asdict(source),
            "split": reference.split,
            "reference_count": reference.count,
        }

    def save_weights(self, folder: Path, networks: Networks) -> None:
        """Writes `weights.safetensors`: the generator."""
        generator = networks["generator"]
        assert isinstance(generator, Generator)
        save_weights(
            generator,  # pyright: ignore[reportArgumentType]  (any model with a configuration is stored alike)
            folder / WEIGHTS,
            classes=self.classes if self.config.num_classes else (),
            preprocess=asdict(self.preprocess),
        )

    def draw(self, folder: Path, networks: Networks, step: int) -> None:
        """Draws what the generator makes of the same latents now."""
        generator = networks["generator"]
        assert isinstance(generator, Generator)
        keep_samples(generator, folder, step)

    def _signed(self, images: Tensor) -> Tensor:
        """Normalised images as the networks have them, from -1 to 1."""
        return self.preprocess.unit_images(images) * 2 - 1

    def _labels(self, batch: Batch) -> Tensor | None:
        if not self.config.num_classes:
            return None
        targets = batch["targets"]
        return targets if targets.ndim == 1 else targets.argmax(dim=1)

    def _latents(self, images: Tensor) -> Tensor:
        """New latents, one for each image; drawn on the CPU, so that they are the same on any device."""
        width = self.config.generator.latent_dim
        return draw_for_each(len(images), lambda count: torch.randn(count, width)).to(images.device)


class _Real:
    """What is known of the held-out images: computed at the first evaluation, the same in all later ones."""

    def measure(self, points: np.ndarray, extractor: Extractor) -> None:
        """points: features (images, dim)."""
        self.points = points
        self.statistics = FeatureStatistics.of(points, extractor.source, "held out")
        self.spread = spread(points)
        halves = [FeatureStatistics.of(half, extractor.source, "half") for half in (points[::2], points[1::2])
                  if len(half) > 1]  # fmt: skip
        self.distance_of_halves = frechet_distance(*halves) if len(halves) == 2 else None


def _warning(scores: Scores) -> str:
    """What is wrong with a run, in a sentence; empty where nothing is."""
    if scores["collapsed"]:
        return (
            f"the generated images are nearly all alike (diversity {scores['diversity']:.2g} and distinctness "
            f"{scores['distinctness']:.2g} of real ones): the generator has collapsed, or has not trained long enough; "
            f"if it stays so, try --model.r1-weight 10 times higher, a lower --optimize.learning-rate-per-256, or "
            f"--model.diff-augment color translation cutout"
        )
    if scores.get("loss", math.inf) < _LEAST_LOSS:
        return (
            f"the discriminator classifies all images correctly (loss {scores['loss']:.2g}), and the generator "
            f"improves little; if it stays so, try a higher --model.r1-weight or a smaller discriminator"
        )
    return ""


def _alone(network: nn.Module) -> nn.Module:
    """The network without gradient averaging over processes."""
    inner = getattr(network, "_orig_mod", network)
    return inner.module if isinstance(inner, DistributedDataParallel) else network


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """In this block gradients pass through the network, and none of its own weights are kept."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
