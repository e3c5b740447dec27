"""What this machine has to work with."""

from __future__ import annotations

import os
import shutil
import sys


def missing_compiler() -> str | None:
    """The C++ compiler that torch.compile would use for a CPU and that is not here; None where it is.

    It is the one that the environment variable CXX names, if it names any.
    """
    wanted = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return wanted if shutil.which(wanted) is None else None
