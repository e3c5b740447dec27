"""Exported files side by side: formats and precisions of runs, and their speed at equal weights next to timm's export.

    python benchmarks/export.py matrix nest=runs/demo hiera=runs/hiera_micro_digits --out matrix.jsonl
    python benchmarks/export.py speed nest_tiny_224 hiera_tiny_224 mvitv2_tiny_224 --out speed.jsonl
    python benchmarks/export.py table matrix.jsonl speed.jsonl

matrix: `hvit export` of every run in every format and precision; a cell that is refused has the sentence. Of masked
autoencoders the encoder is exported. speed: random weights; every way has its turn in every round, and the median
counts. table: the rows of files as tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import hvit
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.export.formats import FORMATS
from hvit.export.graph import classifier_graph
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.weights.convert import way_of
from hvit.models.weights.open import open_any
from hvit.runtime.open import open_exported
from hvit.verbs.export import ExportRequest, export

PRECISIONS = ("float32", "float16", "bfloat16", "int8")


def matrix(
    runs: dict[str, Path], formats: list[str], precisions: list[Any], compared: int, explained: int
) -> list[dict[str, Any]]:
    """A row for every run, format and precision."""
    rows = []
    with TemporaryDirectory() as folder:
        for name, run in runs.items():
            has_classes = not isinstance(open_any(run).model, MaskedAutoencoder)
            for kind in formats:
                for precision in precisions:
                    row: dict[str, Any] = {"run": name, "format": kind, "precision": precision}
                    out = Path(folder) / f"model{FORMATS[kind].suffix}"
                    try:
                        row |= export(
                            ExportRequest(
                                run, kind, out, precision, outputs=("logits", "levels")[not has_classes :],
                                compare=compared, explain=explained,
                            )
                        )  # fmt: skip
                    except UserError as error:
                        row["refused"] = str(error)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    return rows


def speed(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Images a second of a catalogue model in every way, with the same random weights."""
    torch.manual_seed(0)
    model: Any = hvit.create_model(name).eval()
    config = model.config
    preprocess = Preprocess(config.input_size, (0.5,) * 3, (0.5,) * 3)
    images = torch.randn(batch, 3, *config.input_size)
    calibration = [torch.randn(1, 3, *config.input_size).numpy() for _ in range(8)]
    way = way_of(model, "timm")
    assert way.peer is not None
    peer: Any = way.peer(model).eval()
    peer.load_state_dict(way.state(model))
    ways: dict[str, Callable[[], object]] = {
        "eager": lambda: _called(model, images),
        "timm": lambda: _called(peer, images),
    }
    differences: dict[str, float] = {}
    wanted = _called(model, images).numpy()
    with TemporaryDirectory() as folder:
        for kind in ("onnx", "openvino"):
            for precision in ("float32", "bfloat16", "int8"):
                if (kind, precision) == ("onnx", "bfloat16"):
                    continue
                graph = classifier_graph(model, ("logits",), preprocess, asdict(preprocess), precision=precision)
                file = Path(folder) / f"{kind}_{precision}{FORMATS[kind].suffix}"
                FORMATS[kind].write(graph, file, calibration)
                _add(ways, differences, f"{kind} {precision}", file, images.numpy(), wanted)
        file = Path(folder) / "timm.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(peer, (images[:2],), str(file), dynamo=False, opset_version=18,
                              input_names=["images"], output_names=["logits"])  # fmt: skip
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        ways["timm's onnx, by two"] = lambda: [
            session.run(None, {"images": part.numpy()}) for part in images.split(2)
        ]  # its traced graph has the batch in it
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, run in ways.items():
                start = time.perf_counter()
                run()
                if number:
                    times[way].append(time.perf_counter() - start)
    return {
        "model": name, "batch": batch, "rounds": rounds, "differences": differences,
        "rates": {way: batch / median(found) for way, found in times.items()},
    }  # fmt: skip


def _add(
    ways: dict[str, Callable[[], object]], differences: dict[str, float], name: str, file: Path,
    images: np.ndarray, wanted: np.ndarray,
) -> None:  # fmt: skip
    opened = open_exported(file)
    differences[name] = float(np.abs(opened.run(images)["logits"] - wanted).max() / np.abs(wanted).max())
    ways[name] = lambda: opened.run(images)


_HEADS = (
    "run", "format", "precision", "largest difference", "size, MB (float32 weights)", "accuracy before -> after",
    "same first step", "CAM correlation", "images a second, file / model",
)  # fmt: skip


def matrix_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of `matrix` in Markdown; a dash where a model has no such number."""
    lines = [f"| {' | '.join(_HEADS)} |", f"|{' --- |' * 3}{' ---: |' * 2} --- |{' ---: |' * 3}"]
    for row in rows:
        cells = [row["run"], row["format"], row["precision"]]
        if "refused" in row:
            cells += [f"refused: {_reason(row['refused'])}", *["refused"] * 5]
        else:
            accuracy, steps, cam = row["accuracy"], row["first_step"], row["cam_correlation"]
            cells += [
                f"{row['difference']:.1e}",
                f"{row['size'] / 1e6:.2f} ({row['weights_size'] / 1e6:.2f})",
                f"{100 * accuracy['before']:.1f} % -> {100 * accuracy['after']:.1f} %" if accuracy else "-",
                "-" if steps is None else f"{100 * steps:.1f} % of {row['explained']}",
                "-" if cam is None else f"{cam:.4f}",
                f"{row['rates']['exported'] / row['rates']['eager']:.2f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _reason(sentence: str) -> str:
    """Why a cell is empty, without the name of a file and without advice."""
    return (
        sentence.partition("was not written: ")[2].partition(", and ")[0]
        or sentence.partition(":")[0].partition(";")[0]
    )


def speed_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of `speed` in Markdown."""
    lines = [
        "| model | way | images a second | divided by the model as it is | largest difference |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        for way, rate in row["rates"].items():
            found = row["differences"].get(way)
            difference = "-" if found is None else f"{found:.1e}"
            ratio = rate / row["rates"]["eager"]
            lines.append(f"| {row['model']} | {way} | {rate:.3g} | {ratio:.2f} | {difference} |")
    return lines


@torch.inference_mode()
def _called(model: Any, images: torch.Tensor) -> torch.Tensor:
    return model(images)


def main() -> None:
    """Prints rows of JSON, and writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["matrix", "speed", "table"])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--out", type=Path, help="the file of rows to write; for matrix and speed")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--compared", type=int, default=450)
    parser.add_argument("--explained", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.what == "table":
        lines = (line for name in arguments.names for line in Path(name).read_text(encoding="utf-8").splitlines())
        found = [json.loads(line) for line in lines]
        for rows, table in (
            ([row for row in found if "run" in row], matrix_table),
            ([row for row in found if "model" in row and "run" not in row], speed_table),
        ):
            print("\n".join([*table(rows), ""]) if rows else "", end="")
        return
    if arguments.out is None:
        parser.error("--out FILE is needed")
    if arguments.what == "matrix":
        pairs = (name.partition("=") for name in arguments.names)
        runs = {name: Path(run) for name, _, run in pairs}
        rows = matrix(runs, arguments.formats, arguments.precisions, arguments.compared, arguments.explained)
    else:
        rows = []
        for name in arguments.names:
            rows.append(speed(name, arguments.batch, arguments.rounds))
            print(json.dumps(rows[-1]), flush=True)
    arguments.out.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
