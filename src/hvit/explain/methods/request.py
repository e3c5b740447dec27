"""What every explanation starts with: images and classes as asked for, and a model as it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isqrt
from operator import index
from typing import Protocol, SupportsIndex, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.gan.discriminators import Discriminator
from hvit.models.gan.generator import Generator
from hvit.models.inference.prepare import PreparedModel
from hvit.models.layers.encoder import Encoder, unwrap
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.mvit.model import Mvit

Classes = SupportsIndex | Sequence[SupportsIndex] | np.ndarray | Tensor
_Numbers: TypeAlias = "int | list[_Numbers]"


class _InTwoParts(Protocol):
    """A classifier as timm has them: features, and the logits computed from them."""

    def forward_features(self, images: Tensor) -> Tensor: ...

    def forward_head(self, features: Tensor) -> Tensor: ...


def classifier_of(model: object) -> nn.Module:
    """The classifier to explain: what a user gives, or what is inside DataParallel, `torch.compile`, an average, or a
    prepared model.

    Raises UserError for what gives no classes: autoencoders, generators, discriminators, encoders without a head, and
    what is no module at all.
    """
    model = unwrap(model)
    if isinstance(model, PreparedModel):
        model = model.model
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise UserError(f"what is explained must be a model, a torch.nn.Module; got {kind}")
    if isinstance(model, MaskedAutoencoder | Generator | Discriminator):
        raise UserError(f"{kind} has no classes to explain; give a classifier, such as one fine-tuned from its weights")
    if isinstance(model, Encoder) and isinstance(getattr(model, "head", None), nn.Identity):
        raise UserError(f"this {kind} has no head and so no classes to explain; give a fine-tuned classifier")
    if any(one.is_inference() for one in model.parameters()):
        raise UserError("these weights were made inside torch.inference_mode() and allow no gradients; make the model "
                        "outside of it")  # fmt: skip
    return model


def image_axes(model: nn.Module) -> int | None:
    """2 for an encoder of images, 3 for one of clips, None for a model that does not say."""
    size = getattr(getattr(model, "config", None), "input_size", None) if isinstance(model, Encoder) else None
    return None if size is None else len(size)


def as_batch(model: nn.Module, images: Tensor | np.ndarray, axes: int = 2) -> Tensor:
    """Images (batch, channels, height, width) of the model's type and on its device; else UserError.

    images: those, or one image (channels, height, width): a tensor or an array of floating-point numbers, normalised
    as the model takes them. axes: 3 for clips, which have the time before the height.
    """
    things, one = ("images", "channels, height, width") if axes == 2 else ("clips", "channels, time, height, width")
    if image_axes(model) not in (None, axes):
        takes = "images" if axes == 3 else "clips, for which class activation maps show times and places"
        raise UserError(f"this method explains {things}, and this {type(model).__name__} takes {takes}")
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        # A copy in the machine's own order of bytes: torch takes no others.
        images = torch.from_numpy(np.array(images, np.float32 if images.itemsize <= 4 else np.float64))
    if (
        not isinstance(images, Tensor)
        or not images.is_floating_point()
        or images.layout != torch.strided
        or images.ndim not in (axes + 1, axes + 2)
    ):
        given = f"{images.dtype} of shape {tuple(images.shape)}" if hasattr(images, "dtype") else type(images).__name__
        raise UserError(
            f"{things} to explain must be a floating-point tensor or array (batch, {one}) or ({one}), normalised as "
            f"the model takes them; got {given}"
        )
    images = images if images.ndim == axes + 2 else images[None]
    like = next((one for one in model.parameters() if one.is_floating_point()), images)
    if like.is_meta or images.is_meta:
        raise UserError("there is nothing to explain on torch's meta device, where weights and images have no numbers")
    return images.to(like.device, like.dtype)


def as_number(value: SupportsIndex, what: str) -> int:
    """A whole number as an int. Raises UserError for what is none, and for True and False."""
    try:
        if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) in (torch.bool, np.dtype(bool)):
            raise TypeError("a truth value is no number")
        return int(index(value))
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} must be a whole number, got {value!r:.80}") from error


def choose_classes(logits: Tensor, classes: Classes | None, top_k: int = 1) -> Tensor:
    """Classes to explain for each image, as (batch, k), from what the user asked for (see `gradcat_batch`).

    logits: (batch, num_classes). Raises UserError for logits that are not finite and for classes that do not exist.
    """
    check_logits(logits)
    batch, count = logits.shape
    top_k = as_number(top_k, "top_k")
    if classes is None:
        if not 1 <= top_k <= count:
            raise UserError(f"top_k must be from 1 to the model's {count} classes, got {top_k}")
        return logits.detach().topk(top_k, dim=1).indices
    if top_k != 1:
        raise UserError("give either classes or top_k, not both")
    numbers = _whole_numbers(classes)
    numbers = numbers if isinstance(numbers, list) else [numbers]
    alike = all(isinstance(one, int) for one in numbers)
    rows = [numbers] * batch if alike else numbers
    widths = {len(row) if isinstance(row, list) else 0 for row in (numbers,) * alike or rows}
    deeper = not alike and any(isinstance(one, list) for row in rows if isinstance(row, list) for one in row)
    if len(rows) != batch or len(widths) != 1 or 0 in widths or deeper:
        shape = f"shape {tuple(classes.shape)}" if isinstance(classes, Tensor | np.ndarray) else f"{classes!r:.80}"
        raise UserError(
            f"classes must be one class, several, or whole numbers of shape (images, classes per image) for {batch} "
            f"images, got {shape}"
        )
    wrong = [one for row in cast(list[list[int]], rows) for one in row if not 0 <= one < count]
    if wrong:
        raise UserError(f"class index {wrong[0]} is out of range: the model has classes 0 to {count - 1}")
    return torch.tensor(rows, dtype=torch.int64, device=logits.device).view(batch, widths.pop())


def check_logits(logits: Tensor) -> None:
    """Raises UserError for what is no batch of finite logits (batch, classes)."""
    if logits.ndim != 2:
        raise UserError(f"a classifier gives logits (batch, classes); this model gives shape {tuple(logits.shape)}")
    if not torch.isfinite(logits).all():
        raise UserError("the model's logits are not finite numbers for these images: there is nothing to explain")


def _whole_numbers(classes: Classes) -> _Numbers:
    """Whole numbers as ints, in lists as they were in sequences, arrays and tensors. Raises UserError for others."""
    if isinstance(classes, Tensor | np.ndarray):
        kind = str(classes.dtype).removeprefix("torch.")
        if not kind.startswith(("int", "uint")):
            raise UserError(f"classes must be whole numbers, got {kind} of shape {tuple(classes.shape)}")
        return classes.tolist()
    if isinstance(classes, Sequence) and not isinstance(classes, str | bytes):
        return [_whole_numbers(one) for one in classes]
    return as_number(cast(SupportsIndex, classes), "a class")


def one_image(batch: Tensor, method: str, several: str) -> Tensor:
    """A batch of one. Raises UserError for another number of images, naming the function for several."""
    if len(batch) != 1:
        raise UserError(f"{method} one image, got a batch of {len(batch)}; use {several} for several")
    return batch


def one_class(class_index: SupportsIndex | None) -> list[int] | None:
    """The class to explain, or None for the one of largest logit. Raises UserError for anything but a whole number."""
    return None if class_index is None else [as_number(class_index, "class_index")]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model in evaluation mode, and every module of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def classifies_a_token(model: nn.Module) -> bool:
    """Whether the logits are those of a class token, so that they do not depend on the last feature map."""
    return bool(getattr(getattr(model, "config", None), "class_token", False))


def levels_and_logits(model: Encoder, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The feature map after every level of an encoder, and the logits (batch, classes) computed from them."""
    if classifies_a_token(model):
        with_token = cast(Mvit, model)
        maps, token = with_token.encode(images)
        return maps, with_token.classify(maps[-1], token)
    maps = model.levels(images)
    return maps, model.classify(maps[-1])


def find_level(model: nn.Module, count: int, level: int | None) -> int:
    """The number of a level, 0 the finest, of a model with `count` levels.

    level: 0 the finest, -1 the coarsest; None for the coarsest that the logits depend on. Raises UserError for a level
    that the model does not have, or that its logits do not depend on.
    """
    last = count - 1 - classifies_a_token(model)
    level = None if level is None else as_number(level, "level")
    wanted = last if level is None else level + count * (level < 0)
    if not 0 <= wanted <= last:
        raise UserError(f"level must be from 0 to {last} for this {type(model).__name__}, got {level}")
    return wanted


def normalised_map(model: Encoder, last_map: Tensor) -> Tensor:
    """The feature map after the final norm, whose mean the linear head is applied to.

    Where the final norm comes before the mean, that is the last feature map itself. Where it follows the mean (Hiera),
    every position is centred on its own channels and scaled as the norm scales the mean: that scale is one number per
    image, held constant. The mean of the map is then exactly the normed mean, so that the logits are a linear head on
    it, as in the other models.
    last_map: (batch, rows, columns, dim), of clips with the time before the rows. Returns the same shape.
    """
    if not (model.norm_follows_mean and len(last_map)):
        return last_map
    norm = model.norm
    if not isinstance(norm, nn.LayerNorm):
        raise UserError(
            f"explanations of this {type(model).__name__} follow its final layer norm, and there is a "
            f"{type(norm).__name__} in its place"
        )
    places = tuple(range(1, last_map.ndim - 1))
    variance = last_map.mean(places, keepdim=True).var(-1, unbiased=False, keepdim=True)
    scale = (variance.detach() + norm.eps).rsqrt()
    normed = (last_map - last_map.mean(-1, keepdim=True)) * scale
    normed = normed if norm.weight is None else normed * norm.weight
    return normed if norm.bias is None else normed + norm.bias


def features_and_logits(
    model: nn.Module, images: Tensor, level: int | None = None, layer: str | None = None
) -> tuple[Tensor, Tensor]:
    """One layer's features of any classifier, and the logits (batch, classes) computed from them.

    images: (batch, channels, height, width). level: of an encoder, the level whose feature map is wanted, 0 the finest,
    -1 the coarsest; default: the coarsest that the logits depend on. layer: of another model, the name of the module
    whose output is wanted, such as "layer3"; default: what `forward_features` of a model of timm gives. Features are as
    the model has them: `as_feature_map` puts them in order.
    Raises UserError for a level or a layer that the model does not have.
    """
    if isinstance(model, Encoder):
        if layer is not None:
            raise UserError(f"{type(model).__name__} is asked for by level, such as level=-1, not by layer ({layer!r})")
        maps, logits = levels_and_logits(model, images)
        return maps[find_level(model, len(maps), level)], logits
    if level is not None:
        raise UserError(f"{type(model).__name__} is asked for by layer, such as layer='layer4', not by level ({level})")
    if layer is not None:
        return _output_of(model, images, layer)
    if not (hasattr(model, "forward_features") and hasattr(model, "forward_head")):
        raise UserError(f"{type(model).__name__} does not say which features it classifies: give the name of a layer")
    network = cast(_InTwoParts, model)
    with refusing(model, images):
        features = network.forward_features(images)
        return features, network.forward_head(features)


@contextmanager
def refusing(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Says in a sentence (UserError) why a third-party model cannot take these images."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{type(model).__name__} cannot take images of shape {tuple(images.shape)}: {first[:200]}"
        ) from error


def _output_of(model: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The output of the named module during a forward pass, and the logits."""
    modules = dict(model.named_modules())
    if layer not in modules or layer == "":
        parts = ", ".join(name for name, _ in model.named_children())
        raise UserError(f"{type(model).__name__} has no layer {layer!r}; its parts are {parts}, and parts of those")
    caught: list[object] = []

    def catch(module: nn.Module, given: object, output: object) -> object:
        # What follows works on a copy, because an activation in place would change what was caught.
        caught.append(output)
        return output.clone() if isinstance(output, Tensor) else output

    # The one hook of this package: third-party models have no other way to give a layer in between.
    handle = modules[layer].register_forward_hook(catch)
    try:
        with refusing(model, images):
            logits = model(images)
        if not isinstance(logits, Tensor):
            raise UserError(f"{type(model).__name__} gives {type(logits).__name__}, not a tensor of logits")
    finally:
        handle.remove()
    if len(caught) != 1 or not isinstance(caught[0], Tensor):
        raise UserError(f"layer {layer!r} gives {len(caught)} outputs or no tensor; choose one that gives one tensor")
    return caught[0], logits


def as_feature_map(model: nn.Module, features: Tensor) -> Tensor:
    """Features of a classifier as a feature map (batch, rows, columns, dim).

    features: (batch, dim, rows, columns); or, of models that say so (timm's `output_fmt`), channels last; or tokens
    (batch, tokens, dim), of which a model's prefix tokens are dropped. Raises UserError for other shapes.
    """
    if features.ndim == 4:
        return features if getattr(model, "output_fmt", "NCHW") == "NHWC" else features.movedim(1, -1)
    if features.ndim == 3:
        patches = features[:, getattr(model, "num_prefix_tokens", 0) :]
        rows, columns = getattr(getattr(model, "patch_embed", None), "grid_size", (isqrt(patches.shape[1]),) * 2)
        if rows * columns == patches.shape[1]:
            return patches.unflatten(1, (rows, columns))
    raise UserError(f"features of shape {tuple(features.shape)} are no map of positions: choose another layer")
