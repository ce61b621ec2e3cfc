"""What a device is searched in: the whole space, or without what its int8 does badly."""

from __future__ import annotations

from dataclasses import dataclass

from devices.device import Device, DeviceError
from models.space import SearchSpace
from models.space_narrow import (
    allowable,
    left_out,
    quantization_friendly,
    unfriendly_ends,
    unfriendly_names,
)
from models.space_spec import SpaceError
from stages.common.budgets import search_precision
from stages.common.params import nearest

INT8 = "int8"


@dataclass(frozen=True)
class DeviceSpace:
    """The architectures that a device may get, all of them in the fleet's one space.

    Attributes:
        space: what is measured, searched, and what budgets are judged on.
        left_out: what the whole space has beside it, by the keys of the space's file.
        remarks: sentences for the owner; none where the space is whole and suits the device.
    """

    space: SearchSpace
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def check_allowed(device: Device) -> None:
    """Refuse names in `allow` that allow nothing.

    Raises:
        DeviceError: a name is unknown, stands twice, or the device is not narrowed at all.
    """
    for name in device.allow:
        if name not in allowable():
            raise DeviceError(
                f"allow: nothing called '{name}' is left out.{nearest(name, allowable())}"
            )
        if device.allow.count(name) > 1:
            raise DeviceError(f"allow: '{name}' stands there twice.")
    if device.allow and search_precision(device) != INT8:
        raise DeviceError(
            "allow: nothing is left out for this device, which may run float32 or float16. Remove "
            "it, or set precision: int8."
        )


def device_space(space: SearchSpace, name: str, device: Device) -> DeviceSpace:
    """The part of a space that a device is searched in.

    A device that runs int8 (its precision is fixed to that, or its runtime's default is int8) is
    searched without what loses accuracy or speed in int8, but for what its owner allows. With
    `auto` and float32 at hand the measured choice decides, and the space stays whole.

    Args:
        space: the whole space, which the supernet holds.
        name: the device's name, for messages.
        device: its settings.

    Raises:
        DeviceError: `allow` has a wrong name, or a stage of the space would keep no operator.
    """
    try:
        check_allowed(device)
        if search_precision(device) != INT8:
            return DeviceSpace(space)
        narrowed = quantization_friendly(space.spec, device.allow)
    except SpaceError as error:
        out = [word for word in unfriendly_names(space.spec) if word not in device.allow]
        raise DeviceError(
            f"devices.{name} runs int8: {error} To allow it: devices.{name}.allow: "
            f"[{', '.join([*device.allow, *out])}]."
        ) from error
    except DeviceError as error:
        raise DeviceError(f"devices.{name}.{error}") from error
    ends = unfriendly_ends(space.spec, device.allow)
    remarks = [_ends_remark(name, space, ends)] if ends else []
    if narrowed == space.spec:
        return DeviceSpace(space, (), tuple(remarks))
    # Another name, so that what is said of it is not taken for the whole space.
    renamed = narrowed.model_copy(update={"name": f"{space.name} for int8"})
    own = SearchSpace(renamed, space.image_shape, space.classes)
    return DeviceSpace(
        own, left_out(space.spec, narrowed), (_remark(name, device, space, own), *remarks)
    )


def _remark(name: str, device: Device, whole: SearchSpace, own: SearchSpace) -> str:
    out = [word for word in unfriendly_names(whole.spec) if word not in device.allow]
    return (
        f"'{name}' runs int8, so it is searched without {', '.join(out)}: {own.count():.3g} of "
        f"the {whole.count():.3g} networks of space '{whole.name}'. devices.{name}.allow brings "
        "any of it back."
    )


def _ends_remark(name: str, space: SearchSpace, ends: tuple[str, ...]) -> str:
    return (
        f"every network of space '{space.name}' has what int8 does badly, and so has '{name}' "
        f"({'; '.join(ends)}): change it in the space, for all devices, if that costs too much."
    )
