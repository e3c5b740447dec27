"""The one exception for what a user typed or supplied."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user typed or supplied cannot be used; the message is the one sentence they read.

    The command line prints the message alone and ends with exit status 2. Our own mistakes are `assert`s.
    """
