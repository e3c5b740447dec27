"""Models of the Hugging Face Hub: how they are named, and their files in the hub's local cache."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePath

from hvit.errors import UserError
from hvit.files import absolute_path
from hvit.markup import shown
from hvit.run_names import OUTLIERS, WEIGHTS

PREFIX = "hf:"
"""What stands before the name of a model of the hub where a path may be given as well."""
CONFIG = "config.json"
WEIGHT_FILES = (
    WEIGHTS,
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What weights are called in a folder: a run's or a pushed run's, and those of transformers, timm and Accelerate."""

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"(?:model|pytorch_model)-\d+-of-\d+\.(?:safetensors|bin)")
_SECONDS = 10


@dataclass(frozen=True)
class HubModel:
    """A model of the hub."""

    repository: str
    """Its owner and its name, as owner/name."""
    revision: str | None = None
    """A branch, a tag or a commit; None: the newest commit of the branch main."""

    def __str__(self) -> str:
        return self.repository + (f"@{self.revision}" if self.revision else "")


def check_repository(name: str) -> str:
    """The name of a repository of the hub. Raises UserError for anything that is no owner/name."""
    fits = _NAME.fullmatch(name) and len(name) <= 96 and "--" not in name and ".." not in name
    if not fits or name.endswith(".git"):
        raise UserError(
            f"a model of the hub is called owner/name, of letters, digits, '-', '_' and '.', 96 characters at most; "
            f"got {shown(name[:120])!r}"
        )
    return name


def check_revision(revision: str) -> str:
    """The name of a branch, a tag or a commit. Raises UserError for anything else."""
    if not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith("/"):
        raise UserError(f"a revision is a branch, a tag or a commit; got {shown(revision[:120])!r}")
    return revision


def named_on_hub(path: str | PurePath) -> HubModel | None:
    """The model of the hub that hf:owner/name or hf:owner/name@revision names; None for every other path.

    Raises UserError for what begins with hf: and names no model.
    """
    if not isinstance(path, str | PurePath):
        raise UserError(f"weights are the path of a file or a folder, or {PREFIX}owner/name; got {path!r:.100}")
    text = path.as_posix() if isinstance(path, PurePath) else path
    if not text.startswith(PREFIX):
        return None
    name, at, revision = text.removeprefix(PREFIX).partition("@")
    return HubModel(check_repository(name), check_revision(revision) if at else None)


def looks_like_hub_name(path: str | PurePath) -> bool:
    """Whether a path that leads nowhere may be meant as owner/name: no folder has the owner's name."""
    text = path.as_posix() if isinstance(path, PurePath) else path
    return bool(_NAME.fullmatch(text)) and not Path(text).parent.exists() and not PurePath(text).suffix


def fetch(model: HubModel) -> Path:
    """The folder of a model's files in the hub's local cache, which are downloaded where they are not there.

    Only the weights, their configuration and features of training images are. A commit that is in the cache is not
    asked for again; of a branch the hub is asked for the newest commit, and where it cannot be reached the one in the
    cache is taken, with a warning. Contents are compared with the SHA-256 that the hub names.
    Raises UserError, within seconds, where neither works, and for a repository without weights.
    """
    import huggingface_hub
    from huggingface_hub import constants

    cached = _cached_folder(model)
    if cached is not None and (constants.HF_HUB_OFFLINE or _COMMIT.fullmatch(model.revision or "")):
        return _checked(cached, model)
    try:
        found = huggingface_hub.HfApi().model_info(model.repository, revision=model.revision, timeout=_SECONDS)
        files = _chosen([one.rfilename for one in found.siblings or []], model)
        paths = [
            Path(
                huggingface_hub.hf_hub_download(model.repository, name, revision=model.revision, etag_timeout=_SECONDS)
            )
            for name in files
        ]
    except UserError:
        raise
    except Exception as error:  # offline mode, no name service, refused, timed out, not there
        refusal = hub_refusal(error, model)
        if cached is None or not is_unreachable(error):
            raise refusal from error
        warnings.warn(f"{refusal}: the commit {cached.name[:12]} in its cache is used", stacklevel=2)
        return _checked(cached, model)
    folders = {path.parent for path in paths}
    if {folder.name for folder in folders} != {found.sha}:
        raise UserError(f"{model} was changed on the hub while it was downloaded; try again")
    return _checked(folders.pop(), model)


def pinned(model: HubModel) -> str:
    """The model as hf:owner/name@commit, with the commit that `fetch` finds; raises UserError as `fetch`."""
    return f"{PREFIX}{HubModel(model.repository, fetch(model).name)}"


def full_path(path: str) -> str:
    """A path that holds wherever a run is resumed from; of a model on the hub, its name with its commit."""
    model = named_on_hub(path)
    return pinned(model) if model else str(absolute_path(path))


def is_unreachable(error: Exception) -> bool:
    """Whether a request of the hub's client failed because no hub answered."""
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | httpx2.TransportError):
        return True
    response = getattr(error, "response", None)
    return response is not None and response.status_code >= 500


def hub_refusal(error: Exception, model: HubModel) -> UserError:
    """A sentence on why the hub did not do what it was asked."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{model.repository} is open to accepted users only: ask for access on its page, and log in")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{model.repository} has no revision {shown(str(model.revision))!r} on the hub")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"there is no model {model.repository} on the hub, or it is private and this machine is not logged in "
            f"(`hf auth login`, or the variable HF_TOKEN)"
        )
    if constants.HF_HUB_OFFLINE:
        return UserError(f"{model} is not in the hub's cache, and HF_HUB_OFFLINE forbids to ask the hub")
    if status in (401, 403):
        return UserError(f"the hub does not allow this for {model.repository}: the login has no right to it ({status})")
    reason = shown(" ".join(str(error).split())[:240] or type(error).__name__)
    return UserError(f"the hub cannot be used for {model} ({reason})")


def _cached_folder(model: HubModel) -> Path | None:
    """The newest folder in the cache that holds weights of a model at its revision."""
    commits = cached_commits(model.repository)
    if model.revision is not None:
        known = _cache_of(model.repository) / "refs" / model.revision
        commit = model.revision
        if not _COMMIT.fullmatch(commit):
            commit = known.read_text(encoding="utf-8").strip() if known.is_file() else ""
        commits = [one for one in commits if one == commit]
    folders = [_cache_of(model.repository) / "snapshots" / one for one in commits]
    return next((one for one in folders if any((one / name).is_file() for name in WEIGHT_FILES)), None)


def cached_commits(repository: str) -> list[str]:
    """The commits of a repository that the hub's local cache has, the one that was downloaded last first."""
    try:
        kept = sorted(
            (_cache_of(repository) / "snapshots").iterdir(), key=lambda one: one.stat().st_mtime, reverse=True
        )
    except OSError:
        return []
    return [one.name for one in kept]


def _cache_of(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _chosen(names: list[str], model: HubModel) -> list[str]:
    """The files to download: the first kind of weights that there is, and what belongs to them."""
    weights = next((name for name in WEIGHT_FILES if name in names), None)
    if weights is None:
        raise UserError(f"{model} holds no weights: {', '.join(WEIGHT_FILES[:2])} or another known file is missing")
    ending = ".bin" if weights.endswith((".bin", ".bin.index.json")) else ".safetensors"
    shards = [name for name in names if _SHARD.fullmatch(name) and name.endswith(ending)]
    return [weights, *shards * weights.endswith(".index.json"), *(one for one in (CONFIG, OUTLIERS) if one in names)]


def _checked(folder: Path, model: HubModel) -> Path:
    """The folder, whose large files have been compared with the hashes by which the cache calls them."""
    for file in folder.iterdir():
        named = as_sha256(file.resolve().name)
        if named is not None:
            check_content(file, named, model.repository)
    return folder


def as_sha256(text: str | None) -> str | None:
    """The text if it is a SHA-256 in hexadecimal digits."""
    return text if text is not None and re.fullmatch(r"[0-9a-f]{64}", text) else None


def check_content(path: str | Path, expected: str | None, repository: str) -> None:
    """Refuses (UserError) a file whose SHA-256 is not the expected one; None where no hash is known."""
    if expected is None:
        raise UserError(f"{path} comes from {repository}, but nothing says which hash it should have; delete it")
    with Path(path).open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise UserError(
            f"{path} is not the file that {repository} has: its SHA-256 is {found}, and should be {expected}; delete "
            f"it, and it is downloaded anew"
        )
