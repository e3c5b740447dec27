"""The verb `plan` of the command line: what a run would take on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Annotated

import tyro

from hvit.cli.arguments import parse
from hvit.cli.help import print_of_recipes
from hvit.cli.printing import print_json_lines, say, wait_for
from hvit.errors import UserError

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class PlanArguments:
    """Plans a run on a cluster: memory, largest batch, time, communication, data and cost; neither data nor GPU
    needed."""

    gpus: int = 1
    """GPUs that train together."""
    gpu: str = "h200"
    """Their kind: a100-40, a100-80, h100, h200, b200, l40s, rtx4090, v100, t4, mi300x; cpu (this machine's, whose step
    is computed); or another name with all of its numbers."""
    gpus_per_node: int | None = None
    """GPUs of a node; default: as usual for the kind."""
    gpu_memory: float | None = None
    """Memory of a GPU, GB; default: the table's."""
    memory_bandwidth: float | None = None
    """What a GPU reads from its memory, or writes to it, GB/s; default: the table's."""
    gpu_tflops: float | None = None
    """Peak of its dense arithmetic in bfloat16, TFLOP/s; default: the table's."""
    gpu_tflops_float32: float | None = None
    """The same in float32."""
    link_bandwidth: float | None = None
    """What a GPU sends to others of its node, GB/s one way; default: the table's."""
    node_bandwidth: float = 50.0
    """What a GPU sends to other nodes, GB/s one way: 50 is one network card of 400 Gbit/s for each GPU."""
    efficiency: float = 0.2
    """Share of the peak that the arithmetic of a step reaches."""
    overlap: float = 0.6
    """Share of the time of the arithmetic behind which communication can hide; the backward pass is two thirds."""
    reserve: float = 0.1
    """Share of the memory that is left to the driver, to communication and to gaps."""
    images: int | None = None
    """Images, or clips, of the training set; default: those of the published set the recipe is for."""
    image_kb: float | None = None
    """Size of a stored image or clip, kB; default: ImageNet-1K's, where the recipe is for it."""
    core_rate: float | None = None
    """Images, or clips, that a core reads and augments in a second; default: as measured here, for images."""
    price: float | None = None
    """Price of a GPU for an hour, in any currency; without it no cost is computed."""
    json: bool = False
    """Print JSON: bytes and seconds."""


def plan(rest: list[str]) -> None:
    """says what a recipe takes on a cluster: memory, time, communication, cost"""
    from hvit.recipes import get_recipe

    if not rest or rest[0].startswith("-"):
        if rest and rest[0] not in ("-h", "--help"):
            raise UserError(f"name a recipe first: hvit plan RECIPE {' '.join(rest)}")
        print_of_recipes("plan", "--gpus N --gpu NAME [--field value ...] [--json]", PlanArguments.__doc__ or "")
        return
    name, *fields = rest
    recipe = get_recipe(name)  # first, so that an unknown name is refused at once
    from hvit.planning.estimate import Assumed
    from hvit.planning.gpus import find_gpu
    from hvit.recipe import Recipe
    from hvit.recipes.families import with_family
    from hvit.verbs import plan as planning

    recipe = with_family(recipe, fields)
    options = make_dataclass(
        "PlanRecipeArguments",
        [
            ("plan", Annotated[PlanArguments, tyro.conf.arg(name="")], PlanArguments()),
            ("recipe", Annotated[Recipe, tyro.conf.arg(name="")], recipe),
        ],
        namespace={"__doc__": PlanArguments.__doc__},
    )
    arguments = parse(options, f"hvit plan {name}", fields, options(), f"hvit plan {name} --gpus 8 --gpu h100")
    wanted = arguments.plan
    for option in ("efficiency", "overlap", "reserve"):
        value = getattr(wanted, option)
        if not 0 <= value <= 1 or (option == "efficiency" and not value) or (option == "reserve" and value == 1):
            raise UserError(f"--{option} must be a share, from 0 to 1; got {value:g}")
    for option in ("node_bandwidth", "images", "image_kb", "core_rate", "price"):
        value = getattr(wanted, option)
        if value is not None and not 0 < value < 1e15:
            raise UserError(f"--{option.replace('_', '-')} must be above 0 and below 1e15; got {value:g}")
    gpu = find_gpu(
        wanted.gpu,
        memory=wanted.gpu_memory,
        bandwidth=wanted.memory_bandwidth,
        low=wanted.gpu_tflops,
        full=wanted.gpu_tflops_float32,
        link=wanted.link_bandwidth,
        per_node=wanted.gpus_per_node,
    )
    request = planning.Request(
        wanted.gpus,
        gpu,
        Assumed(wanted.efficiency, wanted.overlap, wanted.reserve),
        wanted.node_bandwidth,
        wanted.images,
        wanted.image_kb and 1e3 * wanted.image_kb,
        wanted.core_rate,
        wanted.price,
    )
    wait_for(f"hvit plan {name}: running a step on tensors without memory")
    found = planning.plan(arguments.recipe, request)
    if wanted.json:
        print_json_lines([found])
        return
    for line in planning.as_lines(found):
        say(line)
