"""Threads that the params ask for, against the cores there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from devices.bench import bench_of
from devices.device import CPU, Device, DeviceError


def cores() -> int:
    """The cores that this process may use: a container or `taskset` may leave it fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def too_many(threads: int, available: int, where: str) -> str:
    """What to say of a device whose runtime is given more threads than there are cores."""
    return (
        f"threads: {threads} threads on {where}, which has {available} cores: they would wait for "
        f"each other, and no latency would mean anything. Set it to {available} or fewer."
    )


def check_threads(device: Device) -> None:
    """Refuse more threads than cores for a device that is this machine.

    Raises:
        DeviceError: the message has the number of cores.
    """
    if device.agent is not None or device.openvino_device != CPU or device.threads <= cores():
        return
    if not bench_of("", device).why_not_measured:
        raise DeviceError(too_many(device.threads, cores(), "this machine"))


def thread_remarks(values: Mapping[str, Any]) -> list[str]:
    """Stages that would use more threads than there are cores.

    They are let through: their results depend on the number, and a larger machine may have set it.

    Args:
        values: the sections of the params, as their classes.
    """
    available = cores()
    return [
        f"{key}: {threads} threads on {available} cores: the stage will be slow. Fewer are quicker "
        "here, but give slightly other results."
        for key, threads in _threads(values)
        if threads > available
    ]


def _threads(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, int]]:
    for name, section in values.items():
        if name == "devices":
            continue
        key = f"{where}{name}"
        if isinstance(section, Mapping):
            continue
        threads = getattr(section, "threads", None)
        if isinstance(threads, int):
            processes = getattr(section, "processes", 1)
            times = f" times {key}.processes" if processes > 1 else ""
            yield f"{key}.threads{times}", threads * processes
        fields = getattr(type(section), "model_fields", {})
        yield from _threads({field: getattr(section, field) for field in fields}, f"{key}.")
