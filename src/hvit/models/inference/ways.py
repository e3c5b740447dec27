"""The ways in which a model can be run for inference: as it is, packed, by OpenVINO, or compiled."""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.machine import import_silent, missing_compiler, openvino_core
from hvit.models.inference.packed import pack
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.linear import has_onednn

Way = Literal["eager", "packed", "openvino", "compiled"]
Precision = Literal["float32", "bfloat16"]
Run = Callable[[Tensor], Tensor]


class UnavailableError(Exception):
    """Says in a few words why a way cannot be had here."""


class Candidates:
    """Makes a model run in every way."""

    def __init__(self, model: Encoder, device: torch.device, dtype: Precision) -> None:
        self.model = model
        self.device = device
        self.kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32

    def make(self, way: str) -> Run:
        """What takes images (batch, ...) to logits in this way. Raises `UnavailableError` where it cannot be had."""
        makers = {"eager": self._eager, "packed": self._packed, "openvino": self._openvino, "compiled": self._compiled}
        return makers[way]()

    def _cast(self) -> Encoder:
        """The copy, which nobody else changes, or one of it in the wanted type."""
        if all(one.dtype == self.kind for one in floating_tensors(self.model)):
            return self.model
        return copy.deepcopy(self.model).to(self.kind)

    def _eager(self) -> Run:
        return self._called(self._cast())

    def _packed(self) -> Run:
        if self.device.type != "cpu" or not has_onednn():
            raise UnavailableError("it needs a CPU, and a torch with oneDNN")
        return self._called(pack(self._cast()))

    def _compiled(self) -> Run:
        if self.device.type == "cpu" and missing_compiler():
            raise UnavailableError("torch.compile needs a C++ compiler, and there is none")
        return self._called(torch.compile(self._cast(), options={"freezing": True}))

    def _called(self, model: Run) -> Run:
        kind = self.kind

        def run(images: Tensor) -> Tensor:
            return model(images.to(kind)).float()

        return run

    def _openvino(self) -> Run:
        if self.device.type != "cpu" or importlib.util.find_spec("openvino") is None:
            raise UnavailableError("it needs a CPU and the package openvino (pip install 'hvit[export]')")
        config = self.model.config
        sample = torch.zeros(1, config.in_channels, *config.input_size)
        # Tracing warns of checks of shapes that it omits; every image's shape is checked before it gets here.
        with without_warnings(), torch.no_grad():
            openvino = import_silent("openvino")
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
                compiled = openvino_core().compile_model(network, "CPU", options | {"NUM_STREAMS": streams})
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
def without_warnings() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def floating_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers that are floating-point numbers."""
    yield from (one for one in (*model.parameters(), *model.buffers()) if one.is_floating_point())


def dtype_of(model: nn.Module) -> torch.dtype:
    return next(floating_tensors(model)).dtype


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def copy_for_inference(model: Encoder) -> Encoder:
    """A model's own copy for evaluation, in float32, or in float64 if any of its numbers are.

    What pruning and torch's older norms leave in a layer, weights computed of others, is copied as numbers.
    """
    kind = torch.float64 if any(one.dtype == torch.float64 for one in floating_tensors(model)) else torch.float32
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
