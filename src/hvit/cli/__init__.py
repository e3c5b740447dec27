"""The command line: verbs, arguments and printing."""

from __future__ import annotations

from typing import Any

from hvit.cli.main import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    """Names that older versions had here (see `hvit.moved`)."""
    from hvit.moved import moved_attribute

    return moved_attribute(__name__, name)
