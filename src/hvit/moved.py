"""Where modules were before version 0.2: importing an old name still works, with a DeprecationWarning, until 0.3.

An old module that is gone is found by `OldModules`. An old module whose name now belongs to a package (such as
`hvit.models.nest`) gets its old contents through that package's `__getattr__`, which `old_names_of` makes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# Old module: the modules that its contents are in now, all without the leading "hvit.".
NEW_PLACES: dict[str, tuple[str, ...]] = {
    "arguments": ("cli.arguments",),
    "cli": (
        "cli.main",
        "cli.runs",
        "cli.listing",
        "cli.inference",
        "cli.explain",
        "cli.generate",
        "cli.printing",
    ),
    "clip_inference": (
        "verbs.classifier",
        "verbs.predict",
        "verbs.explain",
        "data.clips.lists",
    ),
    "data.augment": (
        "data.augment_settings",
        "data.mixing",
    ),
    "data.cifar": ("data.images.cifar",),
    "data.clip_index": ("data.clips.index",),
    "data.clip_lists": ("data.clips.lists",),
    "data.clip_sets": ("data.clips.sets",),
    "data.clips": ("data.clips.collections", "data.clips.settings"),
    "data.decoding": ("data.clips.decoding",),
    "data.deep": ("data.images.deep",),
    "data.digits": ("data.images.digits",),
    "data.folders": (
        "data.images.folders",
        "data.images.folder_sets",
    ),
    "data.image_memory": ("data.images.memory",),
    "data.images": ("data.open",),
    "data.moving_digits": ("data.clips.moving_digits",),
    "data.opening": ("data.regular_files",),
    "data.reading": (
        "data.images.reading",
        "data.images.listing",
    ),
    "data.tiff": ("data.images.tiff",),
    "data.videos": ("data.clips.videos",),
    "data.views": ("data.sampling",),
    "distances": ("metrics.frechet",),
    "evaluation": ("verbs.evaluate",),
    "explain.cam": ("explain.methods.cam",),
    "explain.canvas": (
        "explain.drawing.canvas",
        "explain.words",
    ),
    "explain.clip_picture": ("explain.drawing.clip_picture",),
    "explain.comparison": ("explain.drawing.comparison",),
    "explain.features": ("snapshots.features",),
    "explain.generations": (
        "snapshots.samples",
        "models.gan.sampling",
    ),
    "explain.gradcam": ("explain.methods.gradcam",),
    "explain.gradcat": (
        "explain.methods.gradcat",
        "explain.tree",
    ),
    "explain.layout": ("explain.drawing.layout",),
    "explain.methods": ("explain.methods.table",),
    "explain.mosaics": ("explain.localization.mosaics",),
    "explain.naming": ("explain.words",),
    "explain.notebook": (
        "explain.tree",
        "explain.page.assemble",
    ),
    "explain.pointing": ("explain.localization.measures",),
    "explain.reconstructions": ("snapshots.reconstructions",),
    "explain.request": ("explain.methods.request",),
    "explain.rollout": ("explain.methods.rollout",),
    "explain.samples": ("snapshots.explanations",),
    "explain.tree_picture": (
        "explain.drawing.tree_picture",
        "explain.drawing.block_tree",
        "explain.drawing.map_picture",
    ),
    "generation": ("verbs.generate",),
    "inference": (
        "verbs.predict",
        "verbs.classifier",
        "verbs.explain",
    ),
    "measures": ("metrics.classification",),
    "memory": ("runs.memory",),
    "models.catalogue": (
        "models.build",
        "models.create",
    ),
    "models.checkpoints": (
        "models.weights.read",
        "models.weights.sections",
    ),
    "models.discriminators": ("models.gan.discriminators",),
    "models.gan": (
        "models.gan.nest_generator",
        "models.gan.generator",
    ),
    "models.gan_baselines": ("models.gan.conv_generator",),
    "models.gan_config": ("models.gan.config",),
    "models.gan_layers": ("models.gan.layers",),
    "models.grids": ("models.layers.grids",),
    "models.hiera": (
        "models.hiera.model",
        "models.hiera.config",
    ),
    "models.hiera_config": ("models.hiera.config",),
    "models.layers": (
        "models.layers.encoder",
        "models.layers.attention",
        "models.layers.masking",
        "models.layers.blocks",
    ),
    "models.linear": ("models.layers.linear",),
    "models.masked": (
        "models.masked.model",
        "models.masked.config",
    ),
    "models.masks": ("models.masked.masks",),
    "models.mvit": (
        "models.mvit.model",
        "models.mvit.config",
    ),
    "models.mvit_config": ("models.mvit.config",),
    "models.nest": (
        "models.nest.model",
        "models.nest.config",
    ),
    "models.packed": ("models.inference.packed",),
    "models.position_tables": ("models.weights.position_tables",),
    "models.prepared": (
        "models.inference.prepare",
        "models.inference.ways",
    ),
    "models.simplification": ("models.mvit.simplification",),
    "models.targets": ("models.masked.targets",),
    "models.timm_weights": ("models.weights.timm",),
    "models.torch_files": (
        "models.weights.torch_files",
        "models.weights.pickles",
        "models.weights.stored_tensors",
    ),
    "models.translate": (
        "models.weights.load",
        "models.weights.recognise",
    ),
    "models.translate_hiera": ("models.hiera.weights",),
    "models.translate_masked": ("models.masked.weights",),
    "models.translate_mvit": ("models.mvit.weights",),
    "models.translate_nest": ("models.nest.weights",),
    "models.weights": (
        "models.weights.save",
        "models.weights.open",
    ),
    "models.weights.save": ("models.weights.open",),
    "models.weights.torch_files": (
        "models.weights.pickles",
        "models.weights.stored_tensors",
    ),
    "models.wrappers": ("models.weights.wrappers",),
    "plan_file": ("runs.plan_file",),
    "printing": ("cli.printing",),
    "run": ("verbs.train",),
}


# Modules that had a function for each of their recipes.
OLD_RECIPES = tuple(
    f"recipes.{name}"
    for name in ("classify", "generate", "hiera_images", "hiera_video", "lineage", "pretrain", "video")
)


def moved_attribute(old_module: str, name: str) -> object:
    """What a module of an older version had under a name. Raises AttributeError where nothing of that name is left.

    old_module: its full name, such as "hvit.models.nest".
    """
    if old_module.removeprefix("hvit.") in OLD_RECIPES:
        return _old_recipe(old_module, name)
    own = name.startswith("__") or _is_module_of(old_module, name)
    places = () if own else NEW_PLACES.get(old_module.removeprefix("hvit."), ())
    found = [module for place in places if name in vars(module := import_module(f"hvit.{place}"))]
    if found:
        # Where it is defined, rather than where it is imported.
        home = next((one for one in found if getattr(vars(one)[name], "__module__", "") == one.__name__), found[0])
        warnings.warn(
            f"{old_module}.{name} is now {home.__name__}.{name}; the old name works until hvit 0.3",
            DeprecationWarning,
            stacklevel=3,
        )
        return vars(home)[name]
    raise AttributeError(f"module {old_module!r} has no attribute {name!r}")


def old_names_of(module: str) -> Callable[[str], object]:
    """The `__getattr__` of a module that finds what an older version had there. module: its full name."""
    return lambda name: moved_attribute(module, name)


def _old_recipe(old_module: str, name: str) -> object:
    """A function without arguments that returns the recipe of a name."""
    recipes = import_module("hvit.recipes")
    if name not in recipes.list_recipes():
        raise AttributeError(f"module {old_module!r} has no attribute {name!r}")
    warnings.warn(
        f"{old_module}.{name}() is now hvit.recipes.get_recipe({name!r}); the old name works until hvit 0.3",
        DeprecationWarning,
        stacklevel=4,
    )
    return lambda: recipes.get_recipe(name)


def _is_module_of(package: str, name: str) -> bool:
    """Whether a package has a module of this name, which Python is about to import by itself."""
    path = getattr(sys.modules[package], "__path__", None)
    return path is not None and PathFinder.find_spec(f"{package}.{name}", path) is not None


class OldModules(MetaPathFinder, Loader):
    """Finds modules of older versions that are gone; their names are looked up where they are now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module for an old name, and None for every other."""
        package, _, old = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "hvit" and old in (*NEW_PLACES, *OLD_RECIPES) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """An ordinary empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Lets the module answer for the names that it had."""
        name = module.__name__
        sys.modules[name.rpartition(".")[0]].__class__ = _KeepsItsNames
        vars(module)["__getattr__"] = old_names_of(name)


class _KeepsItsNames(ModuleType):
    """A package in which an old module takes no name away: `hvit.explain.gradcat` stays the function."""

    def __setattr__(self, name: str, value: object) -> None:
        is_old = isinstance(value, ModuleType) and isinstance(getattr(value.__spec__, "loader", None), OldModules)
        if not (is_old and name in vars(self)):
            super().__setattr__(name, value)


def find_old_modules() -> None:
    """Makes old names importable in this process."""
    if not any(isinstance(finder, OldModules) for finder in sys.meta_path):
        sys.meta_path.append(OldModules())
