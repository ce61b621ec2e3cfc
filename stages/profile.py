"""Profile a device, or record why it cannot be measured, and check its budget in both cases."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.process import prepare_machine
from core.settings import read_section
from data.dataset import DatasetInfo
from devices.fleet.read import pick_device
from devices.latency.device_space import device_space
from devices.latency.feasibility import check_feasible
from devices.latency.profile_device import profile_device, summary_lines, usable_backend
from devices.latency.settings import ProfileParams
from devices.measure.target import open_target
from models.space.space import SearchSpace


def main() -> None:
    """Parse the flags, measure, fit, check the budget, write the latency model."""
    parser = argparse.ArgumentParser(prog="python -m stages profile", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--space", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "profile", ProfileParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(1, params.seed)
    runtime = usable_backend(flags.device, device)
    info = DatasetInfo.read(flags.data)
    whole = SearchSpace.load(flags.space, info.image_shape, len(info.classes))
    space = device_space(whole, flags.device, device).space
    check_feasible(space, flags.device, device, None)
    target, root = open_target(flags.device, device), flags.params.parent
    found = profile_device(space, flags.device, device, runtime, target, params, root)
    for line in summary_lines(flags.device, device, found.table):
        print(line)
    check_feasible(space, flags.device, device, found.table)
    found.write(flags.out)
