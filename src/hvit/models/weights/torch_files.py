"""Reading torch files of both layouts, zip and legacy, without unpickling them (see `pickles`).

Source: torch's `serialization.py`.
"""

from __future__ import annotations

import mmap
import re
import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from hvit.errors import UserError
from hvit.markup import shown
from hvit.models.weights.pickles import MOST_TENSORS, PickleMachine, too_much
from hvit.models.weights.stored_tensors import Place, Places
from hvit.moved import old_names_of

_MOST_BYTES = 100_000_000  # of a pickle and of a zip's directory, which the tensors are no part of

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

# Classes and functions that training programs leave in their files with the tensors. All of them are only noted.
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


def read_torch(file: Path) -> object:
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


def _parts(loaded: object) -> str:
    if not isinstance(loaded, Mapping):
        return "it is no dictionary of tensors"
    names = [shown(name[:60]) if isinstance(name, str) else "a number" for name in list(loaded)[:8]]
    return f"its parts are {', '.join(names)}{' and more' if len(loaded) > 8 else ''}" if names else "it has no parts"


def _read_zip(file: Path, content: mmap.mmap) -> tuple[object, set[str]]:
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
        raise too_much(file)
    places = Places(content, find=lambda key: parts[f"{root}/data/{key}"])
    machine = PickleMachine(file, places)
    return machine.run(BytesIO(content[place.start : place.start + place.size])), machine.names


def _zip_parts(file: Path, content: mmap.mmap) -> dict[str, Place]:
    """The parts of a zip file by name. All have to be stored as they are, one after the other."""
    entries, size = _directory_size(content)
    if entries > 2 * MOST_TENSORS or size > _MOST_BYTES:
        raise too_much(file)
    with zipfile.ZipFile(file) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise UserError(f"{file} is a program (TorchScript), which is never run; save the state dict of its model")
    parts: dict[str, Place] = {}
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
        parts[info.filename] = Place(start, info.file_size)
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


def _read_legacy(file: Path, content: mmap.mmap) -> tuple[object, set[str]]:
    """torch's layout before 1.6: five pickles, then the storages one after the other."""
    places = Places(content)
    machine = PickleMachine(file, places)
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
    if not isinstance(keys, list | tuple):
        raise ValueError("the keys of its storages are missing")
    for key in keys:
        storage = machine.storages[key]
        (count,) = struct.unpack("<q", content[start : start + 8])
        size = count * storage.dtype.itemsize
        if count < 0 or start + 8 + size > len(content):
            raise UserError(f"{file} is damaged: its tensors claim more than the file has")
        places.known[key] = Place(start + 8, size)
        start += 8 + size
    return loaded, machine.names


__getattr__ = old_names_of(__name__)
