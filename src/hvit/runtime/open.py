"""Opens an exported file with the library that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from hvit.errors import UserError
from hvit.machine import import_silent, openvino_core
from hvit.markup import shown
from hvit.runtime.about import KEY, About, read_about

SUFFIXES = {".onnx": "onnxruntime", ".xml": "openvino"}
"""What exported files are called, and the package that runs them."""


class Exported(ABC):
    """A model that runs without torch."""

    def __init__(self, about: About, where: str) -> None:
        self.about = about
        self.where = where

    @abstractmethod
    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Its outputs by name, for any number of inputs along the first axis.

        Of images: (batch, channels, *size) float32, normalised; with preprocessing inside (batch, *size, channels)
        uint8. Of a generator: latents (batch, latent_dim) float32, and labels (batch,) int64 if it has classes.
        """

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (batch, classes) float32 of images as `run` takes them; of a regression numbers in their units.

        Raises UserError without a head.
        """
        outputs, about = self.run(images), self.about
        for name in ("probabilities", "values"):
            if about.inside and name in outputs:
                return outputs[name]
        if "logits" not in outputs:
            raise UserError(f"{self.where} gives {', '.join(outputs)} and no classes: export it with the output logits")
        logits, labels = outputs["logits"] / np.float32(about.temperature), about.spec(self.where)
        if labels.kind == "regression":
            return (logits.astype(np.float64) * np.array(labels.std) + np.array(labels.mean)).astype(np.float32)
        if labels.kind == "multi":
            return 1 / (1 + np.exp(-logits))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


def is_exported(path: str | Path) -> bool:
    """Whether a path is called as files are that `open_exported` opens."""
    return Path(path).suffix.lower() in SUFFIXES


def open_exported(path: str | Path) -> Exported:
    """Opens a file that `hvit export` wrote: ONNX with onnxruntime, an OpenVINO IR with OpenVINO.

    Raises UserError where the file or the package is missing, and for files that are damaged or of other programs.
    """
    path, where = Path(path), shown(str(path))
    if not path.is_file():
        raise UserError(f"there is no file {where}")
    kind = {"onnxruntime": OnnxFile, "openvino": OpenvinoFile}[SUFFIXES[path.suffix.lower()]]
    return kind(path, where)


def package(name: str, where: str, extra: str) -> Any:
    """A package that is not always installed. Raises UserError with the extra that has it."""
    try:
        return import_silent(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{where} needs the package {name}, which is not installed: pip install {name}, or 'hvit[{extra}]'"
        ) from error


class OnnxFile(Exported):
    """An ONNX file, run by onnxruntime on the CPU."""

    def __init__(self, path: Path, where: str) -> None:
        runtime = package("onnxruntime", where, "runtime")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # its warnings are about graphs, and errors become one sentence below
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of its own kinds, many of which derive from nothing but Exception
            raise UserError(f"{where} cannot be opened by onnxruntime: {_first_line(error)}") from error
        self._names = [one.name for one in self._session.get_outputs()]
        self._inputs = [one.name for one in self._session.get_inputs()]
        super().__init__(read_about(self._session.get_modelmeta().custom_metadata_map.get(KEY), where), where)

    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Exported.run`."""
        try:
            found = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        except Exception as error:
            raise UserError(f"{self.where} cannot be run by onnxruntime: {_first_line(error)}") from error
        return dict(zip(self._names, found, strict=True))


class OpenvinoFile(Exported):
    """An OpenVINO IR (an .xml with a .bin next to it), run on the CPU."""

    def __init__(self, path: Path, where: str) -> None:
        package("openvino", where, "export")
        try:
            network = openvino_core().read_model(str(path))
            stored = network.get_rt_info([KEY]).value if network.has_rt_info([KEY]) else None
            super().__init__(read_about(None if stored is None else str(stored), where), where)
            hint = "bf16" if self.about.precision == "bfloat16" else "f32"
            self._compiled = openvino_core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": hint})
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{where} cannot be opened by OpenVINO: {_first_line(error)}") from error
        self._names = [one.get_any_name() for one in network.outputs]

    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Exported.run`."""
        try:
            found = self._compiled(list(inputs))
        except Exception as error:
            raise UserError(f"{self.where} cannot be run by OpenVINO: {_first_line(error)}") from error
        return {name: np.array(found[place]) for place, name in enumerate(self._names)}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return shown(lines[-1][:200])
