"""What a measurement was made on, and whether another one was made on the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devices.agent.machine import machine
from devices.backends import backend
from devices.device import CPU

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
"""The fingerprint: what latencies depend on and what does not change by itself, as clocks do."""


def session_state(threads: int, unit: str = CPU) -> dict[str, Any]:
    """How a runtime is used: in so many threads, and on which unit if not the processor."""
    return {"session_threads": threads, **({} if unit == CPU else {"unit": unit})}


def machine_state(backend_name: str, threads: int, unit: str = CPU) -> dict[str, Any]:
    """This machine, with a backend's runtime in so many threads; see devices.agent.machine.

    Raises:
        DeviceError: there is no such backend.
    """
    runtime = backend(backend_name)
    here = machine(runtime.runtime, runtime.package)
    return {**here, "runtime_version": runtime.version(), **session_state(threads, unit)}


def differences(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """How the fingerprint of a measurement differs from another's; empty if it does not.

    Args:
        then: the machine's state that was recorded; None if none was.
        now: the present one.
    """
    if then is None:
        return ["nothing is known of what it was measured on"]
    return [
        f"{name.replace('_', ' ')} was {then.get(name)!r} and is {now.get(name)!r}"
        for name in IDENTITY
        if then.get(name) != now.get(name)
    ]
