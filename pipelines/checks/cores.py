"""Checks of thread counts in the params against the available CPU cores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from devices.device import CPU, Device, DeviceError
from devices.measure.target import open_target


def core_count() -> int:
    """Number of cores in this process's CPU affinity (containers and `taskset` limit it)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_error(threads: int, available: int, where: str) -> str:
    """Error message for a device with more runtime threads than cores."""
    return (
        f"threads: {threads} threads on {where}, which has {available} cores: oversubscription "
        f"makes latency measurements meaningless. Set it to {available} or fewer."
    )


def check_threads(device: Device) -> None:
    """Check that a device on this machine has no more threads than cores.

    Raises:
        DeviceError: the message has the number of cores.
    """
    if device.agent is not None or device.openvino_device != CPU or device.threads <= core_count():
        return
    if not open_target("", device).why_not_measured:
        raise DeviceError(thread_error(device.threads, core_count(), "this machine"))


def thread_warnings(values: Mapping[str, Any]) -> list[str]:
    """Warnings for stages that would use more threads than there are cores.

    No error: results depend on the number of threads, which may come from a larger machine.

    Args:
        values: the sections of the params, as their classes.
    """
    available, threads = core_count(), values["roots"].threads
    used = {"threads": threads}
    for name in ("supernet", "train"):
        if (processes := values[name].processes) > 1:
            used[f"threads times {name}.processes"] = threads * processes
    return [
        f"{key}: {count} threads on {available} cores: the stage will be slow. Fewer threads are "
        "faster, but change the results slightly."
        for key, count in used.items()
        if count > available
    ]
