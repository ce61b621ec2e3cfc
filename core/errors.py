"""The error of everything that the user can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Wrong input, settings or files: the message says what is wrong and what helps.

    A subclass exists only where a caller handles it differently from others.
    """


def closest(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name, ` Did you mean 'x'?`; empty if none is similar."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{match[0]}'?" if match else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: ` Did you mean 'x'? Known: ...`, closest first."""
    names = sorted(known)
    hint = closest(name, names)
    return f"{hint} Known: {', '.join(names)}." if names else hint
