"""The error of everything that the user can put right."""

from __future__ import annotations


class UserError(ValueError):
    """Wrong input, settings or files: the message says what is wrong and what helps.

    A subclass exists only where a caller handles it differently from others.
    """
