"""What a measurement was made on: latencies mean nothing without their machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from devices.backends import backend


def machine_state(backend_name: str) -> dict[str, Any]:
    """Processor, cores, threads, operating system, and the runtime with its version.

    Raises:
        DeviceError: there is no such backend.
    """
    runtime = backend(backend_name)
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "threads": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "runtime": runtime.runtime,
        "runtime_version": runtime.version(),
    }


def _processor() -> str:
    """The processor's model name; Linux keeps it where `platform` does not look."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
