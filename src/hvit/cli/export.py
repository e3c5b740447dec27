"""The verb `export` of the command line: a file for other programs, and how it compares with the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import percent, print_json_lines, print_plan, print_table, say, wait_for, waited
from hvit.files import JsonObject
from hvit.markup import three_digits

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class ExportArguments:
    """Exports a model to a file that other programs run, and compares it with the model before it is written.

    The file carries the names of the classes, the preprocessing of images and the temperature of probabilities.
    """

    weights: tyro.conf.Positional[Path]
    """A run folder, a weights file in any known format, or hf:owner/name."""
    format: Literal["onnx", "openvino", "torch", "executorch"]
    """Format of the file: onnx (.onnx), openvino (.xml and .bin), torch (.pt2, a program of torch.export)."""
    out: Path
    """The file to write."""
    precision: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """Number format of the weights; int8 measures ranges on the run's training images."""
    preprocessing: Literal["outside", "inside"] = "outside"
    """inside: bytes go in, normalisation and softmax are in the file, and probabilities come out."""
    outputs: tuple[Literal["logits", "levels"], ...] = ("logits",)
    """What the file gives: logits, levels (the feature map of every level), or both."""
    images: tuple[Path, ...] = ()
    """Images, or folders of them, to compare on; default: held-out data of the run."""
    data: Literal["digits", "cifar10", "cifar100", "fashion_mnist", "folder", "clips", "moving_digits"] | None = None
    """Data set to compare on; default: the data of the run."""
    root: str | None = None
    """Folder of the data. Without --data: the run's data in another place, or for a weights file a folder of images."""
    compare: int = 64
    """Number of inputs to compare on."""
    json: bool = False
    """Print the comparison as JSON."""


def export(rest: list[str]) -> None:
    """exports a model to ONNX, OpenVINO or torch.export, and compares it"""
    arguments = parse(ExportArguments, "hvit export", rest)
    from hvit.verbs import export

    wait_for(f"hvit export: exporting {arguments.weights}")
    request = export.ExportRequest(
        target=arguments.weights, format=arguments.format, out=arguments.out, precision=arguments.precision,
        inside=arguments.preprocessing == "inside", outputs=arguments.outputs, images=arguments.images,
        data=arguments.data, root=arguments.root, compare=arguments.compare,
    )  # fmt: skip
    made = export.export(request, print_plan)
    waited()
    if arguments.json:
        print_json_lines([made])
        return
    print_table(["", "model", "exported file"], _rows(made))
    say(f"{made['file']}: {', '.join(f'{name} {shape}' for name, shape in made['inputs'].items())} in, "
        f"{', '.join(made['outputs'])} out")  # fmt: skip


def _rows(made: JsonObject) -> list[tuple[str, str, str]]:
    """The comparison as a table."""
    speeds = made["rates"]
    rows = [
        ("size", f"{made['weights_size'] / 1e6:.1f} MB", f"{made['size'] / 1e6:.1f} MB"),
        (
            f"inputs a second, {speeds['batch']} at a time",
            three_digits(speeds["eager"]),
            three_digits(speeds["exported"]),
        ),
        (f"largest difference, {made['compared']} inputs", "", f"{made['difference']:.1e} of the largest output"),
    ]
    if made["same_answers"] is not None:
        rows.append(("most probable class is the same", "", percent(made["same_answers"])))
    if made["accuracy"]:
        rows.append(("accuracy", percent(made["accuracy"]["before"]), percent(made["accuracy"]["after"])))
    if made["first_step"] is not None:
        rows.append((f"same first step of block Shapley, {made['explained']} inputs", "", percent(made["first_step"])))
    if made["cam_correlation"] is not None:
        rows.append(("correlation of class activation maps", "", f"{made['cam_correlation']:.4f}"))
    return rows
