"""Models made ready for inference: equal answers, sooner. See docs/guides/speed.md for what it is worth."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.machine import has_bfloat16, keep_freed_memory, missing_compiler
from hvit.models.inference.packed import pack
from hvit.models.layers.encoder import Encoder, unwrap
from hvit.models.layers.linear import has_onednn

Way = Literal["eager", "packed", "openvino", "compiled"]
Precision = Literal["float32", "bfloat16"]
Run = Callable[[Tensor], Tensor]

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
    rates: dict[str, float]
    """Images a second of every way that was tried, at its best number of images."""
    notes: tuple[str, ...]
    """Why ways that were asked for are not used: a sentence each."""

    def __str__(self) -> str:
        rate = f"{self.rates[self.way]:.3g} images a second"
        others = ", ".join(f"{way} {value:.3g}" for way, value in self.rates.items() if way != self.way)
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
        self.model.check_images(images)
        device = _device_of(self.model)
        if images.device != device:
            raise UserError(f"this model was prepared on {device}, and the images are on {images.device}; move them")
        if torch.is_grad_enabled() and images.requires_grad:
            raise UserError("a model prepared for inference gives no gradients; use the model itself")
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            if len(images):
                logits = in_chunks(self._run, images, self.choice.chunk)
            else:
                logits = self.model(images.to(_dtype_of(self.model))).float()
        return logits.clone()  # outside of inference mode, so that autograd can take it

    def train(self, mode: bool = True) -> PreparedModel:
        """Raises UserError for training: a prepared model is for inference only."""
        if mode:
            raise UserError("a model prepared for inference cannot be trained; train the model itself")
        super().train(False)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PreparedModel:
        """What `to`, `half`, `cuda` and their like call: taken where it changes nothing, else refused (UserError)."""
        probe = torch.empty(0, dtype=_dtype_of(self.model), device=_device_of(self.model))
        moved = fn(probe)
        if (moved.dtype, moved.device) != (probe.dtype, probe.device):
            raise UserError(
                "a model prepared for inference is not moved or cast; do so to the model, and prepare it again"
            )
        return self

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
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
        model: Any classifier of hvit, in any floating-point type, also compiled or inside DataParallel.
        batch_size: The largest batch to expect.
        dtype: The type to compute in. `"bfloat16"` is refused if the CPU or GPU does not support it.
        ways: The backends to try. `"compiled"` is torch.compile with frozen weights; it takes a minute and a C++
            compiler, so it is tried only if named. `"packed"` and `"openvino"` are for CPUs, the latter if the package
            is installed.

    Raises:
        UserError: For models that are not classifiers of hvit or cannot be copied, and for unknown choices.
    """
    model = unwrap(model)
    if isinstance(model, PreparedModel):
        model = model.model
    if not isinstance(model, Encoder):
        raise UserError(f"only classifiers of hvit can be prepared for inference; this is a {type(model).__name__}")
    unknown = [way for way in ways if way not in get_args(Way)]
    if unknown or dtype not in BOUNDS or batch_size < 1:
        raise UserError(
            f"ways are {', '.join(get_args(Way))}, dtype is float32 or bfloat16, and batch_size 1 or more; got "
            f"{', '.join(ways)}, {dtype} and {batch_size}"
        )
    device = _device_of(model)
    if device.type == "meta":
        raise UserError("this model has no weights in memory (they are on torch's meta device); load them first")
    if dtype == "bfloat16" and not has_bfloat16(device.type):
        raise UserError(f"this {device.type} has no bfloat16 units, which would make bfloat16 slower; leave dtype out")
    if device.type == "cpu":
        keep_freed_memory()
    model = _copied(model)
    candidates = _Candidates(model, device, dtype)
    images = torch.randn(batch_size, model.config.in_channels, *model.config.input_size, generator=_seeded())
    images = images.to(device)
    with torch.autocast(device.type, enabled=False):
        return _fastest(model, candidates, images, dtype, ways)


def _fastest(
    model: Encoder, candidates: _Candidates, images: Tensor, dtype: Precision, ways: tuple[Way, ...]
) -> PreparedModel:
    """The model in the fastest of the ways whose logits are its own."""
    notes: list[str] = []
    runs: dict[str, tuple[Run, int]] = {}
    differences: dict[str, float] = {}
    for way in dict.fromkeys(("eager", *ways)):
        try:
            run = candidates.make(way)
            difference = _difference(run, model, images[:2])
            if difference > BOUNDS[dtype] and way != "eager":
                notes.append(f"{way} is not used: its logits differ by {difference:.1e} of the largest")
                continue
            runs[way], differences[way] = (run, _best_chunk(run, images)), difference
        except _UnavailableError as reason:
            notes.append(f"{way} is not used: {reason}")
        except Exception as error:
            # Compilers and converters fail in ways of their own; the model itself always remains.
            if way == "eager":
                raise
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            notes.append(f"{way} is not used: it failed with {first[:120]!r}")
    rates = _race(runs, images)
    chosen: Any = max(rates, key=lambda way: rates[way])
    run, chunk = runs[chosen]
    return PreparedModel(model, run, Choice(chosen, chunk, dtype, differences[chosen], rates, tuple(notes)))


def in_chunks(run: Run, images: Tensor, chunk: int) -> Tensor:
    """What `run` gives of a batch, `chunk` images at a time, so that intermediate results stay in the cache."""
    if len(images) <= chunk:
        return run(images)
    return torch.cat([run(part) for part in images.split(chunk)])


class _UnavailableError(Exception):
    """Says in a few words why a way cannot be had here."""


class _Candidates:
    """Makes a model run in every way."""

    def __init__(self, model: Encoder, device: torch.device, dtype: Precision) -> None:
        self.model = model
        self.device = device
        self.kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32

    def make(self, way: str) -> Run:
        """What takes images (batch, ...) to logits in this way. Raises `_UnavailableError` where it cannot be had."""
        makers = {"eager": self._eager, "packed": self._packed, "openvino": self._openvino, "compiled": self._compiled}
        return makers[way]()

    def _cast(self) -> Encoder:
        """The copy, which nobody else changes, or one of it in the wanted type."""
        if all(one.dtype == self.kind for one in _numbers(self.model)):
            return self.model
        return copy.deepcopy(self.model).to(self.kind)

    def _eager(self) -> Run:
        return self._called(self._cast())

    def _packed(self) -> Run:
        if self.device.type != "cpu" or not has_onednn():
            raise _UnavailableError("it needs a CPU, and a torch with oneDNN")
        return self._called(pack(self._cast()))

    def _compiled(self) -> Run:
        if self.device.type == "cpu" and missing_compiler():
            raise _UnavailableError("torch.compile needs a C++ compiler, and there is none")
        return self._called(torch.compile(self._cast(), options={"freezing": True}))

    def _called(self, model: Any) -> Run:
        kind = self.kind

        def run(images: Tensor) -> Tensor:
            return model(images.to(kind)).float()

        return run

    def _openvino(self) -> Run:
        if self.device.type != "cpu" or importlib.util.find_spec("openvino") is None:
            raise _UnavailableError("it needs a CPU and the package openvino (pip install 'hvit[export]')")
        config = self.model.config
        sample = torch.zeros(1, config.in_channels, *config.input_size)
        # Tracing tells of checks of shapes that it leaves out; every image's shape is checked before it gets here.
        with _without_warnings(), torch.no_grad():
            openvino: Any = importlib.import_module("openvino")
            network = openvino.convert_model(copy.deepcopy(self.model).float(), example_input=sample)
        network.reshape(list(sample.shape))
        threads = torch.get_num_threads()
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.kind == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        queues: dict[int, Any] = {}

        def run(images: Tensor) -> Tensor:
            # Images go through one by one, as many at once as there are threads: cores need not wait for each other.
            streams = min(len(images), threads)
            if streams not in queues:
                compiled = openvino.compile_model(network, "CPU", options | {"NUM_STREAMS": streams})
                queues[streams] = openvino.AsyncInferQueue(compiled, streams)
            logits: list[Tensor] = [images] * len(images)

            def keep(request: Any, number: int) -> None:
                logits[number] = torch.from_numpy(request.get_output_tensor().data.copy())

            queues[streams].set_callback(keep)
            pixels = images.float().contiguous().numpy()  # lives until all are done: requests read it in place
            for number, image in enumerate(pixels):
                queues[streams].start_async({0: image[None]}, number, share_inputs=True)
            queues[streams].wait_all()
            return torch.cat(logits)

        return run


@contextmanager
def _without_warnings() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _numbers(model: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers that are floating-point numbers."""
    yield from (one for one in (*model.parameters(), *model.buffers()) if one.is_floating_point())


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next(_numbers(model)).dtype


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _copied(model: Encoder) -> Encoder:
    """A model's own copy for evaluation, in float32, or in float64 if any of its numbers are.

    What pruning and torch's older norms leave in a layer, weights computed of others, is copied as numbers.
    """
    kind = torch.float64 if any(one.dtype == torch.float64 for one in _numbers(model)) else torch.float32
    with torch.inference_mode(False), torch.no_grad():
        computed = {
            id(value): value.detach().clone()
            for module in model.modules()
            for value in vars(module).values()
            if isinstance(value, Tensor) and not value.is_leaf
        }
        try:
            copied = copy.deepcopy(model, {**computed, id(model.config): model.config})
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"this model cannot be copied, so it cannot be prepared ({first[:120]}); remove what holds "
                            "it, such as hooks with open files") from error  # fmt: skip
        return copied.to(kind).eval().requires_grad_(False)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@torch.inference_mode()
def _difference(run: Run, model: Encoder, images: Tensor) -> float:
    """Largest difference from the model's own logits, relative to the largest of those; infinite for no numbers."""
    own, other = model(images.to(_dtype_of(model))), run(images)
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
def _race(runs: dict[str, tuple[Run, int]], images: Tensor) -> dict[str, float]:
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
