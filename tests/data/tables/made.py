"""Tables of small pictures, and what is asked of them once they are open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from hvit.errors import UserError
from tests.data.images.made import make_pictures


def make_table(folder: Path, text: str | bytes, name: str = "labels.csv", count: int = 10) -> Path:
    """Pictures 000.png, 001.png, … and a table next to them."""
    if not (folder / "000.png").exists():
        make_pictures(folder, count)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(*cells: str, header: str = "path,label", count: int = 10) -> str:
    """A CSV with a row for each picture, whose cells behind the path come round and round."""
    return "\n".join([header, *(f"{number:03}.png,{cells[number % len(cells)]}" for number in range(count))]) + "\n"


def json_lines(*values: dict[str, Any], count: int = 10) -> str:
    return "\n".join(
        json.dumps({"path": f"{number:03}.png", **values[number % len(values)]}) for number in range(count)
    )


def open_table(path: Path, seed: int = 0, **fields: Any) -> Splits:
    return open_data(FolderData(table=str(path), **fields), seed, in_channels=3)


def refusal(path: Path, **fields: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_table(path, **fields)
    return str(caught.value)
