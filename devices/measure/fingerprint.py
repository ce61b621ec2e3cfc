"""Fingerprints of the machines of measurements, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devices.device import CPU
from devices.measure.agent.machine import machine
from devices.runtimes.registry import backend

IDENTITY = (
    "processor",
    "features",
    "cores",
    "system",
    "runtime",
    "runtime_version",
    "session_threads",
    "unit",
)
"""The fingerprint: properties that affect latency, without variable ones such as clock speed."""


def session_state(threads: int, unit: str = CPU) -> dict[str, Any]:
    """Threads of a runtime, and its compute unit if it is not the CPU."""
    return {"session_threads": threads, **({} if unit == CPU else {"unit": unit})}


def machine_state(backend_name: str, threads: int, unit: str = CPU) -> dict[str, Any]:
    """This machine with a backend's runtime; see devices.measure.agent.machine.

    Raises:
        DeviceError: there is no such backend.
    """
    runtime = backend(backend_name)
    state = {**machine(runtime.session), "runtime_version": runtime.version()}
    return state | session_state(threads, unit)


def differences(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Differences between two fingerprints; `then` is None if it was not recorded."""
    if then is None:
        return ["the machine of the measurement is not recorded"]
    return [
        f"{name.replace('_', ' ')} was {then.get(name)!r} and is {now.get(name)!r}"
        for name in IDENTITY
        if then.get(name) != now.get(name)
    ]
