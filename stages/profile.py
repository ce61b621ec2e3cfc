"""Profile a device, or record why it cannot be measured, and check its budget in both cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.progress import note_line
from data.dataset import DatasetInfo
from devices.device import Device
from devices.latency.binding import budget_uses
from devices.latency.device_profile import DeviceProfile
from devices.latency.device_space import device_space
from devices.latency.feasibility import check_feasible
from devices.latency.profile_device import check_backend, profile_device, summary_lines
from devices.latency.settings import ProfileParams
from devices.measure.target import open_target
from models.space.space import SearchSpace


def profile(
    settings: ProfileParams,
    params: Path,
    name: str,
    device: Device,
    data: DatasetInfo,
    space: SearchSpace,
) -> DeviceProfile:
    """Measure the device, fit its latency model, and check its budget.

    Raises:
        InfeasibleBudgetError: no network of the space meets the budget.
        UserError: the model's error exceeds the device's `max_error`.
        MeasurementError: a model cannot be measured.
    """
    check_backend(name, device)
    usable = device_space(space, name, device).space
    check_feasible(usable, name, device, None)
    found = profile_device(usable, open_target(name, device), settings, params.parent)
    for line in summary_lines(device, found.table):
        print(line)
    check_feasible(usable, name, device, found.table)
    uses = budget_uses(usable, device, found.table)
    for remark in filter(None, (use.remark(name) for use in uses)):
        print(note_line(remark), flush=True)
    return replace(found, budgets=uses)
