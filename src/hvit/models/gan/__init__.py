"""Generators and discriminators."""

from __future__ import annotations

from hvit.moved import old_names_of

__getattr__ = old_names_of(__name__)
