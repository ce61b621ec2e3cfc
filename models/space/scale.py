"""Scales of a space: the resolution of the input and where the network reduces it.

Both decide the sizes of all later layers, so together they are one group of a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from models.space.groups import Group, Variable
from models.space.spec import PIXELS, SpaceError, SpaceSpec

_GRID = 4
"""A share of the images' size is rounded down to a multiple of this, in pixels: stages halve it."""


@dataclass(frozen=True)
class Scale:
    """One resolution with one row of strides."""

    resolution: int | None
    """Pixels to which the image is resized; None uses images at their size."""
    stem: int
    """Stride of the stem."""
    stages: tuple[int, ...]
    """Stride of each stage's first layer."""


def scales(spec: SpaceSpec, size: int) -> tuple[Scale, ...]:
    """All scales for images of `size` pixels, in the order of the candidates of `scale_group`.

    Raises:
        SpaceError: two shares give the same resolution.
    """
    resolutions = _resolutions(spec, size) or (None,)
    rows = product(resolutions, spec.stride_rows)
    return tuple(Scale(resolution, row[0], row[1:]) for resolution, row in rows)


def scale_group(spec: SpaceSpec, size: int) -> Group | None:
    """The group of the scales; None if neither resolution nor strides are searched."""
    variables = []
    if resolutions := _resolutions(spec, size):
        variables.append(Variable("resolution", resolutions))
    if spec.strides:
        variables.append(Variable("strides", tuple(map(strides_label, spec.strides))))
    if not variables:
        return None
    name = variables[0].name if len(variables) == 1 else "scale"
    points = product(*(range(len(variable.options)) for variable in variables))
    return Group(name, tuple(variables), tuple(points))


def strides_label(strides: Sequence[int]) -> str:
    """A row of strides as an option of a variable, such as `2-1-2-2`."""
    return "-".join(map(str, strides))


def _resolutions(spec: SpaceSpec, size: int) -> tuple[int, ...]:
    if spec.resolution_shares is None:
        return tuple(spec.resolutions or ())
    found = [
        size if share == 1 else max(PIXELS[0], int(share * size) // _GRID * _GRID)
        for share in spec.resolution_shares
    ]
    if len(set(found)) < len(found):
        raise SpaceError(
            f"space '{spec.name}', resolution_shares: {spec.resolution_shares} of {size} pixels "
            f"are {found}, which repeat (multiples of {_GRID}). Use shares further apart."
        )
    return tuple(found)
