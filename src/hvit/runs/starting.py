"""Which pretrained weights a probe starts from: those named, or the best that this machine can get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from hvit.errors import UserError
from hvit.files import as_path
from hvit.models.catalogue import NetworkConfig, change, entry, name_of
from hvit.models.masked.config import MaskedConfig
from hvit.models.probe import ProbeConfig, ProbedConfig
from hvit.models.timm_encoder import TimmConfig
from hvit.models.weights import teacher
from hvit.models.weights.hub import named_on_hub
from hvit.models.weights.open import open_any
from hvit.models.weights.timm import cached_timm, download_timm, licence_of
from hvit.recipe import Recipe

PREFERRED = ("nest_tiny_224", "hiera_tiny_224", "hiera_base_224")
"""Published hierarchical models that are looked for: those free for any use first, and alone before the teacher."""
FREE_LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause")
"""Licences that allow any use."""
AUTO, TEACHER, TIMM = "auto", "teacher", "timm"
WEIGHTS_BY_NAME = (AUTO, TEACHER, TIMM)
"""What a recipe's weights may say instead of a path."""
_CROP, _INTERPOLATION = 0.875, "bicubic"


@dataclass(frozen=True)
class Start:
    """Where an encoder comes from."""

    encoder: ProbedConfig
    """Its configuration."""
    weights: str
    """A path, "timm", or "teacher"."""
    mean: tuple[float, ...] | None
    """What its images are normalised with, one number a channel; None: what the data says."""
    std: tuple[float, ...] | None
    """As `mean`."""
    crop: float
    """Share of the shorter side that the centre crop keeps."""
    interpolation: str
    """How its images are resized."""
    name: str
    """What the encoder is."""
    reason: str
    """Why this one."""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


def choose_start(probe: ProbeConfig, weights: str | None, download: bool = True) -> Start | None:
    """Where a probe's encoder comes from; None where nothing pretrained is at hand.

    weights: a path, "timm" (the published weights of the encoder that is named), "teacher" (the network of the extra
    `teacher`), or "auto" or None for the first that there is: published weights of `PREFERRED` models that are free for
    any use, in the hub's cache or by a download, the teacher, other published weights in the cache. download: whether a
    download may be tried.
    Raises UserError for named weights that are not there, or do not say which encoder they belong to.
    """
    if weights in (None, AUTO):
        return _best(probe, download)
    if weights == TEACHER:
        return _teacher(probe, "as named")
    if weights == TIMM:
        return _published(probe.encoder, "as named")
    return _of_file(str(weights), probe)


def _best(probe: ProbeConfig, download: bool) -> Start | None:
    wanted = {name: change(entry(name).config, in_channels=probe.in_channels) for name in PREFERRED}
    free = [name for name in wanted if licence_of(name) in FREE_LICENCES]
    for name in free:
        if cached_timm(name):
            return _published(wanted[name], "published weights, in the hub's cache")
    from huggingface_hub import constants  # takes a while to import

    if download and free and not constants.HF_HUB_OFFLINE:
        try:
            download_timm(free[0])
            return _published(wanted[free[0]], "published weights, downloaded")
        except UserError:  # not connected
            pass
    if teacher.teacher_file() is not None and probe.in_channels == 3:
        return _teacher(probe, "no published weights of a hierarchical model that are free for any use are at hand")
    for name, config in wanted.items():
        if cached_timm(name):
            return _published(config, "published weights, in the hub's cache")
    return None


def _teacher(probe: ProbeConfig, reason: str) -> Start:
    size = probe.encoder.input_size if isinstance(probe.encoder, TimmConfig) else (224, 224)
    encoder = TimmConfig(name=teacher.ARCHITECTURE, input_size=size)
    teacher.check_installed()
    return Start(
        encoder, TEACHER, teacher.MEAN, teacher.STD, teacher.CROP, teacher.INTERPOLATION,
        f"timm/{teacher.ARCHITECTURE}, pretrained on ImageNet-1K, from the package {teacher.PACKAGE}", reason,
    )  # fmt: skip


def _published(encoder: NetworkConfig, reason: str) -> Start:
    """An encoder with timm's published weights; they are downloaded when the model is made."""
    mean = std = None
    crop, interpolation = _CROP, _INTERPOLATION
    if isinstance(encoder, TimmConfig):
        import timm

        found = timm.get_pretrained_cfg(encoder.name)
        if found is None or not found.has_weights:
            raise UserError(f"timm has no published weights of {encoder.name}")
        mean, std, crop, interpolation = found.mean, found.std, found.crop_pct, found.interpolation
    name = name_of(encoder)
    if licence := licence_of(name):
        reason = f"{reason}; licence of the weights: {licence}"
    return Start(cast(ProbedConfig, encoder), TIMM, mean, std, crop, interpolation, name, reason)


def _of_file(path: str, probe: ProbeConfig) -> Start:
    """The encoder of a weights file or a run folder, prepared as it was trained."""
    opened = open_any(path if named_on_hub(path) else as_path(path))
    config = opened.model.config
    encoder = config.encoder if isinstance(config, MaskedConfig) else config
    if not hasattr(encoder, "depths") or not hasattr(encoder, "num_classes"):
        raise UserError(f"{path} holds {opened.name}, which has no features to probe")
    stored = opened.preprocess or {}
    return Start(
        cast(ProbedConfig, encoder), path,
        tuple(stored["mean"]) if "mean" in stored else None,
        tuple(stored["std"]) if "std" in stored else None,
        stored.get("crop", _CROP), stored.get("interpolation", _INTERPOLATION), f"{opened.name} of {path}", "",
    )  # fmt: skip


def started(recipe: Recipe, start: Start) -> Recipe:
    """The recipe with the encoder, and with the preparation of images that belongs to it."""
    assert isinstance(recipe.model, ProbeConfig)
    probe = replace(recipe.model, encoder=start.encoder, mean=start.mean, std=start.std)
    optimize = recipe.optimize
    if probe.finetune_minutes and optimize.freeze == "encoder":
        optimize = replace(optimize, freeze=all_but_the_last(start.encoder))
    return replace(
        recipe, model=probe, weights=start.weights, crop=start.crop, interpolation=start.interpolation,
        optimize=optimize,
    )  # fmt: skip


def all_but_the_last(encoder: ProbedConfig) -> str:
    """What stays frozen in fine-tuning: all but the last level, in models of one level all but the last quarter."""
    if len(encoder.depths) > 1:
        return f"levels:{len(encoder.depths) - 1}"
    layers = sum(encoder.depths) * 3 // 4
    return f"layers:{layers}" if layers else "encoder"
