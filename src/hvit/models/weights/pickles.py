"""Pickles read without unpickling: what they hold is described, not made, and nothing in them can run.

A pickle is a program for a small machine. Here it runs on a machine that has no objects but dictionaries, lists,
numbers, text, namespaces and descriptions: what would import a class notes its name, what would call it notes the
call. Tensors are views of the mapped file, so that only those that are used take memory, and none can be larger than
the file.

Sources: torch's `_utils.py`, Python's `pickletools`.
"""

from __future__ import annotations

import pickletools
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.markup import shown
from hvit.models.weights.stored_tensors import STORAGE_DTYPES, Places, Storage, StoredTensor

MOST_TENSORS = 100_000
"""No file of weights has more tensors than this; the largest models here have some 2,000."""
_MOST_STEPS = 1_500_000
_MOST_AXES = 16
_WITH_TENSOR = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
)


@dataclass(frozen=True)
class Name:
    """A class or function that a file names."""

    path: str


@dataclass(eq=False)
class Described:
    """An object that a file describes and that is not made."""

    kind: str
    parts: list[object] = field(default_factory=list)


class PickleMachine:
    """Runs pickles without making anything. names: of all classes and functions; storages: by key."""

    def __init__(self, file: Path, places: Places) -> None:
        self.file, self.places = file, places
        self.names: set[str] = set()
        self.storages: dict[str, Storage] = {}
        self.steps = self.tensors = 0

    def run(self, stream: IO[bytes]) -> object:
        """The value of the next pickle of a stream."""
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        for op, argument, _ in pickletools.genops(stream):
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise too_much(self.file)
            if op.name == "STOP":
                return self.stack.pop()
            if op.name in _VALUES:
                self.stack.append(argument)
            else:
                _STEPS[op.name](self, argument)
        raise ValueError("it ends too early")

    def since_mark(self) -> list[object]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def push(self, value: object) -> None:
        self.stack.append(value)

    def mark(self, _: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def name(self, path: str) -> None:
        self.names.add(path)
        self.stack.append(Name(path))

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def call(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.called(function, arguments))

    def called(self, function: object, arguments: object) -> object:
        """What a call stands for: a tensor, a dictionary, or a description."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no function")
        path = function.path
        if path in ("collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict"):
            pairs = arguments[0] if path == "collections.OrderedDict" and arguments else []
            made: dict[object, object] = OrderedDict()
            for pair in pairs if isinstance(pairs, list) else []:
                _put_item(made, *pair)
            return made
        if path == "torch._utils._rebuild_tensor_v3":
            return self.tensor(*arguments[:4], dtype=_dtype(arguments[6]))
        if path in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            return self.tensor(*arguments[:4])
        if path in _WITH_TENSOR and isinstance(arguments[0], StoredTensor | Tensor):
            return arguments[0]
        if path == "torch._tensor._rebuild_from_type_v2":
            return self.called(arguments[0], arguments[2])
        if path == "torch._utils._rebuild_meta_tensor_no_storage":
            return torch.empty(_whole(arguments[1]), dtype=_dtype(arguments[0]), device="meta")
        return Described(path, [arguments])

    def tensor(
        self, storage: object, offset: object, shape: object, strides: object, dtype: torch.dtype | None = None
    ) -> StoredTensor:
        if not isinstance(storage, Storage):
            raise ValueError("a tensor has no storage")
        self.tensors += 1
        if self.tensors > MOST_TENSORS:
            raise UserError(f"{self.file} holds more tensors than any model: {MOST_TENSORS:,} at most are read")
        (offset,), shape, strides = _whole((offset,)), _whole(shape), _whole(strides)
        if len(shape) != len(strides) or len(shape) > _MOST_AXES:
            raise ValueError("the axes of a tensor do not fit together")
        return StoredTensor(storage, dtype or storage.dtype, offset, shape, strides, self.places)

    def make(self, kind: object) -> None:
        if not isinstance(kind, Name):
            raise ValueError("it makes an object of what is no class")
        if kind.path in ("collections.OrderedDict", "collections.defaultdict"):
            self.push(OrderedDict())
        else:
            self.push(Namespace() if kind.path == "argparse.Namespace" else Described(kind.path))

    def new(self, with_keywords: bool) -> None:
        if with_keywords:
            self.stack.pop()
        self.stack.pop()
        self.make(self.stack.pop())

    def instance(self, path: str | None) -> None:
        items = self.since_mark()
        if path is not None:
            self.names.add(path)
        self.make(items[0] if path is None else Name(path))

    def build(self, _: object) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Described):
            self.stack[-1].parts.append(state)
        elif isinstance(self.stack[-1], Namespace | OrderedDict) and isinstance(state, dict):
            self.stack[-1].__dict__.update((key, value) for key, value in state.items() if isinstance(key, str))

    def add(self, items: list[object]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif isinstance(self.stack[-1], Described):
            self.stack[-1].parts.extend(items)
        else:
            raise ValueError("it adds to what is no list")

    def set_items(self, items: list[object]) -> None:
        if len(items) % 2 or not isinstance(self.stack[-1], dict | Described):
            raise ValueError("it gives items to what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(self.stack[-1], dict):
                _put_item(self.stack[-1], key, value)

    def set_item(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def dictionary(self, _: object) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise ValueError("it takes more than there is")
        self.stack[-count:] = [items]

    def persistent(self, _: object) -> None:
        """A storage: ("storage", its class, key, device, number of elements), with a view in old files.

        Or, in old files, a module's class with its source code: ("module", class, file, source).
        """
        reference = self.stack.pop()
        if not isinstance(reference, tuple):
            raise ValueError("it refers to what is no storage")
        if reference[0] in ("module", b"module"):
            self.push(reference[1])
            return
        kind, storage_class, key, _, count, *view = reference
        if kind not in ("storage", b"storage") or not isinstance(key, str) or any(one is not None for one in view):
            raise ValueError(f"it refers to a {kind!r:.60}")
        dtype = STORAGE_DTYPES.get(storage_class.path.rpartition(".")[2])
        if dtype is None:
            raise UserError(f"{self.file} holds tensors of {shown(storage_class.path[:80])}, which no weights are")
        self.storages[key] = Storage(dtype, key, count)
        self.stack.append(self.storages[key])


def _put_item(target: dict[object, object], key: object, value: object) -> None:
    if isinstance(key, str | int | float | bytes | None):  # names of tensors are; others cannot always be hashed
        target[key] = value


def _dtype(name: object) -> torch.dtype:
    dtype = getattr(torch, name.path.removeprefix("torch.")) if isinstance(name, Name) else None
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor has no type")
    return dtype


def _whole(numbers: object) -> tuple[int, ...]:
    """A shape or strides as a file has them. Raises ValueError for anything else."""
    if isinstance(numbers, Described) and numbers.kind == "torch.Size":
        arguments = numbers.parts[0]
        if not isinstance(arguments, tuple) or len(arguments) != 1:
            raise ValueError("a tensor has a shape of no whole numbers")
        numbers = arguments[0]
    if not isinstance(numbers, tuple | list) or any(type(one) is not int or not 0 <= one < 2**62 for one in numbers):
        raise ValueError("a tensor has a shape of no whole numbers")
    return tuple(numbers)


def too_much(file: Path) -> UserError:
    return UserError(f"{file} holds more besides its tensors than any file of weights ({_MOST_STEPS:,} values at most)")


_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


def _push(make: Callable[[], object]) -> Callable[[PickleMachine, object], None]:
    return lambda machine, _: machine.push(make())


def _as_global(machine: PickleMachine, argument: str) -> None:
    machine.name(argument.replace(" ", "."))


def _stack_global(machine: PickleMachine, _: object) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("it names what is no class")
    machine.name(f"{module}.{name}")


def _recall(machine: PickleMachine, index: int) -> None:
    machine.push(machine.memo[index])


_STEPS: dict[str, Callable[[PickleMachine, Any], object]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": PickleMachine.mark,
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.since_mark(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_DICT": _push(dict),
    "EMPTY_LIST": _push(list),
    "EMPTY_TUPLE": _push(tuple),
    "EMPTY_SET": _push(lambda: Described("set")),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "FROZENSET": lambda machine, _: machine.push(Described("frozenset", machine.since_mark())),
    "DICT": PickleMachine.dictionary,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.add([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.add(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.since_mark()),
    "SETITEM": PickleMachine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": _as_global,
    "STACK_GLOBAL": _stack_global,
    "INST": lambda machine, argument: machine.instance(argument.replace(" ", ".")),
    "OBJ": lambda machine, _: machine.instance(None),
    "NEWOBJ": lambda machine, _: machine.new(with_keywords=False),
    "NEWOBJ_EX": lambda machine, _: machine.new(with_keywords=True),
    "REDUCE": PickleMachine.call,
    "BUILD": PickleMachine.build,
    "PUT": PickleMachine.put,
    "BINPUT": PickleMachine.put,
    "LONG_BINPUT": PickleMachine.put,
    "MEMOIZE": PickleMachine.put,
    "GET": _recall,
    "BINGET": _recall,
    "LONG_BINGET": _recall,
    "BINPERSID": PickleMachine.persistent,
}
