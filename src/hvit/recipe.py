"""What a run is: every choice of it in one frozen, typed tree, written to JSON and read back strictly."""

from __future__ import annotations

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hvit.data.augment import AugmentConfig
from hvit.data.images import CifarData, ClipData, DigitsData, FolderData, MovingDigitsData
from hvit.errors import UserError
from hvit.files import write_text
from hvit.models.baselines import ResnetConfig, VitConfig
from hvit.models.gan_config import GanConfig
from hvit.models.hiera_config import HieraConfig
from hvit.models.masked import MaskedConfig
from hvit.models.mvit_config import MvitConfig
from hvit.models.nest import NestConfig
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """A run's plan. `hvit train NAME --field value` changes any field of a named recipe."""

    name: str
    """The recipe this run started from."""
    summary: str
    """What the run does, in one sentence."""
    model: Annotated[
        NestConfig | MvitConfig | HieraConfig | VitConfig | ResnetConfig | MaskedConfig | GanConfig,
        Field(discriminator="family"),
    ]
    """The model's sizes, for generation those of both networks; the number of classes follows from the data."""
    data: Annotated[DigitsData | CifarData | FolderData | ClipData | MovingDigitsData, Field(discriminator="kind")]
    """What is learned from."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How training images are varied."""
    optimize: OptimizeConfig = field(default_factory=OptimizeConfig)
    """How the weights are changed."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How long, in what portions and where."""
    weights: str | None = None
    """Weights to start from: a file in any known format, a run folder, or timm for the published ones."""
    position_resize: Literal["auto", "plane", "block", "unit"] = "auto"
    """How positions of loaded weights are resized: auto (the family's own way), plane, block (NesT), unit (Hiera)."""
    weights_input_size: tuple[int, int] | None = None
    """Height and width in pixels that the loaded weights were made for, where their file does not say it."""
    crop: float = 1.0
    """Share of the shorter side that the centre crop keeps in testing."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """How images are resized."""
    seed: int = 42
    """Everything random in the run follows from this number."""


_ADAPTER = TypeAdapter(Recipe)
RECIPE = "recipe.json"


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Writes `recipe.json` into a run folder."""
    text = json.dumps(asdict(recipe), indent=2)  # pyright: ignore[reportArgumentType]  (pydantic's is a dataclass, too)
    write_text(folder / RECIPE, text + "\n")


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder. Raises UserError if there is none, or if it holds anything but a recipe."""
    path = folder / RECIPE
    if not path.is_file():
        raise UserError(f"{folder} is no run folder: it has no {RECIPE}; `hvit train` makes one")
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise UserError(f"{path} is not a valid recipe at {place}: {first['msg']}") from error
