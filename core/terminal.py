"""Output on terminals with a limited character set."""

from __future__ import annotations

import io
import sys


def show_any_text() -> None:
    """Escape characters that the terminal's encoding lacks; a label may be in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
