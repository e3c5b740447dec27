"""What a run would take on a cluster: a plan with its numbers, without data and without a GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from textwrap import wrap
from typing import Any

from hvit.bounds import check_bounds
from hvit.data.batches import steps_per_epoch
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.markup import three_digits
from hvit.models.build import build_empty
from hvit.models.catalogue import name_of
from hvit.models.gan.config import GanConfig
from hvit.planning import estimate
from hvit.planning.communication import Cluster, Parallel
from hvit.planning.data_sizes import DataSize, published_size
from hvit.planning.gpus import OWN, Gpu
from hvit.planning.step import kept_bytes, pretended_pass, pretended_step, real_step
from hvit.recipe import Recipe
from hvit.runs.kinds import settle
from hvit.runs.prepare import refuse_division

_SECONDS_A_DAY = 86_400
_MEASURED_RATES = {"cifar10": 1903.0, "cifar100": 1903.0, "folder": 45.0}
"""Images that a core reads and augments in a second, by the kind of data (docs/results/speed.md)."""
WIDTH = 80
_FEATURES_AT_ONCE = 32  # as a probe computes them


@dataclass(frozen=True)
class Request:
    """What a plan is asked for besides a recipe."""

    gpus: int
    gpu: Gpu
    assumed: estimate.Assumed
    between: float
    """10^9 bytes a second that each device has between nodes."""
    images: int | None = None
    """Images, or clips, of the training set."""
    image_bytes: float | None = None
    core_rate: float | None = None
    """Images, or clips, that a core reads and augments in a second."""
    price: float | None = None
    """Of one device for an hour."""


def plan(recipe: Recipe, request: Request) -> JsonObject:
    """The plan of a recipe: {"recipe", "devices", "batch", "modes": {"ddp", "fsdp", "hsdp"}, ...}, bytes and seconds.

    Raises UserError for what cannot be planned: kinds of runs without steps, batches that do not divide, data of
    unknown size.
    """
    check_bounds(recipe)
    if request.gpus < 1:
        raise UserError(f"--gpus must be 1 or more; got {request.gpus}")
    known = published_size(recipe)
    recipe, kind = settle(recipe, lambda lines: None, download=False)
    samples = request.images or (known and known.samples)
    if not samples:
        raise UserError(f"{recipe.name} trains on data of your own: say how many images or clips with --images")
    if not kind.trains_in_steps:
        return plan_of_features(recipe, request, samples)
    recipe = kind.for_plan(_with_classes(recipe, known))
    gpu, assumed = request.gpu, request.assumed
    loop = recipe.loop
    cluster = Cluster(request.gpus, min(gpu.per_node, request.gpus), gpu.link, request.between, loop.shard_size)
    if cluster.devices % cluster.per_node:
        raise UserError(f"--gpus {cluster.devices} must be whole nodes of {cluster.per_node} (--gpus-per-node)")
    if loop.shard_size and cluster.devices % loop.shard_size:
        raise UserError(f"loop.shard_size {loop.shard_size} must divide --gpus {cluster.devices}")
    asked: Parallel = "ddp" if loop.parallel == "auto" else loop.parallel  # as training does
    refuse_division(recipe, kind)
    batch = estimate.divided(recipe.loop.batch_size, request.gpus, recipe.loop.accumulate)
    low = recipe.loop.precision != "float32" and gpu.low > 0
    if recipe.loop.precision == "bfloat16" and not gpu.low:
        raise UserError(f"{gpu.name} has no bfloat16 in the table: set --loop.precision float32, or --gpu-tflops")
    measure = real_step if gpu.name == OWN else pretended_step
    kept = kept_bytes(recipe, kind)
    step = measure(recipe, kind, batch.part, low)
    larger = measure(recipe, kind, 2 * batch.part, low)
    room = 1e9 * gpu.memory * (1 - assumed.reserve)
    steps = recipe.loop.epochs * steps_per_epoch(samples, batch.total)
    steps = min(steps, recipe.loop.max_steps) if recipe.loop.max_steps else steps
    modes: dict[str, Any] = {}
    for mode in estimate.MODES if kind.by_block else ("ddp",):
        memory = estimate.device_memory(mode, cluster, kept, step, low, loop.offload)
        more = estimate.device_memory(mode, cluster, kept, larger, low, loop.offload)
        most = estimate.largest_part(memory, more, step.images, larger.images, room)
        time = estimate.step_time(mode, cluster, kept, step, batch, gpu, assumed, low)
        hours = steps * time.seconds / 3600 * cluster.devices
        modes[mode] = {
            "memory": {**asdict(memory), "total": memory.total},
            "fits": memory.total <= room,
            "largest_part": most,
            "parts_needed": estimate.parts_needed(batch, most),
            "compute_seconds": time.compute,
            "bytes_inside_a_node": time.traffic.inside,
            "bytes_between_nodes": time.traffic.across,
            "communication_seconds": time.traffic.seconds,
            "exposed_seconds": time.exposed,
            "update_seconds": time.update,
            "step_seconds": time.seconds,
            "steps_a_day": _SECONDS_A_DAY / time.seconds,
            "days": steps * time.seconds / _SECONDS_A_DAY,
            "gpu_hours": hours,
            "cost": None if request.price is None else hours * request.price,
        }
    seen = batch.total / modes[asked]["step_seconds"]
    size = request.image_bytes or (known and known.sample_bytes)
    rate = request.core_rate or _MEASURED_RATES.get(recipe.data.kind)
    return {
        "recipe": recipe.name,
        "model": name_of(recipe.model.generator if isinstance(recipe.model, GanConfig) else recipe.model),  # pyright: ignore[reportArgumentType]
        "parameters": sum(kept.units),
        "trained_parameters": kept.trained,
        "gpu": asdict(gpu),
        "devices": cluster.devices,
        "nodes": cluster.nodes,
        "precision": "bfloat16" if low else "float32",
        "usable_memory": room,
        "batch": {"total": batch.total, "parts": batch.parts, "part": batch.part},
        "samples": samples,
        "samples_of": known.name if known and request.images is None else "--images",
        "steps": steps,
        "multiply_adds": step.multiply_adds // step.images * batch.total,
        "step": asdict(step),
        "modes": modes,
        "chosen": asked,
        "samples_a_second": seen,
        "sample_bytes": size,
        "data_bytes_a_second": None if size is None else seen / recipe.loop.repeats * size,
        "core_rate": rate,
        "data_cores": None if rate is None else seen / rate,
        "checkpoint_bytes": kept.checkpoint,
        "assumed": {**asdict(assumed), "link": gpu.link, "between": request.between, "price": request.price},
        "assumptions": [*_assumptions(recipe, request, known, low), *kind.plan_notes(recipe)],
    }


def plan_of_features(recipe: Recipe, request: Request, samples: int) -> JsonObject:
    """The plan of a probe, which computes the features of every image once and trains in no steps.

    {"recipe", "devices", "memory", "seconds", ...}, bytes and seconds; heads and fine-tuning are not in it.
    """
    gpu, assumed, encoder = request.gpu, request.assumed, recipe.model.encoder  # pyright: ignore[reportAttributeAccessIssue]
    if encoder.num_classes is None:
        encoder = replace(encoder, num_classes=2)  # which changes no feature
    network = build_empty(encoder)
    step = pretended_pass(network, (encoder.in_channels, *encoder.input_size), _FEATURES_AT_ONCE)
    weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    seconds = samples * 2 * step.multiply_adds / step.images / (1e12 * gpu.full * assumed.efficiency) / request.gpus
    size, rate = request.image_bytes, request.core_rate or _MEASURED_RATES.get(recipe.data.kind)
    total, usable = weights + step.inputs + step.peak, 1e9 * gpu.memory * (1 - assumed.reserve)
    hours = request.gpus * seconds / 3600
    minutes = recipe.model.finetune_minutes  # pyright: ignore[reportAttributeAccessIssue]
    more = [f"Fine-tuning takes at most about {minutes:g} minutes more (--model.finetune-minutes)."]
    return {
        "recipe": recipe.name,
        "model": name_of(encoder),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gpu": asdict(gpu),
        "devices": request.gpus,
        "precision": "float32",
        "usable_memory": usable,
        "samples": samples,
        "images_at_a_time": step.images,
        "memory": {"weights": weights, "inputs": step.inputs, "working": step.peak, "total": total},
        "fits": total <= usable,
        "multiply_adds": step.multiply_adds // step.images,
        "seconds": seconds,
        "gpu_hours": hours,
        "cost": None if request.price is None else hours * request.price,
        "samples_a_second": samples / seconds,
        "sample_bytes": size,
        "data_bytes_a_second": None if size is None else samples / seconds * size,
        "core_rate": rate,
        "data_cores": None if rate is None else samples / seconds / rate,
        "assumptions": [
            f"{gpu.name}: {gpu.memory:g} GB, {gpu.full:g} TFLOP/s in float32: {gpu.source}.",
            f"Arithmetic runs at {assumed.efficiency:.0%} of that peak (--efficiency), and images are there in time.",
            "Totals are upper bounds of tensors. A process takes more than its tensors.",
            "Heads are fitted on a CPU in seconds to minutes.",
            *(more if minutes else ()),
        ],
    }


def _features_as_lines(found: JsonObject) -> list[str]:
    """The plan of a probe as text."""
    memory = found["memory"]
    cost = "" if found["cost"] is None else f", cost {found['cost']:,.2f}"
    return [
        *_field("recipe", f"{found['recipe']}: a probe of {found['model']}, {found['parameters']:,} parameters"),
        *_field("devices", f"{found['devices']:,} x {found['gpu']['name']}, {found['precision']}"),
        *_field("features", f"of {found['samples']:,} images, once, {three_digits(found['multiply_adds'] / 1e9)} G "
                f"multiply-adds each: {found['seconds']:,.1f} s of arithmetic, {three_digits(found['gpu_hours'])} "
                f"GPU-hours{cost}"),
        *_field("memory", f"{_gb(memory['total'])} GB of {_gb(found['usable_memory'])} for {found['images_at_a_time']} "
                f"at a time: weights {_gb(memory['weights'])}, inputs {_gb(memory['inputs'])}, forward pass "
                f"{_gb(memory['working'])}{'' if found['fits'] else '; it does not fit'}"),
        *_field("data", _data_words(found)),
        *_assumption_lines(found),
    ]  # fmt: skip


def _data_words(found: JsonObject) -> str:
    """What the data has to deliver."""
    data = [f"{found['samples_a_second']:,.0f} images or clips a second"]
    if found["data_bytes_a_second"] is not None:
        size = three_digits(found["sample_bytes"] / 1e3)
        data.append(f"{three_digits(found['data_bytes_a_second'] / 1e9)} GB/s of {size} kB each")
    if found["data_cores"] is not None:
        data.append(f"{found['data_cores']:,.0f} cores that prepare {found['core_rate']:g} a second each")
    return ", ".join(data)


def _assumption_lines(found: JsonObject) -> list[str]:
    lines = ["", "assumptions"]
    for sentence in found["assumptions"]:
        lines += wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def _bandwidth(gpu: Gpu) -> str:
    return f"{gpu.bandwidth:,g} GB/s to its memory, " if gpu.bandwidth else ""


def _with_classes(recipe: Recipe, known: DataSize | None) -> Recipe:
    """The recipe with the number of classes of its data set, where it leaves that open."""
    model = recipe.model
    if isinstance(model, GanConfig):
        if not model.conditional or model.num_classes:
            return recipe
        if known is None:
            raise UserError("the networks are conditional, and their number of classes is not known: set "
                            "--model.generator.num-classes and --model.discriminator.num-classes")  # fmt: skip
        return replace(recipe, model=model.with_classes(known.classes))
    if getattr(model, "num_classes", 0) is not None:
        return recipe
    if known is None:
        raise UserError("the number of classes is not known without the data: set --model.num-classes")
    return replace(recipe, model=replace(model, num_classes=known.classes))  # pyright: ignore[reportCallIssue]


def _assumptions(recipe: Recipe, request: Request, known: DataSize | None, low: bool) -> list[str]:
    """What the numbers rest on, a sentence each, with the option that changes it."""
    gpu, assumed = request.gpu, request.assumed
    peak = gpu.low if low else gpu.full
    found = [
        f"{gpu.name}: {gpu.memory:g} GB, {peak:g} TFLOP/s in {'bfloat16' if low else 'float32'}, {_bandwidth(gpu)}"
        f"{gpu.link:g} GB/s one way in a node: {gpu.source}.",
        f"Arithmetic runs at {assumed.efficiency:.0%} of that peak (--efficiency). For comparison: the rates of the "
        "authors' Hiera-T, L and H in float16 on an A100 (their README) are 9, 14 and 22 %.",
        f"Between nodes every GPU has {request.between:g} GB/s one way (--node-bandwidth), as one network card of "
        f"{8 * request.between:g} Gbit/s gives it. Latency counts nothing.",
        f"Communication hides behind {assumed.overlap:.0%} of the arithmetic (--overlap).",
        f"{assumed.reserve:.0%} of the memory are left to the driver, to communication and to gaps (--reserve).",
        "Totals are upper bounds of tensors: gradients are counted in full at the moment when activations are largest. "
        "A process takes more than its tensors: 1.22 and 1.25 times the plan in two runs on a CPU.",
        "The optimizer reads and writes every number once (--memory-bandwidth)."
        if gpu.bandwidth
        else "The optimizer takes no time, because the bandwidth of the memory is not known (--memory-bandwidth).",
        "Evaluation, checkpoints and waiting for data take no time.",
    ]
    if recipe.loop.offload:
        found.append("Copies between the host and its GPUs (loop.offload) take no time.")
    if request.images is None and known is not None:
        found.append(f"{known.name} has {known.samples:,} training samples (--images): {known.source}.")
    if request.core_rate is None and recipe.data.kind == "folder":
        found.append(
            "A core prepares 45 images a second (--core-rate): measured on photos of 1,600 pixels with the published "
            "augmentation; smaller photos take less."
        )
    return found


def as_lines(found: JsonObject) -> list[str]:
    """A plan as text of at most 80 columns."""
    if "modes" not in found:
        return _features_as_lines(found)
    modes, batch, chosen = found["modes"], found["batch"], found["chosen"]
    best, step = modes[chosen], found["step"]
    where = f"{found['devices']:,} x {found['gpu']['name']}"
    nodes = f" in {found['nodes']:,} nodes of {found['devices'] // found['nodes']}" if found["nodes"] > 1 else ""
    part = f"{batch['part']:,}" + (f" x {batch['parts']} parts" if batch["parts"] > 1 else "")
    lines = [
        *_field("recipe", f"{found['recipe']}: {found['model']}, {found['parameters']:,} parameters"),
        *_field("devices", f"{where}{nodes}, {found['precision']}"),
        *_field("batch", f"{batch['total']:,}, {part} on a device"),
        *_field("parallel", f"{chosen} ({_verdict(found, best)})"),
        "",
        _row("memory of a device, GB", list(modes)),
    ]
    names = {
        "weights": "weights", "fixed": "teachers", "gradients": "gradients", "optimizer": "optimizer state",
        "average": "weight average",
        "communication": "communication", "inputs": "inputs", "activations": "activations, measured",
        "working": "backward pass, measured", "total": "total",
    }  # fmt: skip
    for key, name in names.items():
        if key == "fixed" and not best["memory"]["fixed"]:
            continue
        lines.append(_row(f"  {name}", [_gb(mode["memory"][key]) for mode in modes.values()]))
    lines.append(
        _row(f"  fits in {_gb(found['usable_memory'])}", ["yes" if m["fits"] else "no" for m in modes.values()])
    )
    lines += [
        _row("largest batch of a device", [f"{mode['largest_part']:,}" for mode in modes.values()]),
        _row("loop.accumulate needed", [str(mode["parts_needed"] or "-") for mode in modes.values()]),
        "",
        _row("time", list(modes)),
        _row("  sent inside a node, GB", [_gb(mode["bytes_inside_a_node"]) for mode in modes.values()]),
        _row("  sent between nodes, GB", [_gb(mode["bytes_between_nodes"]) for mode in modes.values()]),
        _row("  arithmetic, ms", [_ms(mode["compute_seconds"]) for mode in modes.values()]),
        _row("  communication, ms", [_ms(mode["communication_seconds"]) for mode in modes.values()]),
        _row("  optimizer, ms", [_ms(mode["update_seconds"]) for mode in modes.values()]),
        _row("  a step, ms", [_ms(mode["step_seconds"]) for mode in modes.values()]),
        _row("  steps a day", [f"{mode['steps_a_day']:,.0f}" for mode in modes.values()]),
        _row("  days", [three_digits(mode["days"]) for mode in modes.values()]),
        _row("  GPU-hours", [f"{mode['gpu_hours']:,.0f}" for mode in modes.values()]),
    ]
    if best["cost"] is not None:
        lines.append(_row("  cost", [f"{mode['cost']:,.0f}" for mode in modes.values()]))
    saved = (step["saved"] - step["casts"]) / step["images"] / 1e6
    lines += [
        "",
        *_field("steps", f"{found['steps']:,} of {three_digits(found['multiply_adds'] / 1e12)} T multiply-adds, "
                f"forward and backward; {found['samples']:,} samples ({found['samples_of']})"),
        *_field("activations", f"{three_digits(saved)} MB for each image or clip"),
        *_field("data", _data_words(found)),
        *_field("checkpoint", f"{_gb(found['checkpoint_bytes'])} GB"),
        *_assumption_lines(found),
    ]  # fmt: skip
    return lines


def _verdict(found: JsonObject, best: JsonObject) -> str:
    if best["fits"]:
        return "the batch fits"
    if best["parts_needed"]:
        return f"the batch does not fit: set --loop.accumulate {best['parts_needed']}"
    if best["largest_part"]:
        return "the batch does not fit, and no number of equal parts does: choose another batch"
    return "not one image or clip fits: choose more memory, a smaller model or --loop.checkpoint-activations"


def _field(name: str, value: str) -> list[str]:
    return wrap(f"{name:<12}{value}", WIDTH, subsequent_indent=" " * 12, break_on_hyphens=False)


def _row(name: str, cells: list[str]) -> str:
    return f"{name:<34}" + "".join(f"{cell:>14}" for cell in cells)


def _gb(count: float) -> str:
    return f"{count / 1e9:,.2f}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}"
