"""A device's search space: the whole space, or without operators unsuited to int8."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import nearest
from devices.device import Device, DeviceError
from devices.latency.budgets import search_precision
from models.space.narrow import (
    allowable,
    quantization_friendly,
    removed_values,
    unfriendly_ends,
    unfriendly_names,
)
from models.space.space import SearchSpace
from models.space.spec import SpaceError

INT8 = "int8"


@dataclass(frozen=True)
class DeviceSpace:
    """The architectures allowed for a device, a subset of the supernet's space.

    Attributes:
        space: the space that is profiled, searched and checked against budgets.
        left_out: what is excluded from the whole space, by the keys of the space's file.
        remarks: sentences for the user; empty if nothing is excluded and the space suits int8.
    """

    space: SearchSpace
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def check_allowed(device: Device) -> None:
    """Reject names in `allow` that have no effect.

    Raises:
        DeviceError: a name is unknown or repeated, or nothing is excluded for the device.
    """
    for name in device.allow:
        if name not in allowable():
            raise DeviceError(
                f"allow: nothing called '{name}' is excluded.{nearest(name, allowable())}"
            )
        if device.allow.count(name) > 1:
            raise DeviceError(f"allow: '{name}' is listed twice.")
    if device.allow and search_precision(device) != INT8:
        raise DeviceError(
            "allow: nothing is excluded for this device, which may run float32 or float16. Remove "
            "`allow`, or set precision: int8."
        )


def device_space(space: SearchSpace, name: str, device: Device) -> DeviceSpace:
    """The part of a space that is searched for a device.

    For a device that runs int8 (its precision is int8, or its runtime's default is), operators that
    lose accuracy or speed in int8 are excluded, unless `allow` names them. With `auto` and float32
    available the space stays whole: precision is selected later from measurements.

    Raises:
        DeviceError: `allow` has a wrong name, or a stage of the space would have no operator left.
    """
    try:
        check_allowed(device)
        if search_precision(device) != INT8:
            return DeviceSpace(space)
        narrowed = quantization_friendly(space.spec, device.allow)
    except SpaceError as error:
        raise DeviceError(
            f"devices.{name} runs int8: {error} To allow it: devices.{name}.allow: "
            f"[{', '.join([*device.allow, *_left_out(space, device)])}]."
        ) from error
    except DeviceError as error:
        raise DeviceError(f"devices.{name}.{error}") from error
    remarks = []
    if ends := unfriendly_ends(space.spec, device.allow):
        remarks.append(
            f"every network of space '{space.name}' has operators unsuited to int8, also for "
            f"'{name}' ({'; '.join(ends)}): change the space, for all devices, if they cost too "
            "much."
        )
    if narrowed == space.spec:
        return DeviceSpace(space, (), tuple(remarks))
    # Another name distinguishes it from the whole space in messages.
    renamed = narrowed.model_copy(update={"name": f"{space.name} for int8"})
    own = SearchSpace(renamed, space.image_shape, space.classes)
    excluded = (
        f"'{name}' runs int8, so its search excludes {', '.join(_left_out(space, device))}: "
        f"{own.count():.3g} of the {space.count():.3g} networks of space '{space.name}' remain. "
        f"Use devices.{name}.allow to include any of it."
    )
    return DeviceSpace(own, removed_values(space.spec, narrowed), (excluded, *remarks))


def _left_out(space: SearchSpace, device: Device) -> list[str]:
    """Names in the space that `allow` would have to list for int8."""
    return [word for word in unfriendly_names(space.spec) if word not in device.allow]
