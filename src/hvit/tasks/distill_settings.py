"""What a model is distilled from, and how: the section `distill` of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from hvit.errors import UserError
from hvit.fields import check_fields


@dataclass(frozen=True)
class DistillConfig:
    """Distillation: the model is trained on what teachers say to the very images that it sees; default: no teacher.

    Source: Hinton et al. 2015 (arXiv 1503.02531); one view for both, Beyer et al. 2022 (arXiv 2106.05237).
    """

    teachers: tuple[str, ...] = ()
    """Run folders, weights files, timm/NAME, or teacher (the network of the extra `teacher`); default: none."""
    target: Literal["logits", "features", "both"] = "logits"
    """What is matched: logits (a teacher of the same classes), features (any encoder), or both."""
    temperature: float = 2.0
    """What logits are divided by before they are compared; higher: small probabilities count more."""
    hard: bool = False
    """Match the teachers' decision instead of their probabilities."""
    average: Literal["probabilities", "logits"] = "probabilities"
    """What is averaged over several teachers."""
    label_weight: float = 0.1
    """Weight of the labels' cross entropy (0 to 1); the teachers' loss has the rest."""
    feature_weight: float = 1.0
    """With target both: weight of the features' loss relative to that of the logits."""
    level: int | None = None
    """Level whose mean is projected onto the teachers' features, 0 the finest; default: the last."""
    labels_per_class: int | None = None
    """Number of training images per class whose label is used; the others are distilled only; default: all."""
    unlabelled: str = ""
    """Folder of more images, without labels, that are distilled only; default: none."""
    token: bool = False
    """DeiT's distillation token: a second head for the teachers' loss, averaged with the first in testing; for ViT."""
    checksums: tuple[str, ...] = ()
    """SHA-256 of every teacher's weights, which the run notes down, so that it goes on with the same teachers."""

    def __post_init__(self) -> None:
        check_fields(self)
        changed = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        if changed and not self.teachers:
            raise UserError(f"distill.{changed[0]} has no meaning without a teacher: name one with distill.teachers")
        if not self.temperature > 0:
            raise UserError(f"distill.temperature must be above 0; got {self.temperature}")
        if not 0 <= self.label_weight < 1:
            raise UserError(f"distill.label_weight must be from 0 to less than 1; got {self.label_weight}")
        if not self.feature_weight > 0:
            raise UserError(f"distill.feature_weight must be above 0; got {self.feature_weight}")
        if self.labels_per_class is not None and self.labels_per_class < 1:
            raise UserError(f"distill.labels_per_class must be 1 or more; got {self.labels_per_class}")
        if self.target == "features" and not self.label_weight:
            raise UserError(
                "distill.target features trains no head, so labels have to: set distill.label_weight above 0, or "
                "distill.target both"
            )
        if self.token and (self.target == "features" or not self.label_weight):
            raise UserError(
                "distill.token has one head for the labels and one for the teachers' logits: target must be logits or "
                f"both and label_weight above 0, as DeiT's 0.5; got {self.target} and {self.label_weight}"
            )
        if self.checksums and len(self.checksums) != len(self.teachers):
            raise UserError("distill.checksums has one entry for each of distill.teachers; omit it for a new run")

    @property
    def uses_logits(self) -> bool:
        """Whether the teachers' logits are matched."""
        return self.target != "features"

    @property
    def uses_features(self) -> bool:
        """Whether the teachers' features are matched."""
        return self.target != "logits"
