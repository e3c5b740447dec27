"""Whether the same weights give the same numbers here and in other people's code.

    python benchmarks/parity.py                             timm, torchvision, transformers, hiera-transformer
    python benchmarks/parity.py --slowfast DIR --mvit DIR --sam2 DIR    checkouts of the authors' code, too
    python benchmarks/parity.py --models "hiera*" --peers timm          some rows only
    python benchmarks/parity.py --all                                   the huge models, too

Published sizes; new weights with noise on every tensor, so that no bias, norm or embedding is trivial. Theirs become
ours through `hvit.load_weights`, as a user's would. Every number is max |ours - theirs| / max |theirs|, in float32 on
the CPU: of the logits, of the worst level, and (one model of each kind, in float64) of the gradient of a random sum of
the logits, for the input and for the worst parameter. "Back": the logits after giving our weights, shaken anew, to
their model with `to_timm`. The authors' checkouts need fvcore (`pip install fvcore`); what else they import is stood in
for. A peer that is not there has a row that says so. Exit status 1 if any number is above the bound, or weights are
refused.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

import hvit
from hvit.models.weights.load import to_timm

Levels = list[Tensor]


@dataclass(frozen=True)
class Peer:
    """Another implementation of one model."""

    module: nn.Module
    logits: Callable[[Tensor], Tensor] | None
    """Images to logits, never softmaxed; None for a model without a head."""
    levels: Callable[[Tensor, Levels], Levels]
    """(images, our levels) -> theirs, in our layout; ours tell only the shapes, where theirs are rows of tokens."""


@dataclass(frozen=True)
class Row:
    """A model of ours and the same one of somebody else."""

    model: str
    group: str
    name: str
    """What the peer calls it."""
    build: Callable[[], Peer]
    changes: dict[str, Any] = field(default_factory=dict)
    """What our model of that name has to have to be theirs."""
    gradients: bool = False
    huge: bool = False


@dataclass
class Result:
    """The relative differences of one row; None where there is nothing to compare."""

    model: str
    peer: str
    format: str = "-"
    parameters: int | None = None
    logits: float | None = None
    levels: float | None = None
    input_gradient: float | None = None
    parameter_gradient: float | None = None
    back: float | None = None
    problem: str = ""
    refused: bool = False
    """Whether the problem is ours: weights that should fit do not."""

    @property
    def numbers(self) -> list[float]:
        """All differences measured."""
        found = (self.logits, self.levels, self.input_gradient, self.parameter_gradient, self.back)
        return [number for number in found if number is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="*", metavar="PATTERN", help="our names, as a shell pattern")
    parser.add_argument("--peers", nargs="+", default=["*"], metavar="PATTERN", help="peers, such as timm")
    parser.add_argument("--all", action="store_true", help="the huge models, too (some 12 GB of memory)")
    for name in ("slowfast", "mvit", "sam2"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"a checkout of facebookresearch/{name}")
    parser.add_argument("--bound", type=float, default=1e-4, help="the largest difference that passes")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    print("| model | peer | parameters | read as | logits | worst level | gradient of input, of parameters | back |")
    print("| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |")
    results = []
    for row in rows(arguments.slowfast, arguments.mvit, arguments.sam2):
        wanted = any(fnmatchcase(row.group, pattern) for pattern in arguments.peers)
        if not wanted or not fnmatchcase(row.model, arguments.models) or (row.huge and not arguments.all):
            continue
        results.append(measure(row))
        print(show(results[-1]), flush=True)
        gc.collect()
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(result) for result in results], indent=2), encoding="utf-8")
    worst = max((number for result in results for number in result.numbers), default=0.0)
    ran = [result for result in results if not result.problem]
    print(f"\n{len(ran)} of {len(results)} rows were run; the largest difference is {worst:.1e}.")
    sys.exit(not worst <= arguments.bound or any(result.refused for result in results))


def measure(row: Row) -> Result:
    """Compares one pair of models. A peer that cannot be built gives a result that says why."""
    result = Result(row.model, f"{row.group} `{row.name}`")
    torch.manual_seed(0)
    try:
        peer = row.build()
    except (ImportError, AttributeError, KeyError, OSError) as error:
        result.problem = f"not run: {type(error).__name__}: {error}"
        return result
    theirs = shaken(peer.module, seed=0)
    ours = hvit.create_model(row.model, **row.changes).eval()
    try:
        report = hvit.load_weights(ours, theirs.state_dict())
    except hvit.UserError as error:
        result.problem, result.refused = f"refused: {error}", True
        return result
    result.format, result.parameters = report.format, count(ours)
    unused = [name for name in report.dropped if not name.startswith("head")]
    if report.resized or unused or (report.missing and peer.logits):
        result.problem, result.refused = f"refused: {report}".replace("\n", "; "), True
        return result
    size = ours.config.input_size
    images = torch.randn(1 if len(size) == 3 else 2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        levels = ours.levels(images)
        result.levels = max(difference(*pair) for pair in zip(levels, peer.levels(images, levels), strict=True))
        del levels
        if peer.logits:
            result.logits = difference(ours(images), peer.logits(images))
    if row.gradients and peer.logits:
        result.input_gradient, result.parameter_gradient = compare_gradients(row, ours, peer, images)
    if peer.logits and row.group == "timm":
        result.back = compare_back(ours, peer, images)
    return result


def compare_gradients(row: Row, ours: Any, peer: Peer, images: Tensor) -> tuple[float, float]:
    """Differences of the gradients of a random sum of the logits, for the input and for the worst parameter.

    Renaming and reordering weights is linear, so the gradients of theirs become those of ours in the same way. In
    float64: the gradient of a max-pool jumps where rounding decides which of two numbers is larger.
    """
    assert peer.logits
    gradients = []
    for module, forward in ((ours, ours), (peer.module, peer.logits)):
        module.double().zero_grad()
        seen = images.double().requires_grad_()
        logits = forward(seen)
        (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
        assert seen.grad is not None
        gradients.append(seen.grad)
    found = {name: torch.zeros_like(tensor) for name, tensor in peer.module.state_dict().items()}
    for name, parameter in peer.module.named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad
    translated = hvit.create_model(row.model, **row.changes).double()
    hvit.load_weights(translated, found)
    pairs = [
        (own.grad, other.detach())
        for own, other in zip(ours.parameters(), translated.parameters(), strict=True)
        if own.grad is not None
    ]
    # A gradient that is zero but for rounding (a key's bias) has no scale of its own.
    least = 1e-4 * max(other.abs().max().item() for _, other in pairs)
    answer = difference(*gradients), max(difference(own, other, least) for own, other in pairs)
    for module in (ours, peer.module):
        module.float().zero_grad()
    return answer


def compare_back(ours: Any, peer: Peer, images: Tensor) -> float | None:
    """The difference of the logits once our weights, shaken anew, are in their model; None where there is no way."""
    assert peer.logits
    shaken(ours, seed=3)
    try:
        peer.module.load_state_dict(to_timm(ours))
    except hvit.UserError:
        return None
    with torch.no_grad():
        return difference(ours(images), peer.logits(images))


def shaken(module: Any, seed: int, scale: float = 0.03) -> Any:
    """The model for inference, with every bias, norm and embedding away from its trivial start."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws), alpha=scale)
    return module.eval()


def difference(ours: Tensor, theirs: Tensor, least: float = 0.0) -> float:
    """max |ours - theirs| / max |theirs|, or beside `least` where that is more."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} beside {tuple(theirs.shape)}"
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(least)).item()


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def show(result: Result) -> str:
    """A line of the table."""
    if result.problem:
        return f"| `{result.model}` | {result.peer} | | {result.problem} | | | | |"
    logits, levels, image, parameters, back = (
        "-" if number is None else f"{number:.1e}"
        for number in (
            result.logits, result.levels, result.input_gradient, result.parameter_gradient, result.back,
        )
    )  # fmt: skip
    gradients = "-" if image == "-" else f"{image}, {parameters}"
    return (
        f"| `{result.model}` | {result.peer} | {result.parameters:,} | {result.format} | {logits} | {levels} | "
        f"{gradients} | {back} |"
    )


def rows(slowfast: Path | None, mvit: Path | None, sam2: Path | None) -> Iterator[Row]:
    """All pairs; the authors' checkouts only where they are given."""
    sizes = ("tiny", "small", "base")
    exact: dict[str, Any] = {"activation": "gelu"}
    for size in sizes:
        grows = size == "tiny"
        yield timm_row(f"nest_{size}_224", f"nest_{size}_jx", exact, gradients=grows)
        yield timm_row(f"nest_{size}_224", f"nest_{size}", exact | {"pool_padding": "symmetric"})
    for size in (*sizes, "large"):
        yield timm_row(f"mvitv2_{size}_224", f"mvitv2_{size}", gradients=size == "tiny")
    for size in ("base", "large", "huge"):
        token = {"class_token_residual": True}
        yield timm_row(f"mvitv2_{size}_cls_224", f"mvitv2_{size}_cls", token, huge=size == "huge")
    for name, official in (("mvit_base_16x224", "mvit_v1_b"), ("mvitv2_small_16x224", "mvit_v2_s")):
        yield Row(name, "torchvision", official, torchvision_mvit(name, official), gradients=True)
    for size in (*sizes, "base_plus", "large", "huge"):
        name, huge, gradients = f"hiera_{size}_224", size == "huge", size == "tiny"
        yield timm_row(name, name, gradients=gradients, huge=huge)
        yield Row(name, "transformers", f"HieraForImageClassification {size}", transformers_hiera(name), huge=huge)
        yield Row(name, "hiera-transformer", name, official_hiera(name), gradients=gradients, huge=huge)
    for size in ("base", "base_plus", "large", "huge"):
        name = f"hiera_{size}_16x224"
        huge = size == "huge"
        yield Row(name, "hiera-transformer", name, official_hiera(name), gradients=size == "base", huge=huge)
    for name in ("hiera_small_abswin_256", "hiera_base_abswin_256"):
        yield timm_row(name, name, gradients=name == "hiera_base_abswin_256")
    for size, side in (("tiny", 224), ("small", 224), ("base_plus", 224), ("large", 256)):
        name = f"hiera_{size}_sam2_{side}"
        yield timm_row(name, f"sam2_hiera_{size}", gradients=size == "tiny")
        if sam2:
            yield Row(name, "sam2", Path(SAM2[size]).stem, sam2_hiera(sam2, SAM2[size]))
    if slowfast:
        for name, path in SLOWFAST.items():
            # At its own size the authors' attention takes more memory than most machines have.
            clip = (16, 224, 224) if name == "mvitv2_large_40x312" else None
            build = authors_mvit(slowfast, "slowfast", "video_model_builder", path, name, clip)
            title = Path(path).stem + (" at 16x224" if clip else "")
            changes = {"input_size": clip} if clip else {}
            yield Row(name, "SlowFast", title, build, changes, gradients=name == "mvitv2_small_16x224")
    if mvit:
        for name, path in MVIT.items():
            build = authors_mvit(mvit, "mvit", "mvit_model", path, name)
            yield Row(name, "mvit", Path(path).stem, build, gradients=name == "mvitv2_tiny_224")


# Our names, and the authors' configuration files.
SLOWFAST = {
    "mvit_base_224": "configs/ImageNet/MVIT_B_16_CONV.yaml",
    "mvit_base_16x224": "configs/Kinetics/MVIT_B_16x4_CONV.yaml",
    "mvit_base24_32x224": "configs/Kinetics/MVIT_B_32x3_CONV.yaml",
    "mvitv2_tiny_224": "configs/ImageNet/MVITv2_T.yaml",
    "mvitv2_small_16x224": "configs/Kinetics/MVITv2_S_16x4.yaml",
    "mvitv2_base_32x224": "configs/Kinetics/MVITv2_B_32x3.yaml",
    "mvitv2_large_40x312": "configs/Kinetics/MVITv2_L_40x3_test.yaml",
}
MVIT = {
    "mvitv2_tiny_224": "configs/test/MVITv2_T_test.yaml",
    "mvitv2_small_224": "configs/test/MVITv2_S_test.yaml",
    "mvitv2_base_224": "configs/test/MVITv2_B_test.yaml",
    "mvitv2_large_224": "configs/test/MVITv2_L_test.yaml",
}
SAM2 = {
    size: f"sam2/configs/sam2.1/sam2.1_hiera_{letter}.yaml"
    for size, letter in (("tiny", "t"), ("small", "s"), ("base_plus", "b+"), ("large", "l"))
}


def timm_row(
    model: str, name: str, changes: Mapping[str, Any] | None = None, gradients: bool = False, huge: bool = False
) -> Row:
    """A model of timm."""
    return Row(model, "timm", name, timm_model(model, name), dict(changes or {}), gradients, huge)


def timm_model(model: str, name: str) -> Callable[[], Peer]:
    """A model of timm by name, for as many classes as ours, without any drop-out."""

    def build() -> Peer:
        import timm

        module: Any = timm.create_model(name, num_classes=hvit_config(model).num_classes, drop_path_rate=0.0)
        norms = {} if "hiera" in name else {"norm": True}

        def levels(images: Tensor, _: Levels) -> Levels:
            planes = module.forward_intermediates(images, intermediates_only=True, **norms)
            return [plane.permute(0, 2, 3, 1) for plane in planes]

        return Peer(module, module, levels)

    return build


def torchvision_mvit(model: str, name: str) -> Callable[[], Peer]:
    """A video model of torchvision, without any drop-out."""

    def build() -> Peer:
        from torchvision.models import video

        module = getattr(video, name)(weights=None, dropout=0.0, stochastic_depth_prob=0.0)
        return Peer(module, module, levels_of_blocks(model, module, lambda images: module(images)))

    return build


def transformers_hiera(model: str) -> Callable[[], Peer]:
    """The Hiera of transformers, in one of our sizes."""

    def build() -> Peer:
        from transformers import HieraConfig, HieraForImageClassification

        config = hvit_config(model)
        module = HieraForImageClassification(
            HieraConfig(
                embed_dim=config.dims[0],
                depths=list(config.depths),
                num_heads=list(config.heads),
                num_labels=config.num_classes,  # pyright: ignore[reportCallIssue]  (an argument of its parent)
            )
        )

        def levels(images: Tensor, _: Levels) -> Levels:
            found = module(images, output_hidden_states=True).reshaped_hidden_states
            assert found is not None
            return list(found[1:])  # the first is the stem

        return Peer(module, lambda images: module(images).logits, levels)

    return build


def official_hiera(name: str) -> Callable[[], Peer]:
    """The authors' Hiera, of the package hiera-transformer, with its softmax taken away."""

    def build() -> Peer:
        import hiera

        module = getattr(hiera, name)()
        module.head.act_func = nn.Identity()
        return Peer(module, module, lambda images, _: module(images, return_intermediates=True)[1])

    return build


def authors_mvit(
    checkout: Path, package: str, file: str, configuration: str, model: str, clip: tuple[int, int, int] | None = None
) -> Callable[[], Peer]:
    """An MViT of a checkout of SlowFast or mvit, from one of its configuration files.

    clip: frames, height and width where they are not those of the file.
    """

    def build() -> Peer:
        with checked_out(checkout):
            network = import_module(f"{package}.models.{file}").MViT
            config = import_module(f"{package}.config.defaults").get_cfg()
            config.merge_from_file(str(checkout / configuration))
            config.MODEL.ACT_CHECKPOINT = False
            config.MODEL.NUM_CLASSES = hvit_config(model).num_classes
            if clip:
                config.DATA.NUM_FRAMES, config.DATA.TRAIN_CROP_SIZE, config.DATA.TEST_CROP_SIZE = clip
            module = network(config)
        module.head.act = nn.Identity()  # a softmax

        def logits(images: Tensor) -> Tensor:
            return module([images] if package == "slowfast" else images)

        return Peer(module, logits, levels_of_blocks(model, module, logits))

    return build


def sam2_hiera(checkout: Path, configuration: str) -> Callable[[], Peer]:
    """The trunk of SAM 2's image encoder, which has no head."""

    def build() -> Peer:
        import yaml

        with checked_out(checkout):
            from sam2.modeling.backbones.hieradet import Hiera  # pyright: ignore[reportMissingImports]

            text = (checkout / configuration).read_text(encoding="utf-8")
            fields = yaml.safe_load(text)["model"]["image_encoder"]["trunk"]
            module = Hiera(**{name: value for name, value in fields.items() if name != "_target_"})
        return Peer(module, None, lambda images, _: [plane.permute(0, 2, 3, 1) for plane in module(images)])

    return build


def levels_of_blocks(model: str, module: Any, run: Callable[[Tensor], Any]) -> Callable[[Tensor, Levels], Levels]:
    """What the last block of every level gives out, without the class token, the last after the final norm.

    module: has `blocks`, each of which returns (tokens, grid), and `norm`.
    """
    config = hvit_config(model)
    ends = [end - 1 for end in accumulate(config.depths)]

    def levels(images: Tensor, ours: Levels) -> Levels:
        caught: Levels = []
        handles = [
            module.blocks[end].register_forward_hook(lambda _, __, output: caught.append(output[0])) for end in ends
        ]
        run(images)
        for handle in handles:
            handle.remove()
        caught[-1] = module.norm(caught[-1])
        extra = int(config.class_token)
        return [tokens[:, extra:].reshape(own.shape) for tokens, own in zip(caught, ours, strict=True)]

    return levels


def hvit_config(name: str) -> Any:
    """The configuration of a model of the catalogue."""
    from hvit.models.catalogue import entry

    return entry(name).config


# What the authors' code imports for training, and what a forward pass never uses.
STOOD_IN = (
    *("cv2", "detectron2", "detectron2.layers", "hydra", "hydra.core", "hydra.core.global_hydra", "iopath"),
    *("iopath.common", "iopath.common.file_io", "pytorchvideo", "pytorchvideo.layers", "pytorchvideo.models"),
    *(f"pytorchvideo.layers.{name}" for name in ("batch_norm", "distributed", "swish", "utils")),
    *("pytorchvideo.losses", "pytorchvideo.losses.soft_target_cross_entropy", "simplejson", "psutil"),
    *("slowfast.datasets", "slowfast.datasets.utils"),
    *(f"slowfast.utils.{name}" for name in ("distributed", "logging", "misc")),
)


@contextmanager
def checked_out(checkout: Path) -> Iterator[None]:
    """Lets Python find the packages of a checkout, with stand-ins for what is only needed to train."""
    if not checkout.is_dir():
        raise FileNotFoundError(f"there is no folder {checkout}")
    sys.path.insert(0, str(checkout))
    for name in STOOD_IN:
        package = name.partition(".")[0]
        if name not in sys.modules and (package in ("pytorchvideo", "slowfast") or not installed(package)):
            sys.modules[name] = MagicMock()
    try:
        with redirect_stdout(io.StringIO()):  # a plea to update PyTorchVideo
            yield
    finally:
        sys.path.remove(str(checkout))


def installed(package: str) -> bool:
    """Whether a top-level package is really there."""
    if package in sys.modules:
        return not isinstance(sys.modules[package], MagicMock)
    return find_spec(package) is not None


if __name__ == "__main__":
    main()
