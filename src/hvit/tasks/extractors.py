"""The features that generated images are evaluated with: pixels, a classifier, the teacher, DINOv2 or Inception."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.data.images.listing import show
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.errors import UserError
from hvit.files import read_whole
from hvit.metrics.frechet import Extractor, FeatureSource
from hvit.models.layers.encoder import Encoder
from hvit.models.timm_encoder import TimmConfig, TimmEncoder
from hvit.models.weights import teacher
from hvit.models.weights.hub import full_path
from hvit.models.weights.open import open_weights

_PIXELS, _TEACHER = "pixels", "teacher"
_INCEPTION, _DINOV2 = "inception:", "dinov2:"
_DINOV2_SIZES = {"vit-s-14": "dinov2_vits14", "vit-b-14": "dinov2_vitb14", "vit-l-14": "dinov2_vitl14",
                 "vit-g-14": "dinov2_vitg14"}  # fmt: skip
_LARGEST_INCEPTION = 1_000_000_000  # bytes; the published file has 95 million
_GREY = (0.299, 0.587, 0.114)


def open_extractor(what: str) -> Extractor:
    """The extractor that a recipe names.

    what: "pixels"; "teacher", the network of the extra `teacher`; "dinov2:" and a size, such as vit-s-14;
    "inception:" and the weights file of torch-fidelity, for FID; or the weights file or run folder of a classifier.
    Raises UserError where there is no such file, or it is of another kind.
    """
    if what == _PIXELS:
        return pixel_extractor()
    if what == _TEACHER:
        return teacher_extractor()
    if what.startswith(_DINOV2):
        return dinov2_extractor(what.removeprefix(_DINOV2))
    if what.startswith(_INCEPTION):
        return inception_extractor(Path(what.removeprefix(_INCEPTION)))
    opened = open_weights(what)
    if opened.preprocess is None:
        raise UserError(f"{what} does not say how images are prepared for it; name weights that hvit wrote")
    return classifier_extractor(
        opened.model,
        stored_preprocess(opened.preprocess, opened.model.config.input_size, show(what)),
        opened.name,
        opened.classes,
    )


def full_name(what: str) -> str:
    """The same extractor, with a path that holds wherever it is opened from."""
    if what in (_PIXELS, _TEACHER) or what.startswith(_DINOV2):
        return what
    kind = _INCEPTION if what.startswith(_INCEPTION) else ""
    return f"{kind}{full_path(what.removeprefix(kind))}"


def pixel_extractor(side: int = 8) -> Extractor:
    """Means of pixels over a grid of side x side: crude, but always here, and the same everywhere."""

    def extract(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, side).flatten(1)

    return Extractor(FeatureSource(f"{side}x{side} pixel", resize=f"means over {side}x{side}"), extract)


def classifier_extractor(model: Encoder, preprocess: Preprocess, name: str, classes: tuple[str, ...] = ()) -> Extractor:
    """The mean over the last grid of a classifier: what its head sees (for Hiera, before the final norm).

    preprocess: how images are prepared for it; they are resized (bilinear) to its input, grey ones are repeated for a
    model of colours, and colours are made grey for a model of grey ones. classes: names of its classes, if known.
    """
    model = model.eval().requires_grad_(False)
    height, width = preprocess.frame_size

    def prepared(images: Tensor) -> Tensor:
        model.to(images.device)
        images = _in_channels(images, len(preprocess.mean))
        if images.shape[2:] != (height, width):
            images = F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
        return (images - mean) / std

    def extract(images: Tensor) -> Tensor:
        return model.levels(prepared(images))[-1].flatten(1, -2).mean(1)

    def recognise(images: Tensor) -> Tensor:
        return model(prepared(images)).argmax(1)

    source = FeatureSource(name, _fingerprint(model), f"bilinear to {height}x{width}, antialiased")
    return Extractor(source, extract, classes, recognise)


def teacher_extractor() -> Extractor:
    """What the head of EfficientNet-Lite0 takes (1,280 features, trained on ImageNet-1K); its distance is no FID.

    Raises UserError where the extra `teacher` is not installed.
    """
    teacher.check_installed()
    model = TimmEncoder(TimmConfig(name=teacher.ARCHITECTURE))
    model.load_state_dict(teacher.teacher_state(model.config))
    model = model.eval().requires_grad_(False)
    side = model.config.input_size

    def extract(images: Tensor) -> Tensor:
        model.to(images.device)
        images = F.interpolate(_in_channels(images, 3), size=side, mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (teacher.MEAN, teacher.STD))
        return model.features((images - mean) / std)

    resize = f"bilinear to {side[0]}x{side[1]}, antialiased"
    source = FeatureSource("EfficientNet-Lite0", teacher.SHA256, resize, short="FD-EfficientNet-Lite0")
    return Extractor(source, extract)


def dinov2_extractor(size: str) -> Extractor:
    """DINOv2 by torch-fidelity, from what torch.hub has in its cache; nothing is downloaded, and it resizes by itself.

    size: "vit-s-14", "vit-b-14", "vit-l-14" or "vit-g-14". Raises UserError, with what is missing, where torch-fidelity
    0.4 is not installed, or the cache has no code or weights of this size.
    """
    if size not in _DINOV2_SIZES:
        raise UserError(f"there is no DINOv2 {size!r}; name dinov2:{', dinov2:'.join(_DINOV2_SIZES)}")
    try:
        from torch_fidelity.feature_extractor_dinov2 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorDinoV2,
        )
    except ImportError as error:
        raise UserError(
            "DINOv2 needs torch-fidelity 0.4: pip install 'hvit[fid]'; or name another extractor"
        ) from error
    cache, name = Path(torch.hub.get_dir()), _DINOV2_SIZES[size]
    wanted = (cache / "facebookresearch_dinov2_main", cache / "checkpoints" / f"{name}_pretrain.pth")
    if missing := [path for path in wanted if not path.exists()]:
        raise UserError(
            f"DINOv2 needs its code and its weights in the cache of torch.hub, and there is no {show(missing[0])}: run "
            f"torch.hub.load('facebookresearch/dinov2', '{name}') on a connected machine; or name another extractor"
        )
    try:
        network = FeatureExtractorDinoV2(f"dinov2-{size}", ["dinov2"])
    except Exception as error:  # whatever the code in the cache raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"DINOv2 of the cache of torch.hub cannot be loaded ({reason}): load it anew") from error

    def extract(images: Tensor) -> Tensor:
        network.to(images.device)
        return network(_bytes(images))[0]

    source = FeatureSource(
        f"DINOv2 {size}", _fingerprint(network), "TensorFlow 1 bilinear to 224x224", short=f"FD-DINOv2 ({size})"
    )
    return Extractor(source, extract)


def inception_extractor(path: Path) -> Extractor:
    """The Inception that FIDs are published with, by torch-fidelity, from a local weights file; it resizes by itself.

    Raises UserError where torch-fidelity is not installed or the file cannot be read.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise UserError("FID needs torch-fidelity: pip install 'hvit[fid]'; or name another extractor") from error
    try:
        fingerprint = hashlib.sha256(read_whole(path, _LARGEST_INCEPTION)).hexdigest()
    except UserError as error:
        raise UserError(f"the weights of Inception cannot be read: {error}") from error
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except Exception as error:  # whatever torch-fidelity raises for a file of another kind
        raise UserError(f"{path} holds no weights of torch-fidelity's Inception") from error

    def extract(images: Tensor) -> Tensor:
        network.to(images.device)
        return network(_bytes(images))[0]

    return Extractor(FeatureSource("Inception-v3", fingerprint, "TensorFlow 1 bilinear to 299x299", True), extract)


def _bytes(images: Tensor) -> Tensor:
    """Images from 0 to 1 as torch-fidelity takes them: in colour, from 0 to 255."""
    return (_in_channels(images, 3) * 255).round().clamp(0, 255).to(torch.uint8)


def _in_channels(images: Tensor, channels: int) -> Tensor:
    """Images (batch, channels, height, width) in grey or colour, as a network takes them."""
    if images.shape[1] == channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    return (images * images.new_tensor(_GREY)[:, None, None]).sum(dim=1, keepdim=True)


def _fingerprint(model: nn.Module) -> str:
    """A checksum of a model's weights, wherever they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
