"""Text on terminals that lack some of its characters."""

from __future__ import annotations

import io
import sys


def show_any_text() -> None:
    """Let a terminal that lacks a character show its code: a label may be in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
