"""Converts weights between hvit and other libraries, and compares the models before the file is written."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hvit.errors import UserError, did_you_mean
from hvit.files import JsonObject, replacing, short_path, write_text
from hvit.models.build import Network, build_empty
from hvit.models.masked.config import MaskedConfig
from hvit.models.nest.config import NestConfig
from hvit.models.weights.convert import Target, Way, difference_from, way_of
from hvit.models.weights.flax_files import flax_bytes
from hvit.models.weights.load import fit
from hvit.models.weights.open import OpenedWeights, open_any
from hvit.models.weights.save import save_weights

BOUND = 1e-4
"""Largest difference between the two models, relative to the largest logit, or of the losses of autoencoders."""
_LIBRARIES = {
    "timm": "timm", "torchvision": "torchvision", "transformers": "transformers", "official": "official",
}  # fmt: skip
_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def convert(source: Path, out: Path, target: str) -> JsonObject:
    """Writes the weights of a file or run folder as another library has them, or those of another library as ours.

    Returns {"file", "to", "model", "from": the format found, "tensors", "difference": of the two models, or None where
    they were not compared, "checked": a sentence on how}. Raises UserError, and writes nothing, for weights that the
    library cannot have, and where the models differ.
    """
    if target not in get_args(Target):
        known = get_args(Target)
        raise UserError(f"weights are converted to {', '.join(known)}; got {target!r:.60}{did_you_mean(target, known)}")
    opened = open_any(source)
    if target == "hvit":
        return _to_ours(opened, out)
    model = opened.model
    way = way_of(model, cast(Target, target))
    _check_name(out, way.suffixes, target)
    state = way.state(model)
    _check_way_back(state, model, target)
    difference, checked = _compared(way, state, model)
    _write(way, state, opened, out, target)
    return _result(opened, out, target, len(state), difference, checked)


def _to_ours(opened: OpenedWeights[Network], out: Path) -> JsonObject:
    """Writes an hvit checkpoint, compared with the library that the file is of."""
    _check_name(out, (".safetensors",), "hvit")
    model, found = opened.model, opened.report.format
    library = next((name for word, name in _LIBRARIES.items() if found.startswith(word)), None)
    difference, checked = None, "the file was hvit's already" if found.startswith("hvit") else f"{found}: not compared"
    if library is not None:
        try:
            way = way_of(model, cast(Target, library))
            difference, checked = _compared(way, way.state(model), model)
        except UserError as reason:
            if difference is not None:
                raise
            checked = f"not compared with another model: {reason}"
    save_weights(
        model, out, classes=opened.classes, preprocess=opened.preprocess, confidence=opened.confidence,
        labels=opened.labels.as_json(),
    )  # fmt: skip
    return _result(opened, out, "hvit", len(model.state_dict()), difference, checked)


def _result(
    opened: OpenedWeights, out: Path, target: str, tensors: int, difference: float | None, checked: str
) -> JsonObject:
    return {
        "file": str(out), "to": target, "model": opened.name, "from": opened.report.format, "tensors": tensors,
        "difference": difference, "checked": checked,
    }  # fmt: skip


def _check_name(out: Path, suffixes: tuple[str, ...], target: str) -> None:
    if suffixes and out.suffix.lower() not in suffixes:
        raise UserError(f"files for {target} end in {' or '.join(suffixes)} here; got {short_path(out)}")
    if not suffixes and out.exists() and not out.is_dir():
        raise UserError(f"{target} keeps weights and configuration in a folder; {short_path(out)} is a file")


def _check_way_back(state: dict[str, Tensor], model: Network, target: str) -> None:
    """Refuses (UserError) what hvit itself would not read back bit for bit."""
    back, _ = fit(build_empty(model.config), state, f"the weights for {target}", {"input_size": _size_of(model)}, None)
    own = model.state_dict()
    other = [name for name, tensor in own.items() if name not in back or not torch.equal(back[name], tensor)]
    if other:
        raise UserError(f"weights of this model cannot be kept for {target}: {', '.join(other[:3])} would change")


def _size_of(model: Network) -> tuple[int, ...]:
    config = model.config.encoder if isinstance(model.config, MaskedConfig) else model.config
    return tuple(config.input_size[-2:])


def _compared(way: Way, state: dict[str, Tensor], model: Network) -> tuple[float | None, str]:
    """The difference of the other library's model with these weights, and a sentence. Raises UserError above BOUND."""
    if way.peer is None:
        return None, f"written, and read back by hvit; not run in {way.package}, which no package has"
    if importlib.util.find_spec(way.package) is None:
        return None, f"written, and read back by hvit; not run in {way.package}, which is not installed"
    peer: nn.Module = way.peer(model)
    try:
        peer.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise UserError(f"{way.package} does not take these weights: {' '.join(lines[:3])[:300]}") from error
    found = difference_from(peer, model)
    if not found <= BOUND:
        raise UserError(
            f"nothing was written: with these weights the model of {way.package} differs from this one by {found:.1e} "
            f"of the largest output, so it has another option that no shape shows"
        )
    return found, f"run in {way.package}: outputs within {found:.1e} of the largest"


def _write(way: Way, state: dict[str, Tensor], opened: OpenedWeights[Network], out: Path, target: str) -> None:
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    if not way.suffixes:
        with replacing(out / "model.safetensors") as file:
            file.write(save(plain, {"format": "pt"}))
        write_text(out / "config.json", json.dumps(_config_json(way, opened), indent=2) + "\n")
        if opened.preprocess:
            write_text(
                out / "preprocessor_config.json", json.dumps(_processor_json(opened.preprocess), indent=2) + "\n"
            )
        return
    with replacing(out) as file:
        if isinstance(opened.model.config, NestConfig) and target == "official":
            file.write(flax_bytes(plain))
        elif out.suffix.lower() == ".safetensors":
            file.write(save(plain, {"format": "pt"}))
        else:
            content = io.BytesIO()
            torch.save({"model_state": state} if target == "official" else state, content)
            file.write(content.getvalue())


def _config_json(way: Way, opened: OpenedWeights[Network]) -> JsonObject:
    """What transformers' `from_pretrained` reads."""
    assert way.arguments is not None
    kind = "HieraForPreTraining" if isinstance(opened.model.config, MaskedConfig) else "HieraForImageClassification"
    fields: dict[str, Any] = {"model_type": "hiera", "architectures": [kind], **way.arguments(opened.model)}
    if kind == "HieraForImageClassification":
        count = fields.pop("num_labels")
        names = opened.classes or tuple(f"LABEL_{index}" for index in range(count))
        fields["id2label"] = {str(index): name for index, name in enumerate(names)}
        fields["label2id"] = {name: index for index, name in enumerate(names)}
    else:
        fields["normalize_pixel_loss"] = True
    return fields


def _processor_json(preprocess: dict[str, Any]) -> JsonObject:
    """How transformers prepares images as nearly as it can: shorter side, centre, mean and standard deviation."""
    height, width = preprocess["input_size"]
    return {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(min(height, width) / preprocess["crop"])},
        "resample": _RESAMPLE[preprocess["interpolation"]],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess["mean"]),
        "image_std": list(preprocess["std"]),
    }
