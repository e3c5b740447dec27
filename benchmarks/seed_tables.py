"""Parameters and multiply-adds of our models beside the numbers their authors print, and why they differ.

    python benchmarks/seed_tables.py                  the tables, in Markdown; about a minute
    python benchmarks/seed_tables.py --write-counts   counts every model of the catalogue for `hvit models`

Every count is taken anew, on models without memory. Where ours, rounded, is not the printed number, "why" names a count
that is, and the script takes that count, too: an explanation that does not give the printed number (to 0.2 %) is none.
What the authors counted is not always written: "is" says what gives their number, not what they did.
Exit status 1 if a difference above 2 % has no explanation.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hvit.models import build, catalogue, counts
from hvit.models.build import build_empty, count_parameters
from hvit.models.gan.generator import Generator

Column = Literal["parameters", "multiply_adds"]
UNITS = {"": 1.0, "M": 1e6, "G": 1e9}
ENOUGH, TOO_MUCH = 0.002, 0.02
# fvcore, which the authors count with, has counted normalised numbers as five multiply-adds each since 2021.
PER_NORMALISED_NUMBER = 5


@dataclass(frozen=True)
class Why:
    """A count that gives the printed number where that of the model does not."""

    column: Column
    text: str
    changes: dict[str, Any] = field(default_factory=dict)
    """What is changed in the configuration before it is counted."""
    norms: bool = False
    """Whether norms are counted."""


@dataclass(frozen=True)
class Printed:
    """A row of somebody's table."""

    label: str
    model: str | None
    """Our name, or None for a model that is not in the catalogue."""
    parameters: str = ""
    """As printed, with M for millions."""
    multiply_adds: str = ""
    """As printed (papers call them FLOPs), with G for billions."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What the row's model has other than ours of that name."""
    why: tuple[Why, ...] = ()
    note: str = ""
    """What is known where no count gives the printed number."""
    is_choice: bool = False
    """Whether the table leaves so much open that our model is a choice; its differences have no verdict."""


NORMS = Why("multiply_adds", "ours with norms counted, five a number (fvcore)", norms=True)
CLASSES_100, SSV2 = {"num_classes": 100}, {"num_classes": 174}


def at(*size: int) -> dict[str, Any]:
    """Another input size."""
    return {"input_size": size}


TABLES: dict[str, tuple[Printed, ...]] = {
    "NesT, ImageNet (arXiv 2105.12723; multiply-adds derived from the official code's shapes)": (
        Printed("NesT-T", "nest_tiny_224", "17 M", "5.81 G"),
        Printed("NesT-S", "nest_small_224", "38 M", "10.32 G"),
        Printed("NesT-B", "nest_base_224", "68 M", "17.93 G"),
        Printed(
            "NesT generator, 64 x 64", "nest_generator_64", "74.4 M", note="its widths and layers are not published"
        ),
    ),
    "NesT, CIFAR (official code, counted)": (
        Printed("NesT-T, 10 classes", "nest_tiny_32", "6,006,730", "2.08 G"),
        Printed("NesT-S, 10 classes", "nest_small_32", "22,849,930", "8.05 G"),
        Printed("NesT-B, 10 classes", "nest_base_32", "89,050,378", "31.7 G"),
        Printed("NesT-T, 100 classes", "nest_tiny_32", "6,024,100", changes=CLASSES_100),
        Printed("NesT-S, 100 classes", "nest_small_32", "22,884,580", changes=CLASSES_100),
        Printed("NesT-B, 100 classes", "nest_base_32", "89,119,588", changes=CLASSES_100),
    ),
    "MViT, Kinetics-400 (arXiv 2104.11227; the last two rows as arXiv 2112.01526 prints them)": (
        Printed(
            "MViT-S",
            "mvit_small_16x224",
            "26.1 M",
            "32.9 G",
            note="our choice: of the stems, heads and poolings that its table leaves open, the nearest counts",
            is_choice=True,
        ),
        Printed(
            "MViT-B, 16x4",
            "mvit_base_16x224",
            "36.6 M",
            "70.5 G",
            why=(
                Why(
                    "multiply_adds",
                    "ours with max-pools for the pooling convolutions (for which the ablation prints 70.5, too), norms "
                    "counted",
                    {"pool": "max"},
                    norms=True,
                ),
            ),
        ),
        Printed("MViT-B, 32x3", "mvit_base_32x224", "36.6 M", "170 G"),
        Printed("MViT-B, 64x3", "mvit_base_64x224", "36.6 M", "455 G"),
        Printed(
            "MViTv1, 16x4",
            "mvit_base_16x224",
            "36.6 M",
            "70.3 G",
            why=(Why("multiply_adds", "ours with max-pools for the pooling convolutions", {"pool": "max"}),),
        ),
        Printed("MViTv1, 32x3", "mvit_base_32x224", "36.6 M", "170 G"),
    ),
    "MViT, ImageNet-1K (arXiv 2104.11227)": (
        Printed("MViT-B-16", "mvit_base_224", "37.0 M", "7.8 G"),
        Printed("MViT-B-24", "mvit_base24_224", "53.5 M", "10.9 G"),
        Printed(
            "MViT-B-24-wide, 320",
            "mvit_base24_wide_320",
            "72.9 M",
            "32.7 G",
            why=(Why("parameters", "ours with pooling kernels of stride + 1", {"pool_kernel": "stride_plus_one"}),),
        ),
    ),
    "MViTv2, video (arXiv 2112.01526; SSv2: facebookresearch/SlowFast; L, 16x4: arXiv 2306.00989 and 2112.09133)": (
        Printed("MViTv2-S, 16x4", "mvitv2_small_16x224", "34.5 M", "64 G"),
        Printed("MViTv2-B, 32x3", "mvitv2_base_32x224", "51.2 M", "225 G", why=(NORMS,)),
        Printed(
            "MViTv2-L, 40x3, 312",
            "mvitv2_large_40x312",
            "217.6 M",
            "2828 G",
            why=(
                Why(
                    "parameters",
                    "another model, SlowFast's k400_MVITv2_L_16x4_FT (16x224, width grows in the MLP; in the row's own "
                    "released configuration it grows in attention)",
                    {**at(16, 224, 224), "expansion": "mlp"},
                ),
                NORMS,
            ),
        ),
        Printed("MViTv2-S, 16x4, SSv2", "mvitv2_small_16x224", "34.4 M", "64 G", SSV2),
        Printed("MViTv2-B, 32x3, SSv2", "mvitv2_base_32x224", "51.1 M", "225 G", SSV2, (NORMS,)),
        Printed("MViTv2-L, 40x3, 312, SSv2", "mvitv2_large_40x312", "213.1 M", "2828 G", SSV2, (NORMS,)),
        Printed(
            "MViTv2-L, 16x4 (width grows in the MLP)",
            "mvitv2_large_40x312",
            "218 M",
            "377 G",
            {**at(16, 224, 224), "expansion": "mlp"},
        ),
    ),
    "MViTv2, ImageNet (arXiv 2112.01526)": (
        Printed("MViTv2-T", "mvitv2_tiny_224", "24 M", "4.7 G"),
        Printed("MViTv2-S", "mvitv2_small_224", "35 M", "7.0 G"),
        Printed(
            "MViTv2-B",
            "mvitv2_base_224",
            "52 M",
            "10.2 G",
            why=(NORMS,),
            note="the authors' own code counts 51,472,744 parameters, too",
        ),
        Printed(
            "MViTv2-L",
            "mvitv2_large_224",
            "218 M",
            "42.1 G",
            why=(
                Why(
                    "multiply_adds",
                    "the form with a class token that widens in attention (as the IN-21K weights; the parameters are "
                    "those of the released IN-1K weights, which widen in the MLP), norms counted",
                    {"expansion": "attention", "class_token": True},
                    norms=True,
                ),
            ),
        ),
        Printed("MViTv2-H", "mvitv2_huge_cls_224", "667 M", "120.6 G", why=(NORMS,)),
        Printed("MViTv2-B, 384", "mvitv2_base_224", "", "36.7 G", at(384, 384), (NORMS,)),
        Printed(
            "MViTv2-L, 384",
            "mvitv2_large_224",
            "",
            "140 G",
            at(384, 384),
            (
                Why(
                    "multiply_adds",
                    "the form with a class token that widens in attention, as at 224, norms counted",
                    {"expansion": "attention", "class_token": True},
                    norms=True,
                ),
            ),
        ),
    ),
    "Hiera, ImageNet-1K (parameters: official code, counted; multiply-adds: arXiv 2306.00989)": (
        Printed("Hiera-T", "hiera_tiny_224", "27,910,216", "5 G"),
        Printed("Hiera-S", "hiera_small_224", "35,008,072", "6 G"),
        Printed("Hiera-B", "hiera_base_224", "51,524,968", "9 G"),
        Printed("Hiera-B+", "hiera_base_plus_224", "69,896,616", "13 G"),
        Printed("Hiera-L", "hiera_large_224", "213,739,912", "40 G"),
        Printed("Hiera-H", "hiera_huge_224", "672,779,752", "125 G"),
    ),
    "Hiera, Kinetics-400 (arXiv 2306.00989; L, 32 frames: its SSv2 table)": (
        Printed("Hiera-B", "hiera_base_16x224", "51 M", "102 G"),
        Printed("Hiera-B+", "hiera_base_plus_16x224", "69 M", "133 G", why=(NORMS,)),
        Printed("Hiera-L", "hiera_large_16x224", "213 M", "413 G", why=(NORMS,)),
        Printed("Hiera-H", "hiera_huge_16x224", "672 M", "1159 G", why=(NORMS,)),
        Printed("Hiera-L, 32 frames, SSv2", "hiera_large_16x224", "", "1029 G", {**SSV2, **at(32, 224, 224)}, (NORMS,)),
    ),
    "From MViTv2-L to Hiera-L, images (the paper prints no counts; derived from the configurations)": (
        Printed("0, MViTv2-L, widening in attention", "mvitv2_large_224_step_0", "213.64 M", "41.8 G"),
        Printed("a, absolute positions", "mvitv2_large_224_step_a", "213.85 M", "41.6 G"),
        Printed("b, max-pools", "mvitv2_large_224_step_b", "213,739,912", "41.4 G"),
        Printed("c, none of stride 1", "mvitv2_large_224_step_c", "213,739,912", "41.4 G"),
        Printed("d, kernel = stride", "mvitv2_large_224_step_d", "213,739,912", "41.4 G"),
        Printed("e, no query residual", "mvitv2_large_224_step_e", "213,739,912", "41.4 G"),
        Printed("f, mask-unit attention: Hiera-L", "mvitv2_large_224_step_f", "213,739,912", "40.3 G"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-counts", action="store_true", help="store the counts of every model of the catalogue")
    arguments = parser.parse_args()
    if arguments.write_counts:
        write_counts()
        return
    judgements = [judgement for title, rows in TABLES.items() for judgement in show(title, rows)]
    agree, explained, chosen, unexplained = (
        [one for one in judgements if one.kind == kind] for kind in ("agrees", "explained", "chosen", "unexplained")
    )
    largest = max((abs(one.difference) for one in unexplained), default=0.0)
    print(
        f"{len(judgements)} printed numbers: {len(agree)} are ours, rounded; {len(explained)} are another count, named "
        f"above; {len(chosen)} of a model that is our choice; {len(unexplained)} unexplained, by {100 * largest:.1f} % "
        f"at most."
    )
    sys.exit(largest > TOO_MUCH)


class Count(NamedTuple):
    """What one model costs."""

    parameters: int
    multiply_adds: int
    normalised: int
    """Numbers that go through a norm."""


class Judgement(NamedTuple):
    """How a count of ours compares with a printed one."""

    kind: Literal["agrees", "explained", "chosen", "unexplained"]
    ours: str
    difference: float
    why: str


@cache
def count(config: catalogue.ModelConfig) -> Count:
    """Counts one forward pass on one input."""
    model = build_empty(config).eval()
    normalised = 0

    def see(_: nn.Module, inputs: tuple[torch.Tensor], __: torch.Tensor) -> None:
        nonlocal normalised
        normalised += inputs[0].numel()

    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(see)
    images = torch.empty(1, config.in_channels, *config.input_size, device="meta")
    if isinstance(model, Generator):
        images = torch.empty(1, model.config.latent_dim, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return Count(count_parameters(model), counter.get_total_flops() // 2, normalised)


def show(title: str, rows: tuple[Printed, ...]) -> list[Judgement]:
    """Prints a table, and returns the judgements on its numbers."""
    print(f"### {title}\n")
    print("| row | model | parameters | printed | difference | multiply-adds | printed | difference | why |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    judgements = []
    for row in rows:
        cells, reasons = [], []
        for column in ("parameters", "multiply_adds"):
            judgement = judge(row, column)
            printed = getattr(row, column) or "-"
            if judgement is None:
                cells += ["-", printed, "-"]
                continue
            judgements.append(judgement)
            differs = f"{100 * judgement.difference:+.2f} %".replace("-0.00", "0.00").replace("+0.00", "0.00")
            cells += [judgement.ours, printed, differs]
            reasons += [judgement.why] if judgement.why else []
        if row.model is None:
            reasons = [f"not in our catalogue: {row.note}"]
        changes = ", ".join(f"{name}={value!r}" for name, value in row.changes.items())
        name = f"`{row.model}`" + (f" with {changes}" if changes else "") if row.model else "-"
        print(f"| {row.label} | {name} | {' | '.join(cells)} | {'; '.join(reasons)} |", flush=True)
    print()
    return judgements


def judge(row: Printed, column: Column) -> Judgement | None:
    """Compares a count with the printed number; None where there is nothing to compare."""
    text = getattr(row, column)
    if not text or row.model is None:
        return None
    config = replace(catalogue.entry(row.model).config, **row.changes)
    ours = getattr(count(config), column)
    wanted, unit, digits = read(text)
    difference = ours / wanted - 1
    more = max(digits + 1, 2) if unit > 1 else 0
    shown = show_number(ours, unit, more)
    if rounds_to(ours, text):
        return Judgement("agrees", shown, difference, "")
    for why in row.why:
        if why.column != column:
            continue
        other = count(replace(config, **why.changes))
        value = getattr(other, column) + (PER_NORMALISED_NUMBER * other.normalised if why.norms else 0)
        if rounds_to(value, text) or abs(value / wanted - 1) <= ENOUGH:
            sentence = f"{text} is {why.text}: {show_number(value, unit, more)}"
            return Judgement("explained", shown, difference, sentence)
    if row.is_choice:
        return Judgement("chosen", shown, difference, row.note)
    return Judgement("unexplained", shown, difference, f"{text} is **unexplained**" + (row.note and f": {row.note}"))


def read(text: str) -> tuple[float, float, int]:
    """A printed number, its unit, and its digits after the point."""
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * UNITS[unit], UNITS[unit], len(number.partition(".")[2])


def rounds_to(value: float, text: str) -> bool:
    """Whether a count is the printed number, rounded as that is."""
    wanted, unit, digits = read(text)
    return abs(value - wanted) <= 0.5 * unit * 10.0**-digits if unit > 1 else value == wanted


def show_number(value: float, unit: float, digits: int) -> str:
    """A count in a unit."""
    letter = next(letter for letter, size in UNITS.items() if size == unit)
    return f"{value / unit:,.{digits}f} {letter}".strip()


def write_counts() -> None:
    """Counts every model of the catalogue, and stores the rows of `hvit models` beside the code."""
    rows = []
    for name in catalogue.list_models():
        rows.append(f"  {json.dumps(name)}: {json.dumps(build.count(name))}")
        print(name, file=sys.stderr, flush=True)
    path = Path(counts.__file__).with_name(counts.FILE)
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"{len(rows)} models stored in {path.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
