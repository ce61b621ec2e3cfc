"""Pack the agent into a single file for a device."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

PACKAGE = "netwright_agent"
_START = f"from {PACKAGE}.__main__ import main\n\nmain()\n"
_WHEN = (1980, 1, 1, 0, 0, 0)  # fixed timestamp, for reproducible bytes


def build_zipapp() -> bytes:
    """Build the agent as a Python zip application: `python agent.pyz serve`."""
    here = Path(__file__).parent
    files = {f"{PACKAGE}/{file.name}": file.read_bytes() for file in here.glob("*.py")}
    files["__main__.py"] = _START.encode()
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _WHEN), files[name])
    return buffer.getvalue()
