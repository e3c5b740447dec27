"""`hvit.from_pretrained`: a model of the Hugging Face Hub or of a folder, with what predicting with it takes."""

from __future__ import annotations

from pathlib import Path

from hvit.data.preprocess import stored_preprocess
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec
from hvit.markup import shown
from hvit.models.build import Network
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.hub import PREFIX, HubModel, check_repository, check_revision, fetch, named_on_hub
from hvit.models.weights.open import open_any
from hvit.tasks.confidence import Confidence


def from_pretrained(source: str | Path, *, revision: str | None = None, num_classes: int | None = None) -> Network:
    """Opens a model that `hvit push` published, or any weights that hvit knows, ready for prediction.

    The model is float32, on the CPU, in evaluation mode, and says how it is used: `model.classes` (names in the order
    of the logits), `model.preprocess` (`model.preprocess.tensor(image)` makes a PIL image its input; None where the
    weights do not say), `model.temperature` (logits are divided by it before the softmax) and `model.labels`.

    Args:
        source: A folder or file, or owner/name (also hf:owner/name) of a model of the Hugging Face Hub, which is
            downloaded into the hub's cache and opened from it afterwards. A path that is there comes first.
        revision: A branch, a tag or a commit of the hub's repository; default: the newest commit of its branch main. A
            commit in the cache is opened without asking the hub.
        num_classes: Classes of a new, untrained head; 0 for none, so that the model returns pooled features. Default:
            the head of the weights, which also stays where it has so many classes.

    Raises:
        UserError: For a model that is neither in the cache nor can be downloaded, for weights that do not say which
            model they belong to, and for another number of classes of what is no classifier.
    """
    path, where = _found(source, revision)
    opened = open_any(path)
    model, labels, classes = opened.model, opened.labels, opened.classes
    temperature = Confidence.read(opened.confidence, where).temperature
    if num_classes is not None and num_classes != getattr(model.config, "num_classes", None):
        number = isinstance(num_classes, int) and not isinstance(num_classes, bool) and num_classes >= 0
        if not number or not isinstance(model, Encoder):
            raise UserError(
                f"num_classes is 0 or more, and of a classifier; got {num_classes!r} for {opened.name} of {where}"
            )
        model.reset_classifier(num_classes)
        labels, classes, temperature = LabelSpec("single", ()), (), 1.0
    size, stored = getattr(getattr(model.config, "encoder", model.config), "input_size", ()), opened.preprocess
    preprocess = stored_preprocess(stored, size, where) if stored else None
    vars(model).update(classes=classes, labels=labels, temperature=temperature, preprocess=preprocess)
    return model


def _found(source: str | Path, revision: str | None) -> tuple[Path, str]:
    """The path of the weights, and what they are called in a sentence."""
    where = shown(str(source))
    model = named_on_hub(source)
    if model is None and not as_path(source).exists():
        if isinstance(source, Path) or source.count("/") != 1:
            raise UserError(f"there is neither a folder or file {where}, nor is it owner/name of a model of the hub")
        model = HubModel(check_repository(source))
    if model is None:
        if revision is not None:
            raise UserError(
                f"{where} is on this machine and has no revisions: omit revision, or write {PREFIX}owner/name"
            )
        return as_path(source), where
    if revision is not None:
        if model.revision not in (None, revision):
            raise UserError(f"{where} names a revision, and revision={revision!r} another one: give one of them")
        model = HubModel(model.repository, check_revision(revision))
    return fetch(model), where
