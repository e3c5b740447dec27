"""Weights files of recognised models in every known format, changed: safetensors, torch files, Flax files."""

from __future__ import annotations

import argparse
import collections
import copy
import io
import json
import random
import struct
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import safetensors.torch
import torch
from fuzz_mutations import (
    ODD_NUMBERS,
    ODD_TEXTS,
    as_json,
    changed_bytes,
    changed_pickle,
    changed_tree,
    changed_zip,
    odd_value,
    zip_headers,
)
from fuzz_valid_weights import FLAX_FOLDER, Source, State, shallow, valid_weights
from PIL import Image
from torch import Tensor

from hvit.models import catalogue
from hvit.models.build import build_network
from hvit.models.weights.load import load_weights
from hvit.models.weights.open import open_autoencoder
from hvit.verbs import generate, predict
from hvit.verbs.classifier import open_classifier
from hvit.verbs.predict import predict_clips


class WeightsCases:
    """What the three kinds of weights files share: valid weights, and the ways a file is used."""

    def __init__(self, folder: Path) -> None:
        self.sources = valid_weights(folder)
        self.models: dict[str, Any] = {}
        self.picture = folder / "picture.png"
        Image.effect_noise((40, 48), 80).convert("RGB").save(self.picture)
        self.clip = folder / "clip.npy"
        np.save(self.clip, np.random.default_rng(0).integers(0, 255, (20, 40, 48, 3), dtype=np.uint8))

    def use(self, draw: random.Random, path: Path, source: Source, folder: Path) -> None:
        """Opens a file as a user would, and asks the model in it something; or loads it into a model of ours."""
        if draw.random() < 0.4:
            if source.name not in self.models:
                self.models[source.name] = build_network(source.config)
            load_weights(self.models[source.name], path)
            return
        if source.role == "autoencoder":
            opened = open_autoencoder(path)
            with torch.inference_mode():
                images = torch.zeros(1, opened.model.config.in_channels, *opened.model.config.input_size)
                opened.model(images, opened.model.draw_masks(1))
            return
        if source.role == "generator":
            generate.generate(generate.open_sampler(path, "cpu"), folder / "generated", 1, interpolations=0)
            return
        refusals: list[str] = []
        classifier = open_classifier(path, "cpu")
        if classifier.preprocess.takes_clips:
            list(predict_clips(classifier, [self.clip], 3, 1, refusals.append))
        else:
            list(predict.predict(classifier, [self.picture], 3, 1, refusals.append))

    def change_state(self, draw: random.Random, state: State) -> State:
        """Tensors with other names, shapes, types and values; some gone, some more."""
        state = dict(state)
        for _ in range(draw.choice((1, 1, 2, 4))):
            name = draw.choice(list(state) or ["x"])
            tensor = state.get(name, torch.zeros(1))
            kind = draw.randrange(10)
            if kind == 0:
                state.pop(name, None)
            elif kind == 1:
                state[
                    draw.choice((name + "x", name.replace("0", "7"), draw.choice(ODD_TEXTS), f"blocks.{10**9}.x"))
                ] = state.pop(name, tensor)
            elif kind == 2:
                prefix = draw.choice(("module.", "_orig_mod.", "model.", "encoder.", "module._orig_mod.model.", "."))
                state = {prefix + each: one for each, one in state.items()}
            elif kind == 3:
                types = (torch.float64, torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64)
                state[name] = tensor.float().to(draw.choice(types))
            elif kind == 4:
                shapes = ((), (0,), (1,), (1,) * 9, (*tensor.shape, 1), tuple(tensor.shape)[:-1], (2, 0, 3))
                state[name] = torch.zeros(draw.choice(shapes))
            elif kind == 5 and tensor.ndim:
                state[name] = torch.cat((tensor, tensor), draw.randrange(tensor.ndim))
            elif kind == 6 and tensor.ndim:
                state[name] = tensor.narrow(0, 0, tensor.shape[0] // 2).clone()
            elif kind == 7 and tensor.is_floating_point():
                state[name] = torch.full_like(tensor.float(), draw.choice((float("nan"), float("inf"), 1e38, -1e38)))
            elif kind == 8 and tensor.ndim > 1:
                state[name] = tensor.transpose(0, -1).contiguous()
            else:
                state = {each: one for each, one in state.items() if draw.random() > 0.1}
        return state


class Safetensors(WeightsCases):
    """safetensors files: bytes, the header, what hvit writes into it, and the tensors."""

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        source, path = draw.choice(self.sources), folder / "weights.safetensors"
        kind = draw.randrange(4)
        if kind == 0:
            state = self.change_state(draw, source.state)
            header = _hvit_header(source.ours)
            if header and draw.random() < 0.3:
                header["hvit"] = _changed_metadata(draw, header["hvit"])
            content = _saved(state, header)
        else:
            content = source.ours or _saved(source.state, {})
            if kind == 1:
                content = changed_bytes(draw, content, [(0, 8), (0, 9 + _header_length(content)), (0, 300)])
            else:
                content = self.change_header(draw, content, bool(source.ours))
        path.write_bytes(content)
        return lambda: self.use(draw, path, source, folder)

    def change_header(self, draw: random.Random, content: bytes, has_config: bool) -> bytes:
        """The file with another header, mostly of the right length."""
        length = _header_length(content)
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        if has_config and draw.random() < 0.6:
            header["__metadata__"]["hvit"] = _changed_metadata(draw, header["__metadata__"]["hvit"])
        else:
            header = changed_tree(draw, header)
        made = as_json(header).encode()
        size = draw.choice((len(made),) * 20 + (0, 1, len(made) + 1, 100_000_000, 2**63, 2**64 - 1))
        return struct.pack("<Q", size) + made + data


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _hvit_header(content: bytes) -> dict[str, str]:
    return json.loads(content[8 : 8 + _header_length(content)])["__metadata__"] if content else {}


def _changed_metadata(draw: random.Random, text: str) -> str:
    """What hvit writes about the model, its classes and its preparation of images, changed."""
    if draw.random() < 0.1:
        return changed_bytes(draw, text.encode()).decode("utf-8", "replace")
    tree = json.loads(text)
    part = draw.choice(("config", "config", "classes", "preprocess", None))
    if part is None or not tree.get(part):
        tree = changed_tree(draw, tree)
    else:
        tree[part] = changed_tree(draw, tree[part])
    return as_json(tree)


def _saved(state: State, header: dict[str, str]) -> bytes:
    kept = {name: one.contiguous() for name, one in state.items() if one.dtype != torch.complex64}
    names = {name.encode("utf-8", "replace").decode(): one for name, one in kept.items()}
    return safetensors.torch.save(names, header or None)


class TorchFiles(WeightsCases):
    """Torch files, new (zip) and old (pickles in a row): bytes, opcodes, archives, and what training programs add."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sources = [replace(source, ours=b"") for source in self.sources]

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        source, path = draw.choice(self.sources), folder / "weights.pth"
        legacy, kind = draw.random() < 0.4, draw.randrange(5)
        state = self.change_state(draw, source.state) if kind == 0 else source.state
        held = self.section(draw, state) if draw.random() < 0.6 else state
        if kind == 1:
            held = changed_objects(draw, held)
        content = _torch_saved(held, legacy)
        if kind == 2:
            content = changed_bytes(draw, content, [(0, 3000)] if legacy else zip_headers(content))
        elif kind in (3, 4):
            content = changed_pickle(draw, content) if legacy else changed_zip(draw, content)
        path.write_bytes(content)
        return lambda: self.use(draw, path, source, folder)

    def section(self, draw: random.Random, state: State) -> dict[str, Any]:
        """What training programs save beside the weights."""
        name = draw.choice(
            ("model", "state_dict", "model_state", "model_state_dict", "state_dict_ema", "model_ema", "module", "net")
        )
        return {
            name: state,
            "epoch": draw.choice((3, np.float64(2.0), np.int64(3), torch.tensor(1))),
            "args": draw.choice((argparse.Namespace(lr=0.1), {"lr": 0.1}, None)),
            "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
            **({"model_ema": {}} if draw.random() < 0.1 else {}),
        }


def changed_objects(draw: random.Random, held: dict[str, Any]) -> dict[Any, Any]:
    """A state dict, or what holds one, with objects in it that are no plain tensors, or no tensors."""
    held = dict(held)
    inner = next((name for name, value in held.items() if isinstance(value, dict) and value), None)
    target: dict[Any, Any] = dict(held[inner]) if inner else held
    for _ in range(draw.choice((1, 2))):
        key = draw.choice(list(target))
        target[draw.choice((key, key, key, 7, None, ("a", "b"), draw.choice(ODD_TEXTS)))] = _odd_object(
            draw, target[key]
        )
    if inner:
        held[inner] = target
    return held


def _odd_object(draw: random.Random, value: Any) -> Any:
    tensor = value if isinstance(value, Tensor) else torch.zeros(2, 3)
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    makers: tuple[Callable[[], Any], ...] = (
        lambda: tensor.to("meta"),
        lambda: tensor.float().to_sparse(),
        lambda: torch.zeros(()).expand(2**20, 2**10),
        lambda: torch.zeros(1).expand(2**31, 2**20),
        lambda: torch.nn.Parameter(tensor.float()),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        lambda: tensor.float().numpy(),
        lambda: {"weight": tensor},
        lambda: [tensor] * 3,
        lambda: argparse.Namespace(a=1),
        lambda: collections.Counter("abc"),
        lambda: {1, 2, 3},
        lambda: torch.Size([1, 2]),
        lambda: draw.choice(ODD_NUMBERS),
        lambda: draw.choice(ODD_TEXTS),
        lambda: odd_value(draw),
        lambda: tensor.float()[..., ::2] if tensor.ndim else tensor,
        lambda: torch.zeros(0, 5),
        lambda: torch.complex(tensor.float(), tensor.float()),
        lambda: bytearray(10),
        lambda: Path("x"),
        lambda: torch.float32,
        lambda: torch.nn.Linear(1, 1),
    )
    return draw.choice(makers)()


def _torch_saved(held: Any, legacy: bool) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(held, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


class FlaxFiles(WeightsCases):
    """msgpack files of the official NesT code: bytes, the tree, and the arrays in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = shallow(catalogue.entry("nest_micro_32").config)
        self.valid = [(FLAX_FOLDER / name / "ckpt-1.flax").read_bytes() for name in ("imagenet_like", "cifar_like")]
        self.trees = [msgpack.unpackb(content, ext_hook=msgpack.ExtType) for content in self.valid]
        self.source = Source("flax", config, {})

    def case(self, draw: random.Random, folder: Path) -> Callable[[], None]:
        place, path = draw.randrange(2), folder / "ckpt-1.flax"
        if draw.random() < 0.4:
            content = changed_bytes(draw, self.valid[place], [(0, 2000), (0, 100)])
        else:
            tree = copy.deepcopy(self.trees[place])
            target = tree["optimizer"]["target"]
            for _ in range(draw.choice((1, 1, 2))):
                block = target[draw.choice(list(target))]
                while isinstance(block, dict) and draw.random() < 0.9:
                    name = draw.choice(list(block) or ["x"])
                    if isinstance(block.get(name), msgpack.ExtType):
                        block[name] = _changed_array(draw, block[name])
                        break
                    block = block.get(name)
            if draw.random() < 0.4:
                tree = changed_tree(draw, tree, _packable)
            content = _packed(tree)
        path.write_bytes(content)
        return lambda: self.use(draw, path, self.source, folder)


def _packable(draw: random.Random) -> Any:
    value = odd_value(draw)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return 2**64 - 1
    return value.encode("utf-8", "replace") if isinstance(value, str) else value


def _changed_array(draw: random.Random, leaf: Any) -> Any:
    try:
        shape, kind, raw = msgpack.unpackb(leaf.data)
    except Exception:  # changed before
        return msgpack.ExtType(1, draw.randbytes(20))
    way = draw.randrange(6)
    if way == 0:
        return msgpack.ExtType(draw.choice((1, 2, 3, 5, 127)), leaf.data)
    if way == 1:
        return msgpack.ExtType(1, changed_bytes(draw, leaf.data, [(0, 30)]))
    if way == 2:
        return msgpack.ExtType(1, msgpack.packb((changed_tree(draw, list(shape), _packable), kind, raw)))
    if way == 3:
        kinds = ("float16", "bfloat16", "float64", "int8", "object", "complex64", "", 3)
        return msgpack.ExtType(1, msgpack.packb((shape, draw.choice(kinds), raw)))
    if way == 4:
        return msgpack.ExtType(1, msgpack.packb((shape[::-1], kind, raw)))
    return msgpack.ExtType(1, msgpack.packb((shape, kind, changed_bytes(draw, raw))))


def _packed(tree: Any) -> bytes:
    try:
        return msgpack.packb(tree) or b""
    except ValueError:  # nested more deeply than msgpack writes
        return b"\x81\xa1a" * 2000 + b"\x00"
