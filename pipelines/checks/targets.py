"""Checks of what devices are measured on: outdated tables, unreachable agents, too few cores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.files import read_json
from core.system import core_count
from devices.device import CPU, Device, DeviceError
from devices.latency.offline import check_unchanged
from devices.measure.client import Timeouts
from devices.measure.fingerprint import differences
from devices.measure.reference import LATENCY, stale_message
from devices.measure.target import open_target
from pipelines.checks.params import problems_of
from pipelines.plan import Plan

SHORT = Timeouts(request_s=5.0, unreachable_s=5.0, busy_s=60.0, job_s=60.0)
"""Timeouts of a check for an agent."""
_MEASURING = ("quantize", "export")
_ON_THE_DEVICE = ("profile", "quantize", "export", "bundle")


def place_problems(
    root: Path, devices: Mapping[str, Device], plan: Plan, again: str | None = None
) -> list[str]:
    """Problems of measurement targets that would make stages fail.

    A table of a machine that has changed is an error only if a stage would compare new
    measurements with it; predictions may still use it. The table of `again` is being replaced.
    """
    problems = imported_problems(root, {n: d for n, d in devices.items() if n != again})
    stale = stale_tables(root, devices, plan)
    for name, device in devices.items():
        runs = {kind for kind in _ON_THE_DEVICE if f"{kind}@{name}" in plan.stale}
        if name in stale and name != again and runs.intersection(_MEASURING):
            problems.append(stale[name])
        if device.agent is not None and (runs or name == again):
            problems += agent_problems(name, device)
    return problems


def stale_tables(root: Path, devices: Mapping[str, Device], plan: Plan) -> dict[str, str]:
    """Messages for local devices whose table was measured before this machine changed.

    Devices with an agent are not contacted; their stages check the agent when they measure.
    """
    found = {}
    for name, device in devices.items():
        stage = plan.graph[f"profile@{name}"]
        file = root / stage.outs[0] / "latency.json"
        if stage.name in plan.stale or device.agent is not None or not file.is_file():
            continue
        bench, content = open_target(name, device), read_json(file, LATENCY)
        if bench.why_not_measured or not content["measured"]:
            continue
        changed = differences(content["machine"], bench.machine())
        if changed:
            found[name] = stale_message(name, changed)
    return found


def imported_problems(root: Path, devices: Mapping[str, Device]) -> list[str]:
    """Problems of imported tables that are missing or have changed since their import."""
    return [
        problem
        for name, device in devices.items()
        if device.table is not None
        for problem in problems_of(check_unchanged, name, device, root / device.table.file)
    ]


def agent_problems(name: str, device: Device) -> list[str]:
    """Why a device's agent cannot be used now."""
    try:
        machine = open_target(name, device, SHORT).machine()
    except ValueError as error:
        return [str(error)]
    cores = machine.get("cores")
    if cores is not None and device.threads > cores:
        return [
            f"devices.{name}.{_thread_error(device.threads, cores, 'the machine of its agent')}"
        ]
    return []


def _thread_error(threads: int, available: int, where: str) -> str:
    """Error message for a device with more runtime threads than cores."""
    return (
        f"threads: {threads} threads on {where}, which has {available} cores: oversubscription "
        f"makes latency measurements meaningless. Set it to {available} or fewer."
    )


def check_threads(device: Device) -> None:
    """Raise DeviceError if a device on this machine has more threads than there are cores."""
    if device.agent is not None or device.openvino_device != CPU or device.threads <= core_count():
        return
    if not open_target("", device).why_not_measured:
        raise DeviceError(_thread_error(device.threads, core_count(), "this machine"))


def thread_warnings(values: Mapping[str, Any]) -> list[str]:
    """Warnings for stages that would use more threads than there are cores.

    No error: results depend on the number of threads, which may come from a larger machine.
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
