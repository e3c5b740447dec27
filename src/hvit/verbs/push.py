"""Publishes a run: a folder with weights, configuration and model card, on the disk or on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hvit.errors import UserError
from hvit.files import JsonObject, read_object, replacing, short_path, write_text
from hvit.markup import shown
from hvit.models.weights.hub import CONFIG, HubModel, check_repository, check_revision, hub_refusal
from hvit.models.weights.open import OpenedWeights, open_any
from hvit.recipe import as_json, read_recipe
from hvit.report.card import LIBRARY, About, model_card
from hvit.report.reading import Run, read_run
from hvit.report.retraining import without_paths
from hvit.run_names import RECIPE, WEIGHTS
from hvit.runs.plan_file import read_plan
from hvit.verbs.convert import convert
from hvit.verbs.folds import is_cross_validation

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

CARD = "README.md"
_TRANSFORMERS = (CONFIG, "model.safetensors", "preprocessor_config.json")
FILES = (CARD, WEIGHTS, RECIPE, *_TRANSFORMERS)
"""Everything that may be in a published folder."""
_OF_THE_HUB = (".gitattributes",)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
_SECONDS = 10
_MESSAGE = "Model of an hvit run"


@dataclass(frozen=True)
class PushRequest:
    """What `hvit push` was asked for."""

    run: Path
    """A finished run."""
    name: str
    """owner/name on the hub."""
    licence: str | None = None
    """The licence of the weights, as the hub names it; None: the card says that none is stated."""
    private: bool = False
    """Whether a new repository is private."""
    branch: str | None = None
    """The branch to write to, made where it is not there; None: main."""
    replace: bool = False
    """Whether another model that hvit published in the repository is replaced."""


def describe(request: PushRequest) -> JsonObject:
    """What would be published: {"repository", "branch", "private", "licence", "files": name -> bytes}.

    Nothing is written but a temporary folder. Raises UserError as `write_folder`.
    """
    with tempfile.TemporaryDirectory() as made:
        return _described(request, _filled(request, Path(made)))


def write_folder(request: PushRequest, out: Path) -> JsonObject:
    """Writes what would be published into a folder, without a network; returns what `describe` does.

    Raises UserError for a run that is not finished, for a name or a licence that cannot be, and for a folder that holds
    anything else than an earlier one.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{short_path(out)} is a file; the model becomes a folder: choose another --folder")
    if out.is_dir() and (other := sorted(one.name for one in out.iterdir() if one.name not in FILES)):
        raise UserError(f"{short_path(out)} holds other files, such as {shown(other[0])}: choose another --folder")
    with tempfile.TemporaryDirectory() as made:
        files = _filled(request, Path(made))
        found = _described(request, files)
        for file in files:
            with replacing(out / file.name) as written:
                written.write(file.read_bytes())
        for name in set(FILES) - {file.name for file in files}:  # of an earlier one
            (out / name).unlink(missing_ok=True)
    return found


def push(request: PushRequest, say: Callable[[str], object] = lambda line: None) -> JsonObject:
    """Publishes a run on the hub, in one commit; returns what `describe` does with "url" and "commit".

    The login is that of huggingface_hub: `hf auth login`, or the variable HF_TOKEN. say: called with a sentence before
    each step that takes a while. Raises UserError as `write_folder`, without a login, without a network, for a
    repository with other content, and where the hub refuses.
    """
    import huggingface_hub
    from huggingface_hub import constants

    model = HubModel(check_repository(request.name), request.branch)
    with tempfile.TemporaryDirectory() as made:
        files = _filled(request, Path(made))
        found = _described(request, files)
        if constants.HF_HUB_OFFLINE:
            raise UserError("HF_HUB_OFFLINE forbids to ask the hub: unset it, or write the folder with --folder OUT")
        try:
            if huggingface_hub.get_token() is None:
                raise UserError(
                    "this machine is not logged in to the hub: `hf auth login`, or set the variable HF_TOKEN; "
                    "--folder OUT writes the model without a login"
                )
            api = huggingface_hub.HfApi(library_name=LIBRARY, library_version=version("hvit"))
            parent, stale = _place(api, request, files, say)
            say(f"uploading {len(files)} files to {model}")
            operations = [huggingface_hub.CommitOperationAdd(file.name, file) for file in files]
            operations += [huggingface_hub.CommitOperationDelete(name) for name in stale]
            done = api.create_commit(
                request.name, operations, commit_message=_MESSAGE, revision=request.branch, parent_commit=parent
            )
        except UserError:
            raise
        except Exception as error:  # no name service, refused, timed out, no rights, a card that the hub does not take
            raise hub_refusal(error, model) from error
    return {**found, "url": f"{constants.ENDPOINT}/{request.name}", "commit": done.oid}


def _place(
    api: HfApi, request: PushRequest, files: Sequence[Path], say: Callable[[str], object]
) -> tuple[str | None, list[str]]:
    """Makes the repository and the branch where they are not there.

    Returns the commit that is written on, and files of an earlier model that the new one does not have. Raises
    UserError for a repository with other content.
    """
    from huggingface_hub import errors

    try:
        there = api.model_info(request.name, timeout=_SECONDS)
    except errors.RepositoryNotFoundError:
        say(f"making the {'private' if request.private else 'public'} repository {request.name}")
        api.create_repo(request.name, private=request.private)
        there = api.model_info(request.name, timeout=_SECONDS)
    else:
        if request.private and not there.private:
            raise UserError(f"{request.name} exists and is public; --private is for new repositories: omit it")
    if request.branch is not None:
        _check_content(api, request, there, files)  # a branch begins with what main has
        api.create_branch(request.name, branch=request.branch, exist_ok=True)
        there = api.model_info(request.name, revision=request.branch, timeout=_SECONDS)
    return there.sha, _check_content(api, request, there, files)


def _check_content(api: HfApi, request: PushRequest, there: ModelInfo, files: Sequence[Path]) -> list[str]:
    """The files of an earlier model to remove. Raises UserError for other content than one of hvit's."""
    names = {one.rfilename for one in there.siblings or []}
    other = sorted(names - set(FILES) - set(_OF_THE_HUB))
    published = _published(api, request, there) if CONFIG in names else None
    if other or (names - set(_OF_THE_HUB) and published is None):
        what = other[0] if other else sorted(names - set(_OF_THE_HUB))[0]
        raise UserError(
            f"{request.name} exists and holds other files, such as {shown(what)}, which hvit has not written: choose "
            f"another name"
        )
    own = next(file for file in files if file.name == CONFIG)
    if published is not None and published != read_object(own)[LIBRARY]["weights_sha256"] and not request.replace:
        raise UserError(
            f"{request.name} exists and holds another model that hvit published: --replace writes over it (its history "
            f"keeps the old files), or choose another name"
        )
    return sorted(names & set(FILES) - {file.name for file in files})


def _published(api: HfApi, request: PushRequest, there: ModelInfo) -> str | None:
    """The hash of the weights that hvit published in a repository; None where it did not."""
    path = api.hf_hub_download(request.name, CONFIG, revision=there.sha)
    try:
        stated = read_object(Path(path)).get(LIBRARY)
    except UserError:
        return None
    return str(stated.get("weights_sha256")) if isinstance(stated, dict) else None


def _described(request: PushRequest, files: Sequence[Path]) -> JsonObject:
    return {
        "repository": request.name, "branch": request.branch or "main", "private": request.private,
        "licence": request.licence, "files": {file.name: file.stat().st_size for file in files},
    }  # fmt: skip


def _filled(request: PushRequest, folder: Path) -> list[Path]:
    """Writes the files of a run into a folder. Raises UserError as `write_folder`."""
    check_repository(request.name)
    if request.branch is not None:
        check_revision(request.branch)
    if request.licence is not None and not _LICENCE.fullmatch(request.licence):
        raise UserError(
            f"a licence is named as the hub does, in small letters, such as apache-2.0, mit, cc-by-nc-4.0 or other; "
            f"got {shown(request.licence[:80])!r}"
        )
    run = _finished(request.run)
    recipe, plan = read_recipe(request.run), read_plan(request.run)
    weights, opened = request.run / WEIGHTS, open_any(request.run)
    with replacing(folder / WEIGHTS) as file:
        file.write(weights.read_bytes())
    has_transformers = _write_for_transformers(weights, folder)
    about = About(request.name, request.licence, opened.name, has_transformers)
    write_text(folder / CONFIG, json.dumps(_config(opened, folder, run), indent=2) + "\n")
    write_text(folder / RECIPE, json.dumps(without_paths(as_json(recipe)), indent=2) + "\n")
    write_text(folder / CARD, model_card(run, recipe, plan, about))
    return sorted(folder.iterdir())


def _finished(folder: Path) -> Run:
    """What a run left. Raises UserError where it is none, or not finished."""
    if is_cross_validation(folder):
        raise UserError(
            f"{folder} is a cross-validation, which has a model for each fold: name one, such as {folder}/fold_1"
        )
    run = read_run(folder)
    if run.scores is None:
        raise UserError(f"the run in {folder} is not finished: `hvit resume {folder}` continues it")
    return run


def _write_for_transformers(weights: Path, folder: Path) -> bool:
    """Writes what transformers reads, for models that it has; says whether it does."""
    try:
        convert(weights, folder, "transformers")
    except UserError:  # another family, or a size or an option that transformers does not have
        return False
    return True


def _config(opened: OpenedWeights, folder: Path, run: Run) -> JsonObject:
    """What config.json says: of transformers' models what that reads, and of all what hvit made."""
    there = folder / CONFIG
    content = read_object(there) if there.exists() else {}
    with (folder / WEIGHTS).open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    ours = {
        "version": version("hvit"), "architecture": opened.name, "kind": run.scores.label_kind if run.scores else "",
        "config": asdict(opened.model.config), "classes": list(opened.classes), "preprocess": opened.preprocess,
        "weights": WEIGHTS, "weights_sha256": checksum,
    }  # fmt: skip
    return {**content, "library_name": LIBRARY, LIBRARY: ours}
