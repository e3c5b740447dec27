"""How many epochs NesT and a plain ViT need for the same accuracy (the authors' talk; Google AI blog, 2022-02-09)."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

from hvit.experiments.experiment import Cell, Claim, Experiment, Header, ScaleName, Table
from hvit.experiments.results import Results
from hvit.experiments.settings import MODELS, TITLES, Size, classify_cifar, on_imagenet
from hvit.models.baselines import VitConfig
from hvit.models.catalogue import ModelConfig
from hvit.models.nest.config import NEST_SIZES

HEADER = Header(
    title="Convergence",
    claim="NesT reaches the accuracy of ViT and DeiT in 3 to 8 times fewer epochs",
    published="3 to 8 times faster (talk); with 30 epochs in all about 20 points above ViT and DeiT (blog); NesT-B "
    "82.3 % after 100 and 83.8 % after 300 epochs of ImageNet (abstract)",
    refuted_by="NesT needs as many epochs as the ViT, or more seconds, for the ViT's accuracy after its longest run",
    cost="small: 300,000 images a model and seed, 30 minutes for NesT with 2x2 patches at 168 images per core-second, "
    "7 with 4x4, 37 for the ViT; quick: 60,000 images, 15 minutes a seed; published: 30 to 300 epochs of ImageNet",
)
EPOCHS = {"small": (2, 4, 8, 16), "quick": (2, 4, 8, 16), "published": (30, 60, 150, 300)}
PER_CLASS = {"small": 1_000, "quick": 200}
BATCH = {"small": 128, "quick": 64}
TESTED = {"small": None, "quick": 500}
MEASURED = ("nest", "nest4", "vit")


def convergence(scale: ScaleName) -> Experiment:
    """Three models, each trained anew for four numbers of epochs: a run's schedule ends with the run."""
    vit = VitConfig(dims=(384,), heads=(6,), patch_size=(16, 16), drop_path=0.1)
    full: dict[str, ModelConfig] = {"nest": NEST_SIZES["nest_tiny_224"], "vit": vit}
    cells = []
    for epochs in EPOCHS[scale]:
        for family in MEASURED if scale != "published" else full:
            if scale == "published":
                recipe = on_imagenet(f"convergence_{family}_{epochs}", full[family])
                recipe = replace(recipe, loop=replace(recipe.loop, epochs=epochs))
            else:
                size = Size(PER_CLASS[scale], epochs, BATCH[scale], TESTED[scale])
                recipe = classify_cifar(f"convergence_{family}_{epochs}", MODELS[family], size)
            title = TITLES[family] if scale != "published" else {"nest": "NesT-T", "vit": "ViT-S/16"}[family]
            cells.append(Cell(f"{family}-{epochs}", {"model": title, "epochs": str(epochs)}, recipe, family))
    short, long = EPOCHS[scale][0], EPOCHS[scale][-1]
    claims = [
        Claim(f"After {epochs} epochs in all NesT is more accurate than the ViT", (f"nest-{epochs}",),
              (f"vit-{epochs}",)) for epochs in EPOCHS[scale]
    ]  # fmt: skip
    third = EPOCHS[scale][-2]
    claims.append(
        Claim(f"NesT after {third} epochs is at least as accurate as the ViT after {long}", (f"nest-{third}",),
              (f"vit-{long}",))
    )  # fmt: skip
    if scale != "published":
        claims.append(
            Claim(f"With as many tokens as the ViT (4x4 patches) NesT is more accurate after {long} epochs",
                  (f"nest4-{long}",), (f"vit-{long}",))
        )  # fmt: skip
    return Experiment(
        "convergence", HEADER, tuple(cells), tuple(claims), reference=f"vit-{short}", further=to_equal_accuracy
    )


def to_equal_accuracy(results: Results) -> list[Table]:
    """Epochs and seconds that every model needs for the accuracy of the ViT after its longest run.

    Between two runs of a model log(epochs) and log(seconds) are interpolated by accuracy.
    """
    models: dict[str, list[tuple[int, float, float]]] = {}
    for cell in results.experiment.cells:
        found = results.of(cell)
        if found is not None:
            family, epochs = cell.name.split("-")
            models.setdefault(family, []).append((int(epochs), found.mean, found.seconds))
    if not models.get("vit"):
        return []
    goal = max(models["vit"])[1]
    rows = []
    for family, runs in models.items():
        needed = _needed(sorted(runs), goal)
        best = max(accuracy for _, accuracy, _ in runs)
        reached = ["not reached", "not reached"]
        if needed is not None:
            reached = [f"{'at most ' if needed[2] else ''}{needed[0]:.1f}", f"{needed[1]:.0f}"]
        rows.append([TITLES[family], f"{100 * best:.1f} %", *reached])
    title = f"Epochs and seconds of training to {100 * goal:.1f} %, the ViT's accuracy after its longest run"
    return [Table(title, ["model", "best", "epochs", "seconds"], rows)]


def _needed(runs: list[tuple[int, float, float]], goal: float) -> tuple[float, float, bool] | None:
    """Epochs and seconds to a goal, and whether the shortest run is above it already; None where it is not reached."""
    before: tuple[int, float, float] | None = None
    for epochs, accuracy, seconds in runs:
        if accuracy >= goal:
            if before is None:
                return epochs, seconds, True
            share = (goal - before[1]) / max(accuracy - before[1], 1e-9)
            between = [exp(log(low) + share * (log(high) - log(low)))
                       for low, high in ((before[0], epochs), (before[2], seconds))]  # fmt: skip
            return between[0], between[1], False
        before = (epochs, accuracy, seconds)
    return None
