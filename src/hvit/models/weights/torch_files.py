"""Reading torch files without unpickling them: what they hold is described, not made, and nothing in them can run.

A pickle is a program for a small machine. Here it runs on a machine that has no objects but dictionaries, lists,
numbers, text, namespaces and descriptions: what would import a class notes its name, what would call it notes the
call. Tensors are views of the mapped file, so that only those that are used take memory, and none can be larger than
the file.

Sources: torch's `serialization.py` and `_utils.py` (both layouts, zip and legacy), Python's `pickletools`.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.markup import shown

MOST_TENSORS = 100_000
"""No file of weights has more tensors than this; the largest models here have some 2,000."""
_MOST_STEPS = 1_500_000
_MOST_BYTES = 100_000_000  # of a pickle and of a zip's directory, which the tensors are no part of
_MOST_AXES = 16

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

# Classes and functions that training programs leave in their files beside the tensors. All of them are only noted.
_HARMLESS = re.compile(
    r"""(
    (builtins|__builtin__)\.(set|frozenset|complex|slice|range|bytearray|bytes|int|float|str|bool|list|dict|tuple|object|long)
    | collections\.(OrderedDict|defaultdict|Counter|deque)
    | argparse\.Namespace | types\.SimpleNamespace | typing\.\w+
    | (pathlib|pathlib\._local)\.(Pure)?(Posix|Windows)?Path
    | datetime\.(datetime|date|time|timedelta|timezone) | uuid\.UUID | decimal\.Decimal | fractions\.Fraction
    | functools\.partial | _codecs\.encode | (copyreg|copy_reg)\._reconstructor
    | numpy\.(_?core\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer)|ndarray|dtype)
    | numpy\.(bool_?|u?int(8|16|32|64|c|p)|float(16|32|64|128)|complex(64|128)|str_|bytes_|datetime64|timedelta64)
    | numpy\.dtypes\.\w+DType
    | numpy\.random\._pickle\.__(randomstate|generator|bit_generator)_ctor
    | numpy\.random\.\w+\.(MT19937|PCG64|Philox|SFC64|RandomState|Generator)
    | torch\.(\w+Storage|Size|Tensor|device|dtype|Generator|b?float\w*|complex\w*|q?u?int\w*|half|double|long|bool)
    | torch\.storage\.\w+Storage
    | torch\._utils\._rebuild_\w+ | torch\._tensor\._rebuild_from_type_v2
    | torch\.(nn\.parameter\.(Parameter|Buffer|UninitializedParameter)|serialization\._get_layout)
    | torch\.torch_version\.TorchVersion
    | omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|base\.(ContainerMetadata|Metadata)|nodes\.\w+Node)
    | yacs\.config\.CfgNode | fvcore\.common\.config\.CfgNode | ml_collections\.config_dict\.config_dict\.ConfigDict
    | easydict\.EasyDict | addict\.addict\.Dict
    | (pytorch_lightning|lightning(_fabric)?)(\.\w+)*\.AttributeDict
    | mmengine\.(config\.config\.ConfigDict|logging\.history_buffer\.HistoryBuffer)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Name:
    """A class or function that a file names."""

    path: str


@dataclass(eq=False)
class Described:
    """An object that a file describes and that is not made."""

    kind: str
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    count: int
    """Elements, in the zip layout."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of a file, which `take` maps."""

    storage: _Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    places: _Places

    def take(self) -> Tensor:
        """The tensor, whose memory is the file's. Raises UserError where the file has less than it claims."""
        place = self.places.of(self.storage)
        last = self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.strides, strict=True))
        if not prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        if (last + 1) * self.dtype.itemsize > place.size:
            raise UserError(f"a tensor of shape {self.shape} claims more than the file has")
        if place.start % self.dtype.itemsize or self.dtype == torch.bool:
            part = torch.frombuffer(self.places.content, dtype=torch.uint8, count=place.size, offset=place.start)
            flat = part != 0 if self.dtype == torch.bool else part.clone().view(self.dtype)
        else:
            count = place.size // self.dtype.itemsize
            flat = torch.frombuffer(self.places.content, dtype=self.dtype, count=count, offset=place.start)
        return flat.as_strided(self.shape, self.strides, self.offset)


@dataclass(frozen=True)
class _Place:
    start: int
    size: int
    """Both in bytes."""


@dataclass
class _Places:
    """Where the storages of a file lie."""

    content: mmap.mmap
    known: dict[str, _Place] = field(default_factory=dict)
    find: Callable[[str], _Place] | None = None

    def of(self, storage: _Storage) -> _Place:
        if storage.key not in self.known and self.find is not None:
            self.known[storage.key] = self.find(storage.key)
        return self.known[storage.key]


def read_torch(file: Path) -> Any:
    """What a torch file holds: dictionaries, lists, plain values, `StoredTensor` and `Described`; nothing is run.

    Both of torch's layouts are read. Raises UserError for a program (TorchScript), for compressed and overlapping
    parts, for files with classes that are not known to be harmless, and for ones that are too large to be weights;
    any other error for damaged ones.
    """
    with file.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    loaded, names = _read_zip(file, content) if content[:2] == b"PK" else _read_legacy(file, content)
    refused = _refused(names)
    if refused:
        listed = ", ".join(shown(name[:80]) for name in refused[:3]) + (" and others" if len(refused) > 3 else "")
        raise UserError(
            f"{file} holds Python objects that could run code and are never loaded ({listed}); {_parts(loaded)}; save "
            f"its state dict of tensors alone and give that file"
        )
    return loaded


def _refused(names: set[str]) -> list[str]:
    return sorted(name for name in names if not _HARMLESS.fullmatch(name))


def _parts(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return "it is no dictionary of tensors"
    names = [shown(name[:60]) if isinstance(name, str) else "a number" for name in list(loaded)[:8]]
    return f"its parts are {', '.join(names)}{' and more' if len(loaded) > 8 else ''}" if names else "it has no parts"


def _read_zip(file: Path, content: mmap.mmap) -> tuple[Any, set[str]]:
    parts = _zip_parts(file, content)
    roots = [name.removesuffix("/data.pkl") for name in parts if name.endswith("/data.pkl") and name.count("/") == 1]
    if not roots:
        raise UserError(f"{file} is a zip file, but not one of torch: it has no data.pkl")
    root = roots[0]
    if f"{root}/byteorder" in parts:
        place = parts[f"{root}/byteorder"]
        if content[place.start : place.start + place.size] != b"little":
            raise UserError(f"{file} was written on a big-endian machine; save it anew on a little-endian one")
    place = parts[f"{root}/data.pkl"]
    if place.size > _MOST_BYTES:
        raise _too_much(file)
    places = _Places(content, find=lambda key: parts[f"{root}/data/{key}"])
    machine = _Machine(file, places)
    return machine.run(BytesIO(content[place.start : place.start + place.size])), machine.names


def _zip_parts(file: Path, content: mmap.mmap) -> dict[str, _Place]:
    """The parts of a zip file by name. All have to be stored as they are, one after the other."""
    entries, size = _directory_size(content)
    if entries > 2 * MOST_TENSORS or size > _MOST_BYTES:
        raise _too_much(file)
    with zipfile.ZipFile(file) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise UserError(f"{file} is a program (TorchScript), which is never run; save the state dict of its model")
    parts: dict[str, _Place] = {}
    end = 0
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise UserError(f"{file} is compressed, which torch files are not; it could fill the memory")
        head = content[info.header_offset : info.header_offset + 30]
        if info.header_offset < end or head[:4] != b"PK\x03\x04" or info.filename in parts:
            raise UserError(f"{file} is damaged: its parts overlap")
        name, extra = struct.unpack("<HH", head[26:30])
        start = info.header_offset + 30 + name + extra
        end = start + info.file_size
        if end > len(content):
            raise UserError(f"{file} is damaged: its parts claim more than the file has")
        parts[info.filename] = _Place(start, info.file_size)
    return parts


def _directory_size(content: mmap.mmap) -> tuple[int, int]:
    """Number of entries and bytes of a zip's directory, by the record at the file's end, which has no comment."""
    if content[-22:-18] != b"PK\x05\x06":
        raise ValueError("the directory at its end is missing")
    entries, size = struct.unpack("<HI", content[-12:-6])
    if content[-42:-38] == b"PK\x06\x07":
        (place,) = struct.unpack("<Q", content[-34:-26])
        entries, size = struct.unpack("<QQ", content[place + 32 : place + 48])
    return entries, size


def _read_legacy(file: Path, content: mmap.mmap) -> tuple[Any, set[str]]:
    """torch's layout before 1.6: five pickles, then the storages one after the other."""
    places = _Places(content)
    machine = _Machine(file, places)
    stream = BytesIO(content[: min(len(content), _MOST_BYTES)])
    if machine.run(stream) != _LEGACY_MAGIC:
        raise UserError(
            f"{file} is a pickle, but not one of torch, and is not loaded; save a state dict of tensors with torch.save"
        )
    machine.run(stream)
    about = machine.run(stream)
    if isinstance(about, dict) and about.get("little_endian") is False:
        raise UserError(f"{file} was written on a big-endian machine; save it anew on a little-endian one")
    loaded = machine.run(stream)
    if _refused(machine.names):
        return loaded, machine.names
    keys, start = machine.run(stream), stream.tell()
    for key in keys:
        storage = machine.storages[key]
        (count,) = struct.unpack("<q", content[start : start + 8])
        size = count * storage.dtype.itemsize
        if count < 0 or start + 8 + size > len(content):
            raise UserError(f"{file} is damaged: its tensors claim more than the file has")
        places.known[key] = _Place(start + 8, size)
        start += 8 + size
    return loaded, machine.names


def _too_much(file: Path) -> UserError:
    return UserError(f"{file} holds more beside its tensors than any file of weights ({_MOST_STEPS:,} values at most)")


class _Machine:
    """Runs pickles without making anything. names: of all classes and functions; storages: by key."""

    def __init__(self, file: Path, places: _Places) -> None:
        self.file, self.places = file, places
        self.names: set[str] = set()
        self.storages: dict[str, _Storage] = {}
        self.steps = self.tensors = 0

    def run(self, stream: IO[bytes]) -> Any:
        """The value of the next pickle of a stream."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        for op, argument, _ in pickletools.genops(stream):
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise _too_much(self.file)
            if op.name == "STOP":
                return self.stack.pop()
            if op.name in _VALUES:
                self.stack.append(argument)
            else:
                _STEPS[op.name](self, argument)
        raise ValueError("it ends too early")

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def name(self, path: str) -> None:
        self.names.add(path)
        self.stack.append(Name(path))

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def call(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.called(function, arguments))

    def called(self, function: Any, arguments: Any) -> Any:
        """What a call stands for: a tensor, a dictionary, or a description."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no function")
        path = function.path
        if path in ("collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict"):
            pairs = arguments[0] if path == "collections.OrderedDict" and arguments else []
            made: dict[Any, Any] = OrderedDict()
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
        self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: torch.dtype | None = None
    ) -> StoredTensor:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor has no storage")
        self.tensors += 1
        if self.tensors > MOST_TENSORS:
            raise UserError(f"{self.file} holds more tensors than any model: {MOST_TENSORS:,} at most are read")
        (offset,), shape, strides = _whole((offset,)), _whole(shape), _whole(strides)
        if len(shape) != len(strides) or len(shape) > _MOST_AXES:
            raise ValueError("the axes of a tensor do not fit together")
        return StoredTensor(storage, dtype or storage.dtype, offset, shape, strides, self.places)

    def make(self, kind: Any) -> None:
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

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Described):
            self.stack[-1].parts.append(state)
        elif isinstance(self.stack[-1], Namespace | OrderedDict) and isinstance(state, dict):
            self.stack[-1].__dict__.update((key, value) for key, value in state.items() if isinstance(key, str))

    def add(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif isinstance(self.stack[-1], Described):
            self.stack[-1].parts.extend(items)
        else:
            raise ValueError("it adds to what is no list")

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2 or not isinstance(self.stack[-1], dict | Described):
            raise ValueError("it gives items to what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(self.stack[-1], dict):
                _put_item(self.stack[-1], key, value)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def dictionary(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise ValueError("it takes more than there is")
        self.stack[-count:] = [items]

    def persistent(self, _: Any) -> None:
        """A storage: ("storage", its class, key, device, number of elements), with a view in old files.

        Or, in old files, a module's class with its source code: ("module", class, file, source).
        """
        reference = self.stack.pop()
        if reference[0] in ("module", b"module"):
            self.push(reference[1])
            return
        kind, storage_class, key, _, count, *view = reference
        if kind not in ("storage", b"storage") or not isinstance(key, str) or any(one is not None for one in view):
            raise ValueError(f"it refers to a {kind!r:.60}")
        dtype = _DTYPES.get(storage_class.path.rpartition(".")[2])
        if dtype is None:
            raise UserError(f"{self.file} holds tensors of {shown(storage_class.path[:80])}, which no weights are")
        self.storages[key] = _Storage(dtype, key, count)
        self.stack.append(self.storages[key])


def _put_item(target: dict[Any, Any], key: Any, value: Any) -> None:
    if isinstance(key, str | int | float | bytes | None):  # names of tensors are; others cannot always be hashed
        target[key] = value


def _dtype(name: Any) -> torch.dtype:
    dtype = getattr(torch, name.path.removeprefix("torch."))
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor has no type")
    return dtype


def _whole(numbers: Any) -> tuple[int, ...]:
    """A shape or strides as a file has them. Raises ValueError for anything else."""
    if isinstance(numbers, Described) and numbers.kind == "torch.Size":
        (numbers,) = numbers.parts[0]
    if not isinstance(numbers, tuple | list) or any(type(one) is not int or not 0 <= one < 2**62 for one in numbers):
        raise ValueError("a tensor has a shape of no whole numbers")
    return tuple(numbers)


_WITH_TENSOR = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
)
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(make())


def _as_global(machine: _Machine, argument: str) -> None:
    machine.name(argument.replace(" ", "."))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("it names what is no class")
    machine.name(f"{module}.{name}")


def _recall(machine: _Machine, index: int) -> None:
    machine.push(machine.memo[index])


_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine.mark,
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
    "DICT": _Machine.dictionary,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.add([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.add(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.since_mark()),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": _as_global,
    "STACK_GLOBAL": _stack_global,
    "INST": lambda machine, argument: machine.instance(argument.replace(" ", ".")),
    "OBJ": lambda machine, _: machine.instance(None),
    "NEWOBJ": lambda machine, _: machine.new(with_keywords=False),
    "NEWOBJ_EX": lambda machine, _: machine.new(with_keywords=True),
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _recall,
    "BINGET": _recall,
    "LONG_BINGET": _recall,
    "BINPERSID": _Machine.persistent,
}
