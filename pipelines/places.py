"""Whether the devices are where their latency tables say: stale tables, absent agents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devices.agent_client import Patience
from devices.bench import bench_of
from devices.device import Device
from devices.fingerprint import differences
from pipelines.cores import too_many
from pipelines.plan import Plan
from stages.common.clock import stale_message
from stages.common.files import read_json
from stages.common.schemas import LATENCY
from stages.profile.elsewhere import check_unchanged

SHORT = Patience(request_s=5.0, vanished_s=5.0, busy_s=60.0, job_s=60.0)
"""What a check waits for an agent."""
_MEASURING = ("quantize", "export")
_ON_THE_DEVICE = ("profile", "quantize", "export", "bundle")


def place_problems(
    root: Path, devices: Mapping[str, Device], plan: Plan, again: str | None = None
) -> list[str]:
    """What keeps the stages that would run from the devices.

    A table that was measured on something else is refused only if a stage would measure in its
    clock; the same table is good for predictions.

    Args:
        root: the repository.
        devices: all of them.
        plan: what would run.
        again: a device that is about to be measured again, or whose table is being replaced.
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
    """Of which devices that are this machine the table was measured on something else, and how.

    Devices with an agent are not asked; their stages are told by the agent when they measure.
    """
    found = {}
    for name, device in devices.items():
        stage = plan.graph[f"profile@{name}"]
        file = root / stage.outs[0] / "latency.json"
        if stage.name in plan.stale or device.agent is not None or not file.is_file():
            continue
        bench, content = bench_of(name, device), read_json(file, LATENCY)
        if bench.why_not_measured or not content["measured"]:
            continue
        changed = differences(content["machine"], bench.machine())
        if changed:
            found[name] = stale_message(name, changed)
    return found


def imported_problems(root: Path, devices: Mapping[str, Device]) -> list[str]:
    """Imported tables that are missing, or not what was imported."""
    problems = []
    for name, device in devices.items():
        if device.table is not None:
            try:
                check_unchanged(name, device, root / device.table.file)
            except ValueError as error:
                problems.append(str(error))
    return problems


def agent_problems(name: str, device: Device) -> list[str]:
    """Why a device's agent cannot be used now."""
    try:
        machine = bench_of(name, device, SHORT).machine()
    except ValueError as error:
        return [str(error)]
    cores = machine.get("cores")
    if cores is not None and device.threads > cores:
        return [f"devices.{name}.{too_many(device.threads, cores, 'the machine of its agent')}"]
    return []
