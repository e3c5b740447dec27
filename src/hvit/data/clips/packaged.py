"""Lists of clips that are part of hvit, which recipes name as `hvit:NAME`, so that they hold in any installation."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from hvit.errors import UserError
from hvit.files import as_path
from hvit.markup import shown

PACKAGED = "hvit:"
"""How a recipe names a list of hvit's own, instead of by a path."""
FIELDS = ("train_list", "held_out_list", "class_names")
"""Fields of `ClipData` that may name one."""
_FOLDER = "packaged_lists"
_EARLIER = re.compile(r".*[\\/]hvit[\\/]experiments[\\/]folds[\\/](weizmann_\w+\.txt)")


def list_path(given: str) -> Path:
    """The file of a list: at the path that is given, or hvit's own of that name.

    Raises UserError where hvit has no list of the name.
    """
    if not given.startswith(PACKAGED):
        return as_path(given)
    name, folder = given.removeprefix(PACKAGED), files("hvit.data.clips").joinpath(_FOLDER)
    known = sorted(one.name for one in folder.iterdir())
    if name not in known:
        raise UserError(f"hvit has no list of clips {shown(name)[:100]}; it has {', '.join(known)}")
    return Path(str(folder.joinpath(name)))


def portable(given: str) -> str:
    """A list as recipes name it now: earlier versions wrote where hvit's own lay in the installation."""
    match = _EARLIER.fullmatch(given)
    return f"{PACKAGED}{match[1]}" if match else given
