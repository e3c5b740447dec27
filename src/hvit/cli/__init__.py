"""The command line: verbs, arguments and printing."""

from __future__ import annotations

from hvit.cli.main import main
from hvit.moved import old_names_of

__all__ = ["main"]

__getattr__ = old_names_of(__name__)
