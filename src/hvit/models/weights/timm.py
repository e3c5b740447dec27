"""Our models as timm's, and the published weights as timm's authors converted them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hvit.errors import UserError
from hvit.models.hiera.config import HieraConfig
from hvit.models.hiera.weights import hiera_timm_arguments, hiera_to_timm
from hvit.models.layers.encoder import Encoder
from hvit.models.mvit.config import MvitConfig
from hvit.models.mvit.weights import mvit_timm_arguments, mvit_to_timm
from hvit.models.nest.config import NestConfig
from hvit.models.nest.weights import nest_timm_arguments, nest_to_timm
from hvit.models.weights.hub import as_sha256, cached_commits, check_content

_Way = tuple[Callable[[Encoder], dict[str, Tensor]], Callable[[Encoder], dict[str, object]]]

_WAYS: dict[type, _Way] = {
    NestConfig: (nest_to_timm, nest_timm_arguments),
    MvitConfig: (mvit_to_timm, mvit_timm_arguments),
    HieraConfig: (hiera_to_timm, hiera_timm_arguments),
}

# Catalogue name -> timm's name for the weights: trained on ImageNet-1K, or "fb_inw21k" on ImageNet-21K.
DOWNLOADS: dict[str, str] = {
    **{f"nest_{size}_224": f"nest_{size}_jx.goog_in1k" for size in ("tiny", "small", "base")},
    **{f"mvitv2_{size}_224": f"mvitv2_{size}.fb_in1k" for size in ("tiny", "small", "base", "large")},
    **{f"mvitv2_{size}_cls_224": f"mvitv2_{size}_cls.fb_inw21k" for size in ("base", "large", "huge")},
    **{
        f"hiera_{size}_224": f"hiera_{size}_224.mae_in1k_ft_in1k"
        for size in ("tiny", "small", "base", "base_plus", "large", "huge")
    },
    "hiera_small_abswin_256": "hiera_small_abswin_256.sbb2_e200_in12k_ft_in1k",
    **{f"hiera_{size}_sam2_224": f"sam2_hiera_{size}.fb_r896" for size in ("tiny", "small", "base_plus")},
    "hiera_large_sam2_256": "sam2_hiera_large.fb_r1024",
    "resnet50_224": "resnet50.a1_in1k",
}


@dataclass(frozen=True)
class Pin:
    """What is known of a published file, so that no other can take its place."""

    revision: str | None = None
    """The commit of its repository on the hub; None: the newest when it is downloaded."""
    sha256: str | None = None
    """The hash of its content; None: the one that the hub names."""


# timm's name of the weights -> what is pinned. Of the others nothing is known for certain here.
PINNED: dict[str, Pin] = {
    "nest_tiny_jx.goog_in1k": Pin("1eeb506c4fc4255c6be63da78d24faa66102bc10"),
    "resnet50.a1_in1k": Pin(
        "5d9e13b8fdab4d9718bcf2c8f5c3af01878367e8",
        "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
    ),
}


def to_timm(model: Encoder) -> dict[str, Tensor]:
    """A model's weights under timm's names and in timm's layout, for timm's class of the family.

    That class is `Nest`, `MultiScaleVit` or `Hiera`, made with `timm_arguments(model)`. Raises UserError for a model
    that timm does not have.
    """
    return _way(model)[0](model)


def timm_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments with which timm's class is the same network as ours; raises as `to_timm`."""
    return _way(model)[1](model)


def _way(model: Encoder) -> _Way:
    if type(model.config) not in _WAYS:
        raise UserError(f"only NesT, MViTv2 and Hiera models are turned into timm's, not {model.config.family!r}")
    return _WAYS[type(model.config)]


def download_timm(name: str) -> str:
    """The path of the published weights of a catalogue model, as timm's authors converted them.

    Taken from the local cache of huggingface_hub, or downloaded into it: the pinned revision (`PINNED`) or, where none
    is known, the one commit that the hub's newest is when it is asked. The content is compared with its SHA-256: the
    pinned one, or the one that the hub names and the cache keeps.
    Raises UserError, within seconds, where neither works, and where the content is not what it should be.
    """
    import huggingface_hub

    if cached := cached_timm(name):
        return cached
    repository, file, pin = _published_file(name)
    try:
        # One quick question first: the download itself repeats failed requests for half a minute.
        address = huggingface_hub.hf_hub_url(repository, file, revision=pin.revision)
        known = huggingface_hub.get_hf_file_metadata(address, timeout=5)
        expected = pin.sha256 or as_sha256(known.etag)
        if expected is None or as_sha256(known.etag) not in (expected, None):
            raise UserError(
                f"the hub names {known.etag or 'no hash'} as the content of {file} of {repository}, but it should be "
                f"{expected or 'a SHA-256'}; nothing was downloaded"
            )
        commit = pin.revision or known.commit_hash
        path = huggingface_hub.hf_hub_download(repository, file, revision=commit, etag_timeout=5)
    except UserError:
        raise
    except Exception as error:  # offline mode, no name service, refused, timed out, not there: the same advice
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise UserError(
            f"timm's weights for {name} cannot be downloaded ({reason}); on a connected machine download "
            f"{file} of https://huggingface.co/{repository} and give its path as weights"
        ) from error
    check_content(path, expected, repository)
    return path


def cached_timm(name: str) -> str | None:
    """The path of published weights in the hub's local cache, their content checked; None where they are not there.

    Raises UserError for a name without published weights, and for a file that is not what it should be.
    """
    import huggingface_hub

    repository, file, pin = _published_file(name)
    # A download of one commit leaves no note in the cache that it was the newest one.
    revisions = (pin.revision,) if pin.revision else (None, *cached_commits(repository))
    found = (huggingface_hub.try_to_load_from_cache(repository, file, revision=one) for one in revisions)
    cached = next((path for path in found if isinstance(path, str)), None)
    if cached is None:
        return None
    # The cache calls a file by the hash that the hub gave it.
    check_content(cached, pin.sha256 or as_sha256(Path(cached).resolve().name), repository)
    return cached


def licence_of(name: str) -> str:
    """The licence of a catalogue model's published weights, as timm states it; empty where it states none."""
    import timm

    published = DOWNLOADS.get(name)
    found = timm.get_pretrained_cfg(published) if published else None
    return (found.license if found else None) or ""


def _published_file(name: str) -> tuple[str, str, Pin]:
    """The hub's repository and file of published weights, and what is pinned of them."""
    published = DOWNLOADS.get(name) or _of_timm(name)
    if published is None:
        raise UserError(f"timm has no weights for {name!r}; it has for {', '.join(DOWNLOADS)}")
    return f"timm/{published}", "model.safetensors", PINNED.get(published, Pin())


def _of_timm(name: str) -> str | None:
    """timm's name of the weights of timm/NAME."""
    if not name.startswith("timm/"):
        return None
    import timm

    architecture = name.removeprefix("timm/")
    found = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    return found.hf_hub_id.removeprefix("timm/") if found and found.hf_hub_id else None
