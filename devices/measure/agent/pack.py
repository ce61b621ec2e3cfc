"""Pack the agent into a single file for a device."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[__package__.count(".") + 1]
_PACKED = (
    "devices/measure/agent/*.py",
    "devices/runtimes/processor.py",
    "devices/runtimes/session.py",
    "devices/runtimes/*/session.py",
)
_START = f"from {__package__}.__main__ import main\n\nmain()\n"
_WHEN = (1980, 1, 1, 0, 0, 0)  # fixed timestamp, for reproducible bytes


def packed_files() -> dict[str, Path]:
    """The packed files, and the package markers above them, by their path in the archive."""
    files = {file for pattern in _PACKED for file in _ROOT.glob(pattern)}
    markers = {folder / "__init__.py" for file in files for folder in file.parents}
    files |= {marker for marker in markers if marker.is_file() and _ROOT in marker.parents}
    return {file.relative_to(_ROOT).as_posix(): file for file in files}


def build_zipapp() -> bytes:
    """Build the agent as a Python zip application: `python agent.pyz serve`."""
    files = {name: file.read_bytes() for name, file in packed_files().items()}
    files["__main__.py"] = _START.encode()
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _WHEN), files[name])
    return buffer.getvalue()
