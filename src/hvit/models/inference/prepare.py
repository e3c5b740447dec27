"""Models made ready for inference: equal answers, sooner. See docs/guides/speed.md for what it is worth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, get_args

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.machine import has_bfloat16, keep_freed_memory
from hvit.markup import three_digits
from hvit.models.inference.ways import (
    Candidates,
    Precision,
    Run,
    UnavailableError,
    Way,
    copy_for_inference,
    device_of,
    dtype_of,
)
from hvit.models.layers.encoder import Encoder, unwrap

# Of the largest logit; float32 alone gives a few 1e-7, bfloat16 has three decimal digits.
BOUNDS: dict[str, float] = {"float32": 1e-4, "bfloat16": 0.05}
_ROUNDS = 3
_GAIN = 0.98


@dataclass(frozen=True)
class Choice:
    """What `prepare_for_inference` settled on, and how it knows."""

    way: Way
    """eager (the model as it is), packed (weights in the CPU's order), openvino, or compiled (torch.compile)."""
    chunk: int
    """Images that go through the model together; a larger batch is cut."""
    dtype: Precision
    """What the model computes in. Logits are float32 always."""
    difference: float
    """Largest difference of a logit from the model's own, relative to its largest, on random images."""
    rates: dict[Way, float]
    """Images a second of every way that was tried, at its best number of images."""
    notes: tuple[str, ...]
    """Why ways that were asked for are not used: a sentence each."""

    def __str__(self) -> str:
        rate = f"{three_digits(self.rates[self.way])} images a second"
        others = ", ".join(f"{way} {three_digits(value)}" for way, value in self.rates.items() if way != self.way)
        text = (
            f"{self.way}, {self.dtype}, {self.chunk} at a time: {rate}{f' ({others})' if others else ''}; "
            f"logits within {self.difference:.0e} of the model's"
        )
        return "; ".join((text, *self.notes))


class PreparedModel(nn.Module):
    """A classifier that answers as its model does, in a way chosen for speed. Made by `prepare_for_inference`.

    It is called as the model is; `config` is the model's, `choice` says what was chosen. `model` is a copy of the
    model as it was when it was prepared, in evaluation mode and in float32 or wider: no later change of the model
    changes an answer. A prepared model computes in one number format on one device, under autocast, too; it is not
    trained, moved, cast or given other weights (UserError), and gives no gradients.
    """

    def __init__(self, model: Encoder, run: Run, choice: Choice) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self.choice = choice
        self._run = run
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes), float32, of images (batch, channels, *input_size), never softmaxed.

        Images of any floating-point type are taken. Raises UserError for images of another shape or on another device,
        and for ones that want gradients.
        """
        self.model.check_images(images, casts=True)
        device = device_of(self.model)
        if images.device != device:
            raise UserError(f"this model was prepared on {device}, and the images are on {images.device}; move them")
        if torch.is_grad_enabled() and images.requires_grad:
            raise UserError("a model prepared for inference gives no gradients; use the model itself")
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            if len(images):
                logits = in_chunks(self._run, images, self.choice.chunk)
            else:
                logits = self.model(images.to(dtype_of(self.model))).float()
        return logits.clone()  # outside of inference mode, so that autograd can take it

    def train(self, mode: bool = True) -> PreparedModel:
        """Raises UserError for training: a prepared model is for inference only."""
        if mode:
            raise UserError("a model prepared for inference cannot be trained; train the model itself")
        super().train(False)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PreparedModel:
        """What `to`, `half`, `cuda` and their like call: taken where it changes nothing, else refused (UserError)."""
        probe = torch.empty(0, dtype=dtype_of(self.model), device=device_of(self.model))
        moved = fn(probe)
        if (moved.dtype, moved.device) != (probe.dtype, probe.device):
            raise UserError(
                "a model prepared for inference is not moved or cast; do so to the model, and prepare it again"
            )
        return self

    def load_state_dict(self, *_: object, **__: object) -> NoReturn:
        """Raises UserError: a prepared model keeps its weights."""
        raise UserError(
            "a model prepared for inference keeps its weights; load them into the model, and prepare it again"
        )


def prepare_for_inference(
    model: nn.Module,
    batch_size: int = 16,
    dtype: Precision = "float32",
    ways: tuple[Way, ...] = ("eager", "packed", "openvino"),
) -> PreparedModel:
    """Prepares a copy of a classifier for the fastest inference on this machine, and checks that its logits agree.

    Every backend is timed on random images, in chunks of one image, two, four and so on while that is faster. The
    fastest backend whose logits agree with the model's (`BOUNDS`) is kept. A backend that is not available is skipped,
    and `choice.notes` gives the reason; in the worst case the result is the model itself. Preparing takes seconds to a
    minute and pays off from some hundred images on. On a CPU the process keeps freed memory from then on
    (`hvit.machine.keep_freed_memory`).

    The model is copied and not changed, so the prepared model's logits stay the same bit for bit, whatever happens to
    the original. The copy takes the memory of the weights once more, and a backend other than `"eager"` as much again.
    Weights that are not float32 are converted to it; they are compared with the logits of the same weights in float32,
    or in float64 if they were.

    Args:
        model: A classifier of hvit, in any floating-point type, also compiled or inside DataParallel.
        batch_size: The largest batch to expect.
        dtype: The type to compute in. `"bfloat16"` is refused if the CPU or GPU does not support it.
        ways: The backends to try. `"compiled"` is torch.compile with frozen weights; it takes a minute and a C++
            compiler, so it is tried only if named. `"packed"` and `"openvino"` are for CPUs, the latter if the package
            is installed.

    Raises:
        UserError: For models that are not classifiers of hvit or cannot be copied, and for unknown choices.
    """
    given = unwrap(model)
    if isinstance(given, PreparedModel):
        given = given.model
    if not isinstance(given, Encoder):
        raise UserError(f"only classifiers of hvit can be prepared for inference; this is a {type(given).__name__}")
    unknown = [way for way in ways if way not in get_args(Way)]
    number = type(batch_size) is int and batch_size >= 1
    if unknown or dtype not in BOUNDS or not number:
        size = batch_size if isinstance(batch_size, int | float | str | None) else f"a {type(batch_size).__name__}"
        raise UserError(
            f"ways are {', '.join(get_args(Way))}, dtype is float32 or bfloat16, and batch_size 1 or more; got "
            f"{', '.join(map(str, ways))}, {dtype} and {size}"
        )
    device = device_of(given)
    if device.type == "meta":
        raise UserError("this model has no weights in memory (they are on torch's meta device); load them first")
    if dtype == "bfloat16" and not has_bfloat16(device.type):
        raise UserError(f"this {device.type} has no bfloat16 units, which would make bfloat16 slower; leave dtype out")
    if device.type == "cpu":
        keep_freed_memory()
    copied = copy_for_inference(given)
    candidates = Candidates(copied, device, dtype)
    images = torch.randn(batch_size, copied.config.in_channels, *copied.config.input_size, generator=_seeded())
    images = images.to(device)
    with torch.autocast(device.type, enabled=False):
        return _fastest(copied, candidates, images, dtype, ways)


def _fastest(
    model: Encoder, candidates: Candidates, images: Tensor, dtype: Precision, ways: tuple[Way, ...]
) -> PreparedModel:
    """The model in the fastest of the ways whose logits are its own."""
    notes: list[str] = []
    runs: dict[Way, tuple[Run, int]] = {}
    differences: dict[Way, float] = {}
    order: tuple[Way, ...] = ("eager", *ways)
    for way in dict.fromkeys(order):
        try:
            run = candidates.make(way)
            difference = _difference(run, model, images[:2])
            if difference > BOUNDS[dtype] and way != "eager":
                notes.append(f"{way} is not used: its logits differ by {difference:.1e} of the largest")
                continue
            runs[way], differences[way] = (run, _best_chunk(run, images)), difference
        except UnavailableError as reason:
            notes.append(f"{way} is not used: {reason}")
        except Exception as error:
            # Compilers and converters fail in ways of their own; the model itself always remains.
            if way == "eager":
                raise
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            notes.append(f"{way} is not used: it failed with {first[:120]!r}")
    rates = _compare_rates(runs, images)
    chosen = max(rates, key=lambda way: rates[way])
    run, chunk = runs[chosen]
    return PreparedModel(model, run, Choice(chosen, chunk, dtype, differences[chosen], rates, tuple(notes)))


def in_chunks(run: Run, images: Tensor, chunk: int) -> Tensor:
    """What `run` gives of a batch, `chunk` images at a time, so that intermediate results stay in the cache."""
    if len(images) <= chunk:
        return run(images)
    return torch.cat([run(part) for part in images.split(chunk)])


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@torch.inference_mode()
def _difference(run: Run, model: Encoder, images: Tensor) -> float:
    """Largest difference from the model's own logits, relative to the largest of those; infinite for no numbers."""
    own, other = model(images.to(dtype_of(model))), run(images)
    difference = float((other - own).abs().max() / own.abs().max().clamp_min(torch.finfo(own.dtype).tiny))
    return difference if difference == difference else float("inf")


@torch.inference_mode()
def _best_chunk(run: Run, images: Tensor) -> int:
    """How many images at a time are fastest; doubled until two sizes in a row have brought nothing."""
    best, least, idle = 1, float("inf"), 0
    sizes = [2**power for power in range(len(images).bit_length()) if 2**power < len(images)]
    for chunk in (*sizes, len(images)):
        seconds = min(_seconds(run, images[:chunk]) for _ in range(_ROUNDS)) / chunk
        idle = 0 if seconds < _GAIN * least else idle + 1
        if seconds < least:
            best, least = chunk, seconds
        if idle == 2:
            break
    return best


@torch.inference_mode()
def _compare_rates(runs: dict[Way, tuple[Run, int]], images: Tensor) -> dict[Way, float]:
    """Images a second of every way at its best chunk; the ways take turns, so that other programs slow all alike."""
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(_ROUNDS if len(runs) > 1 else 1):
        for way, (run, chunk) in runs.items():
            least[way] = min(least[way], _seconds(run, images[:chunk]) / chunk)
    return {way: 1.0 / seconds for way, seconds in least.items()}


def _seconds(run: Run, images: Tensor) -> float:
    start = time.perf_counter()
    run(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
