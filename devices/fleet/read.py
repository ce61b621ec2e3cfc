"""The devices of a params file."""

from __future__ import annotations

from pathlib import Path

from core.settings import ParamsError, nearest, read_section
from devices.device import Device


def read_devices(params: Path) -> dict[str, Device]:
    """Read all devices of the section `devices`, in the file's order.

    Raises:
        ParamsError: a device's key or value is not allowed.
    """
    return read_section(params, "devices", dict[str, Device])


def pick_device(params: Path, name: str) -> Device:
    """Read one device of the section `devices`.

    Raises:
        ParamsError: there is no such device, or a device's key or value is not allowed.
    """
    devices = read_devices(params)
    if name not in devices:
        raise ParamsError(f"{params} has no device '{name}'.{nearest(name, devices)}")
    return devices[name]
