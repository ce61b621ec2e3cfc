"""The machine on which latencies are measured, and its runtimes."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devices import runtimes
from devices.runtimes.processor import features
from devices.runtimes.session import Session


def _sessions() -> Iterator[tuple[str, type[Session]]]:
    """The session class of every `NAME/session.py`, by name."""
    for folder in pkgutil.iter_modules(runtimes.__path__):
        if not folder.ispkg:
            continue
        module = importlib.import_module(f"{runtimes.__name__}.{folder.name}.session")
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == module.__name__
            if own and issubclass(kind, Session):
                yield folder.name, kind


RUNTIMES = {name: kind for name, kind in _sessions() if not kind.agent_needs}
"""The agent's runtimes, by backend name: all whose session does not state what the agent lacks."""


def machine(session: type[Session]) -> dict[str, Any]:
    """Processor, cores, memory, system, runtime, and clock frequency if readable."""
    try:
        version = importlib.metadata.version(session.package)
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    return {
        "processor": _processor(),
        "features": features(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "runtime": session.runtime,
        "runtime_version": version,
        "clock_mhz": _clock_mhz(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    """Model name of the processor; `platform` does not have it on Linux."""
    listing = _read("/proc/cpuinfo") or ""
    for key in ("model name", "Model", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", listing, re.MULTILINE)
        if found:
            return found[1].strip()
    board = _read("/proc/device-tree/model") or ""
    return board.strip("\0") or platform.processor() or platform.machine()


def _clock_mhz() -> float | None:
    """Current frequency of the first core; None if not available."""
    kilohertz = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    if kilohertz:
        return round(float(kilohertz) / 1e3, 1)
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)$", _read("/proc/cpuinfo") or "", re.MULTILINE)
    return round(float(found[1]), 1) if found else None


def _memory_gib() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PAGE_SIZE" not in names or "SC_PHYS_PAGES" not in names:
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _read(file: str) -> str | None:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
