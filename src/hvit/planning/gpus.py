"""What GPUs have according to their makers: memory, arithmetic, and links to each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvit.errors import UserError, did_you_mean
from hvit.machine import total_memory
from hvit.markup import quoted

OWN = "cpu"
"""The name under which the CPU of this machine is planned for; its step is computed, not simulated."""


@dataclass(frozen=True)
class Gpu:
    """A device as its maker describes it. Memory is in units of 10^9 bytes, as data sheets have it."""

    name: str
    memory: float
    """10^9 bytes."""
    bandwidth: float
    """10^9 bytes a second that it reads from its memory, or writes to it; 0 where that is not known."""
    low: float
    """Dense arithmetic in bfloat16, 10^12 operations a second; 0 where there is none, so that float32 is used."""
    full: float
    """Arithmetic in float32 outside of TF32, 10^12 operations a second."""
    link: float
    """10^9 bytes a second that one device sends to others of its node."""
    per_node: int
    """Devices in a usual node."""
    source: str


# Sources: the makers' data sheets, by the titles given; docs/results/planning.md says with which public pages the
# numbers were compared. Arithmetic is dense (data sheets also print twice of it, for sparse matrices), and links are
# one way (they print both ways together). A PCIe card is given its x16 slot.
GPUS = {
    gpu.name: gpu
    for gpu in (
        #   name        memory band  low   full  link  node  source
        Gpu("a100-40",  40,   1555,  312,  19.5, 300,   8, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 40 GB)"),
        Gpu("a100-80",  80,   2039,  312,  19.5, 300,   8, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 80 GB)"),
        Gpu("h100",     80,   3350,  989,  67,   450,   8, "NVIDIA H100 Tensor Core GPU data sheet (SXM)"),
        Gpu("h200",     141,  4800,  989,  67,   450,   8, "NVIDIA H200 Tensor Core GPU data sheet (SXM)"),
        Gpu("b200",     180,  8000,  2250, 75,   900,   8, "NVIDIA DGX B200 data sheet (an eighth of its numbers)"),
        Gpu("l40s",     48,   864,   362,  91.6, 32,    8, "NVIDIA L40S data sheet (PCIe 4.0 x16)"),
        Gpu("rtx4090",  24,   1008,  165,  82.6, 32,    4, "NVIDIA Ada GPU architecture paper, PCIe 4.0 x16"),
        Gpu("v100",     32,   900,   0,    15.7, 150,   8, "NVIDIA V100 Tensor Core GPU data sheet (SXM2, 32 GB)"),
        Gpu("t4",       16,   320,   0,    8.1,  16,    4, "NVIDIA T4 Tensor Core GPU data sheet (PCIe 3.0 x16)"),
        Gpu("mi300x",   192,  5300,  1307, 163,  448,   8, "AMD Instinct MI300X data sheet (7 links of 64 GB/s)"),
    )
}  # fmt: skip


def find_gpu(name: str, **given: float | None) -> Gpu:
    """A GPU of the table, or this machine's CPU, with the numbers that were given in place of its own.

    given: by the names of the fields of `Gpu`; None for what was not given. What is not in the table needs memory,
    arithmetic in float32, and link. Raises UserError for other names, and for numbers that are not above 0.
    """
    numbers = {field: value for field, value in given.items() if value is not None}
    for field, value in numbers.items():
        if not 0 < value < 1e9:
            raise UserError(f"{_OPTIONS[field]} must be above 0 and below 1e9; got {value:g}")
    if name in GPUS:
        options = [_OPTIONS[field] for field in numbers]
        source = f"{GPUS[name].source}; {', '.join(options)} as given" if options else GPUS[name].source
        return replace(GPUS[name], **numbers, source=source)  # pyright: ignore[reportArgumentType]
    host = total_memory() if name == OWN else None
    numbers = {"low": 0.0, "bandwidth": 0.0, "per_node": 1, **({"memory": host / 1e9} if host else {}), **numbers}
    missing = ", ".join(_OPTIONS[field] for field in ("memory", "full", "link") if field not in numbers)
    if missing and name == OWN:
        raise UserError(f"the CPU of this machine is in no table: give {missing}")
    if missing:
        known = did_you_mean(name, GPUS) or f" (known are {', '.join(GPUS)})."
        raise UserError(f"there is no GPU {quoted(name)} in the table{known} For another GPU give {missing}")
    return Gpu(name=name, source="as given", **numbers)  # pyright: ignore[reportArgumentType]


_OPTIONS = {
    "memory": "--gpu-memory",
    "bandwidth": "--memory-bandwidth",
    "low": "--gpu-tflops",
    "full": "--gpu-tflops-float32",
    "link": "--link-bandwidth",
    "per_node": "--gpus-per-node",
}
